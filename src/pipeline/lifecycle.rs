//! Start and stop: what must stand before what, the sources one after another, and the order of the end.

use super::{
    announcements::Announcements,
    backlog,
    backoff::{Backoff, Jitter},
    consume::Pool,
    destinations::Destinations,
    halt::Halt,
    handler::Handler,
    journal::Recorder,
    lots::Lots,
    max_age::MaxAge,
    pacer::Pacer,
    parking::Parking,
    pauses::{PauseStore, Pauses},
    prober, resume,
    sink::Sink,
    source::{Connect, Ended, NotOpen, Occasion, Source as _},
};
use crate::{
    event::ProjectId,
    observe::{
        health::{Broker, Health},
        metrics::Metrics,
        projects::ProjectCounts,
    },
    process::stop::{LAST_CALLS, Stop},
};
use jiff::Timestamp;
use std::{
    error::Error,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// Kept back from the grace for writing the last settlements and closing the connections.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// A session that lasted so long was sound: the next loss begins with short waits again.
const SOUND_AFTER: Duration = Duration::from_secs(30);

/// What the service must know.
#[derive(Debug)]
pub struct Settings {
    /// Those that have series of their own.
    pub projects: Vec<ProjectId>,
    pub max_payload_bytes: usize,
    /// Events a second, 0 for no limit.
    pub rate_limit: u32,
    /// From the first signal to the end of the process.
    pub grace: Duration,
    /// Deliveries that the source may have unsettled at once, of all lanes, and how many lanes there are.
    pub max_in_flight: usize,
    /// The queues that fresh events come from.
    pub fresh_from: Vec<String>,
    /// Parked events that may be on their way at once, beside those; as many as fresh events of one lane.
    pub max_from_lots: usize,
    pub lanes: usize,
    /// How long an event may be parked.
    pub max_parked: Duration,
    /// Of its waits for a far side that is away.
    pub jitter: Jitter,
}

/// What is written down of deliveries and of operators' words.
#[derive(Debug)]
pub struct Records<P> {
    pub recorder: Recorder,
    pub pauses: Arc<Pauses<P>>,
}

/// Both ends of the pipeline, and where events lie that may not be sent now.
#[derive(Debug)]
pub struct Ends<C, S, K> {
    pub source: C,
    pub sink: S,
    pub parking: K,
}

/// Consumes and delivers until `stop`. Losing the source is no end: others are opened for ever. Fails with what no wait can
/// mend.
pub async fn run<C: Connect, S: Sink, K: Parking, P: PauseStore>(
    settings: Settings,
    ends: Ends<C, S, K>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    records: Records<P>,
    stop: Stop,
) -> Result<(), C::Fatal> {
    let Records { recorder, pauses } = records;
    let Ends { source: connect, sink, parking } = ends;
    let sink = Arc::new(sink);
    let halt = Arc::new(Halt::new(Arc::clone(&metrics), Arc::clone(&health)));
    let handler = Handler {
        sink: Arc::clone(&sink),
        halt: Arc::clone(&halt),
        destinations: Destinations::new(settings.max_from_lots, Arc::clone(&metrics)),
        announcements: Announcements::default(),
        pacer: Pacer::new(
            settings.rate_limit,
            settings.max_in_flight + settings.max_from_lots,
            settings.lanes,
            Arc::clone(&metrics),
        ),
        projects: ProjectCounts::new(settings.projects, &metrics),
        board: Arc::clone(pauses.board()),
        max_payload_bytes: settings.max_payload_bytes,
        metrics: Arc::clone(&metrics),
        stop: stop.clone(),
    };
    let _prober = AbortOnDropHandle::new(tokio::spawn(async move { prober::keep(&halt, &*sink).await }));
    let pool = Arc::new(Pool::new(handler, Arc::clone(&health), recorder));

    let max_age = MaxAge::new(settings.max_parked, Timestamp::now);
    let lots = Lots::new(parking, Arc::clone(&pool), settings.max_from_lots, max_age, settings.jitter);
    let _following = AbortOnDropHandle::new(tokio::spawn(resume::follow(Arc::clone(&pauses))));
    let _watching = AbortOnDropHandle::new(tokio::spawn(backlog::watch(Arc::clone(&pool), settings.fresh_from)));
    let working = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&lots).run()));
    let ended = sources(&pool, &connect, settings.jitter).await;
    let deadline = Instant::now() + settings.grace.saturating_sub(CLOSE_TIMEOUT).max(settings.grace / 2);
    health.broker.send_replace(Broker::Draining);
    tracing::info!(events.in_flight = pool.tasks.len(), "stopping: nothing new is taken");
    let (mut source, ended) = match ended {
        Ok(source) => (source, Ok(())),
        Err(fatal) => (None, Err(fatal)),
    };
    match &mut source {
        Some(source) => health.beating(pool.drain(source, deadline)).await,
        // Nobody to settle with, and the source has taken everything back; but the sink may leave undone what is cut off.
        None => health.beating(pool.finish(deadline.min(Instant::now() + LAST_CALLS))).await,
    }
    let closing = async {
        let close = async {
            if let Some(source) = source {
                source.close().await;
            }
        };
        let give_back = async {
            let worked = working.await;
            lots.close().await;
            worked
        };
        let (worked, (), ()) = tokio::join!(give_back, connect.close(), close);
        if let Err(broken) = worked {
            tracing::error!(error = %broken, "the work on parked events broke off");
        }
    };
    if tokio::time::timeout(CLOSE_TIMEOUT, closing).await.is_err() {
        tracing::debug!("broker did not confirm the close of its connection in time");
    }
    metrics.broker_connected.set(0);
    tracing::info!("stopped");
    ended
}

/// One source after another, until asked to stop: answers the one that was open then, if any.
async fn sources<C: Connect, S: Sink>(
    pool: &Pool<S>,
    connect: &C,
    jitter: Jitter,
) -> Result<Option<C::Source>, C::Fatal> {
    let (stop, metrics, health) = (&pool.handler.stop, &pool.handler.metrics, &pool.health);
    let mut backoff = Backoff::with(jitter.of("source"));
    let mut occasion = Occasion::Start;
    loop {
        let opened = tokio::select! {
            biased;
            () = stop.requested.cancelled() => return Ok(None),
            opened = health.beating(connect.open(occasion)) => opened,
        };
        match opened {
            Ok(mut source) => {
                let opened_at = Instant::now();
                say_connected(metrics, health, occasion);
                health.beating(resume::known(&pool.handler.board, stop)).await;
                occasion = Occasion::Return;
                match pool.consume(&mut source).await {
                    Ok(()) => return Ok(Some(source)),
                    Err(ended) => {
                        say_ended(metrics, health, &ended);
                        health.beating(source.abandon()).await;
                    }
                }
                if opened_at.elapsed() > SOUND_AFTER {
                    backoff.reset();
                }
            }
            Err(NotOpen::Fatal(error)) => return Err(error),
            Err(NotOpen::Now(error)) => say_lost(metrics, health, &*error),
        }
        health.beating(wait(&mut backoff, stop)).await;
    }
}

async fn wait(backoff: &mut Backoff, stop: &Stop) {
    tokio::select! {
        biased;
        () = tokio::time::sleep(backoff.next_wait()) => {}
        () = stop.requested.cancelled() => {}
    }
}

fn say_connected(metrics: &Metrics, health: &Health, occasion: Occasion) {
    metrics.broker_connected.set(1);
    metrics.broker_reconnects.inc_by((occasion == Occasion::Return).into());
    health.broker.send_replace(Broker::Connected { since: SystemTime::now() });
    tracing::info!("connected to the broker, topology in place");
}

fn say_lost(metrics: &Metrics, health: &Health, error: &(dyn Error + Send + Sync)) {
    metrics.broker_connected.set(0);
    health.broker.send_replace(Broker::Connecting { last_error: Some(error.to_string()) });
    tracing::warn!(%error, "not consuming yet; trying the broker again");
}

fn say_ended(metrics: &Metrics, health: &Health, ended: &Ended) {
    metrics.broker_connected.set(0);
    health.broker.send_replace(Broker::Connecting { last_error: Some(ended.to_string()) });
    tracing::warn!(error = %ended, "lost the broker; connecting again");
}
