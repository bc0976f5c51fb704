//! The events, and their publishing: so many a second, each until the broker has confirmed it.

use crate::{Error, broker::EXCHANGE};
use bytes::Bytes;
use hookbro::{
    process::secret::Secret,
    sources::rabbitmq::{EventProperties, PublishError, Publisher},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};

const PROJECTS: [&str; 4] = ["gigs", "dev", "acme", "globex"];
const KIND: &str = "com.gigs.sim.updated";
/// The type of events that Svix fails on for as long as the load lasts.
pub(crate) const DOOMED: &str = "com.gigs.sim.deleted";
/// One in so many is of that type.
const DOOMED_ONE_IN: u64 = 1000;
/// Ten times a second is steady enough, and costs nothing.
const TICKS_PER_SECOND: u64 = 10;
/// Events that wait for their confirm while the broker is away or blocks: 40 s of the usual rate. Beyond, publishing waits.
const MOST_WAITING: usize = 20_000;
const TRY_AGAIN: Duration = Duration::from_millis(500);
/// Every fault ends; a broker that takes nothing for so long has not come back.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(300);

pub(crate) struct Load {
    publisher: Arc<Publisher>,
    rate: u64,
    published: AtomicU64,
}

impl Load {
    pub(crate) fn new(url: String, rate: u64) -> Self {
        let publisher = Arc::new(Publisher::new(Secret::fixed(&url), "soak publisher"));
        Self { publisher, rate, published: AtomicU64::new(0) }
    }

    /// Publishes until `end`, and returns once everything is confirmed.
    pub(crate) async fn publish(&self, end: Instant) -> Result<(), Error> {
        let room = Arc::new(Semaphore::new(MOST_WAITING));
        let mut waiting = JoinSet::new();
        let mut tick = tokio::time::interval(Duration::from_secs(1) / TICKS_PER_SECOND as u32);
        let mut owed = 0;
        while tick.tick().await < end {
            owed += self.rate;
            while owed >= TICKS_PER_SECOND {
                owed -= TICKS_PER_SECOND;
                let permit = Arc::clone(&room).acquire_owned().await?;
                let number = self.published.fetch_add(1, Ordering::Relaxed);
                let publisher = Arc::clone(&self.publisher);
                waiting.spawn(async move {
                    let _permit = permit;
                    until_confirmed(&publisher, number).await
                });
            }
            while let Some(done) = waiting.try_join_next() {
                done??;
            }
        }
        while let Some(done) = waiting.join_next().await {
            done??;
        }
        self.publisher.close().await;
        Ok(())
    }

    pub(crate) fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }
}

async fn until_confirmed(publisher: &Publisher, number: u64) -> Result<(), Error> {
    let began = Instant::now();
    let properties =
        EventProperties { id: Some(id(number)), kind: Some(kind(number).to_owned()), ..EventProperties::default() };
    let properties = properties.to_amqp();
    let (routing_key, body) = (format!("{}.{}", project(number), kind(number)), body(number));
    loop {
        match publisher.publish(EXCHANGE, &routing_key, properties.clone(), &body).await {
            Ok(()) => return Ok(()),
            Err(error @ PublishError::Unroutable { .. }) => return Err(error.into()),
            Err(error) if began.elapsed() > CONFIRMED_WITHIN => return Err(error.into()),
            Err(_) => tokio::time::sleep(TRY_AGAIN).await,
        }
    }
}

pub(crate) fn project(number: u64) -> &'static str {
    PROJECTS[usize::try_from(number % PROJECTS.len() as u64).unwrap_or_default()]
}

fn kind(number: u64) -> &'static str {
    if number % DOOMED_ONE_IN == DOOMED_ONE_IN - 1 { DOOMED } else { KIND }
}

pub(crate) fn id(number: u64) -> String {
    format!("evt_soak_{number}")
}

/// The number of the event with this id.
pub(crate) fn number(id: &str) -> Option<u64> {
    id.strip_prefix("evt_soak_")?.parse().ok()
}

/// The same bytes for the same number, so that what arrives can be compared without being kept.
pub(crate) fn body(number: u64) -> Bytes {
    let (id, project, kind) = (id(number), project(number), kind(number));
    let filler = "æ\\u00e9 ".repeat(usize::try_from(number % 7).unwrap_or_default());
    format!(
        r#"{{"object":"event","id":"{id}","type":"{kind}","project":"{project}","specversion":"1.0","time":"2026-01-01T00:00:00Z","data":{{"n":{number},"z":1.10,"big":1234567890123456789{number},"text":"{filler}"}}}}"#
    )
    .into()
}
