//! Start and stop: what must stand before what, the sessions one after another, and the order of the end.

use super::{
    consume::Pool, gate::Gate, handler::Handler, keeper, pacer::Pacer, provision::Provisioner, resume as pauses,
    resume::Resumer,
};
use crate::{
    event::ProjectId,
    observe::{
        health::{Broker, Health},
        metrics::Metrics,
        projects::ProjectCounts,
        trace::Traces,
    },
    pipeline::{
        journal::Recorder,
        pauses::{PauseStore, Pauses},
        route::{Routes, UnknownProject},
        sink::Sink,
    },
    process::stop::{LAST_CALLS, Stop},
    sources::{
        rabbitmq as amqp,
        rabbitmq::{
            Backoff, Connector, Copies, DeclareError, Ended, LetGo, Occasion, OpenError, Permits, Publisher, Session,
            Shared, StandError, Topology,
        },
    },
};
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio_util::task::AbortOnDropHandle;

/// Kept back from the grace for writing the last settlements and saying goodbye.
const GOODBYE: Duration = Duration::from_secs(2);
/// A session that lasted so long was sound: the next loss begins with short waits again.
const SOUND_AFTER: Duration = Duration::from_secs(30);

/// What the service must be told.
#[derive(Debug)]
pub struct Settings {
    pub broker: amqp::Settings,
    pub routes: Routes,
    /// Those that have series of their own.
    pub projects: Vec<ProjectId>,
    pub unknown_project: UnknownProject,
    pub provision_limit: u32,
    pub max_payload_bytes: usize,
    /// Events a second, 0 for no limit.
    pub rate_limit: u32,
    /// From the first signal to the end of the process.
    pub grace: Duration,
    pub traces: Traces,
}

/// What is written down of deliveries and of operators' words.
#[derive(Debug)]
pub struct Records<P> {
    pub recorder: Recorder,
    pub pauses: Arc<Pauses<P>>,
}

/// What no reconnect can mend.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    #[error(transparent)]
    Topology(#[from] DeclareError),
}

/// Consumes and delivers until `stop`. Losing the broker is no end: sessions follow one another for ever.
pub async fn run<S: Sink, P: PauseStore>(
    settings: Settings,
    sink: S,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    records: Records<P>,
    stop: Stop,
) -> Result<(), Fatal> {
    let Records { recorder, pauses } = records;
    let topology = Topology::new(&settings.broker);
    let sink = Arc::new(sink);
    let gate = Arc::new(Gate::new(Arc::clone(&metrics), Arc::clone(&health)));
    let publisher = Publisher::new(settings.broker.access.clone(), "hookbro publisher");
    let copies = Arc::new(Copies::new(publisher, &topology, Arc::clone(&metrics), stop.cut.clone()));
    let handler = Handler {
        provisioner: Provisioner::new(settings.unknown_project, settings.provision_limit, Arc::clone(&metrics)),
        sink: Arc::clone(&sink),
        gate: Arc::clone(&gate),
        pacer: Pacer::new(settings.rate_limit, topology.max_in_flight(), topology.lanes(), Arc::clone(&metrics)),
        routes: settings.routes,
        projects: ProjectCounts::new(settings.projects, &metrics),
        board: Arc::clone(pauses.board()),
        max_payload_bytes: settings.max_payload_bytes,
        metrics: Arc::clone(&metrics),
        stop: stop.clone(),
    };
    let _keeper = AbortOnDropHandle::new(tokio::spawn(async move { keeper::keep(&gate, &*sink).await }));
    let pool = Pool::new(handler, Arc::clone(&health), recorder);

    let shared = Shared {
        permits: Arc::new(Permits::new(&topology)),
        copies: Arc::clone(&copies),
        metrics: Arc::clone(&metrics),
        health: Arc::clone(&health),
        traces: settings.traces,
        watchdog: settings.broker.watchdog,
    };

    let resumer = Resumer {
        board: Arc::clone(pauses.board()),
        let_go: LetGo {
            connector: Connector::new(settings.broker.access.clone()),
            publisher: Publisher::new(settings.broker.access.clone(), "hookbro held publisher"),
            topology: topology.clone(),
        },
        health: Arc::clone(&health),
        stop: stop.clone(),
    };
    let _following = AbortOnDropHandle::new(tokio::spawn(pauses::follow(Arc::clone(&pauses))));
    let resuming = AbortOnDropHandle::new(tokio::spawn(resumer.run()));
    health.beating(pauses::known(pauses.board(), &stop)).await;
    let ended = sessions(&pool, &topology, Connector::new(settings.broker.access), &shared).await;
    let deadline = tokio::time::Instant::now() + settings.grace.saturating_sub(GOODBYE).max(settings.grace / 2);
    health.broker.send_replace(Broker::Draining);
    tracing::info!(in_flight = pool.tasks.len(), "stopping");
    let (mut session, ended) = match ended {
        Ok(session) => (session, Ok(())),
        Err(fatal) => (None, Err(fatal)),
    };
    match &mut session {
        Some(session) => health.beating(pool.drain(session, deadline)).await,
        // Nobody to settle with, and the broker has taken everything back; but Svix may leave undone what is cut off.
        None => health.beating(pool.finish(deadline.min(tokio::time::Instant::now() + LAST_CALLS))).await,
    }
    let goodbyes = async {
        let close = async {
            if let Some(session) = session {
                session.close().await;
            }
        };
        // A pass that is cut off repeats what it sent, and loses none.
        let (resumed, (), ()) = tokio::join!(resuming, copies.close(), close);
        if let Err(broken) = resumed {
            tracing::error!(error = %broken, "what sends on events that were kept aside broke off");
        }
    };
    if tokio::time::timeout(GOODBYE, goodbyes).await.is_err() {
        tracing::debug!("the broker did not answer the goodbye; it is left without one");
    }
    metrics.broker_connected.set(0);
    tracing::info!("stopped");
    ended
}

/// One session after another, until told to stop: answers the one that was open then, if any.
async fn sessions<S: Sink>(
    pool: &Pool<S>,
    topology: &Topology,
    connector: Connector,
    shared: &Shared,
) -> Result<Option<Session>, Fatal> {
    let (stop, metrics, health) = (&pool.handler.stop, &pool.handler.metrics, &pool.health);
    let mut backoff = Backoff::new();
    let mut occasion = Occasion::Start;
    loop {
        let opening = Session::open(&connector, topology, occasion, shared.clone());
        let opened = tokio::select! {
            biased;
            () = stop.requested.cancelled() => return Ok(None),
            opened = health.beating(opening) => opened,
        };
        match opened {
            Ok(mut session) => {
                let opened_at = Instant::now();
                say_connected(metrics, health, occasion);
                occasion = Occasion::Return;
                match pool.consume(&mut session).await {
                    Ok(()) => return Ok(Some(session)),
                    Err(ended) => {
                        say_ended(metrics, health, &ended);
                        health.beating(session.abandon()).await;
                    }
                }
                if opened_at.elapsed() > SOUND_AFTER {
                    backoff = Backoff::new();
                }
            }
            Err(OpenError::Declare(StandError::Declare(error @ DeclareError::Differs { .. }))) => {
                return Err(error.into());
            }
            Err(error) => say_lost(metrics, health, &error),
        }
        health.beating(wait(&mut backoff, stop)).await;
    }
}

async fn wait(backoff: &mut Backoff, stop: &Stop) {
    tokio::select! {
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

fn say_lost(metrics: &Metrics, health: &Health, error: &OpenError) {
    metrics.broker_connected.set(0);
    health.broker.send_replace(Broker::Connecting { last_error: Some(error.to_string()) });
    tracing::warn!(%error, "not consuming yet; trying the broker again");
}

fn say_ended(metrics: &Metrics, health: &Health, ended: &Ended) {
    metrics.broker_connected.set(0);
    health.broker.send_replace(Broker::Connecting { last_error: Some(ended.to_string()) });
    tracing::warn!(error = %ended, "lost the broker; connecting anew");
}
