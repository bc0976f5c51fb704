//! The health summary of the overview: the four questions that are asked at night, each answered from what the process knows itself.

use super::{
    components::{Level, count, number},
    page::sentence,
    throughput::Throughput,
};
use crate::{
    http::{counts::Counts, ops::Ops},
    observe::health::{Broker, Journal, Svix},
    operate::describe,
};
use jiff::Timestamp;
use prometheus::{Histogram, core::Metric as _};
use std::time::{Instant, SystemTime};

/// A backlog that is worked off within so many seconds is none, beyond so many it is bad.
const SOON: f64 = 5.0;
const LATE: f64 = 300.0;
/// Attempts a second that a standstill counts as, as in the alert rules: one in five minutes.
const STANDSTILL: f64 = 1.0 / 300.0;

/// One question and its answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub name: &'static str,
    pub question: &'static str,
    pub level: Level,
    pub answer: String,
    /// Whole sentences.
    pub detail: Vec<String>,
    /// Where to go on.
    pub link: Option<(&'static str, &'static str)>,
}

/// Attempts that ended since the start, by outcome.
pub(super) fn settled(ops: &Ops, outcome: &str) -> u64 {
    ops.metrics.events_settled.with_label_values(&[outcome]).get()
}

pub(super) fn answers(ops: &Ops, throughput: &Throughput) -> [Answer; 4] {
    let counts = ops.counts();
    [lost(ops, counts), late(ops, counts, throughput), svix(ops), components(ops)]
}

fn connected(ops: &Ops) -> bool {
    matches!(&*ops.health.broker.borrow(), Broker::Connected { .. })
}

fn lost(ops: &Ops, counts: Counts) -> Answer {
    let mut detail = vec![format!(
        "{} not delivered yet: {} ready, {} in progress, {} waiting for a retry, {} parked, {} in the dead-letter queue.",
        number(counts.undelivered),
        number(counts.ready),
        number(counts.outstanding),
        number(counts.delayed),
        number(counts.parked),
        number(counts.dead)
    )];
    if counts.parked > 0 {
        let parked = count(counts.parked, "event is", "events are");
        detail.push(format!("{parked} parked: their project is paused, or its application cannot take them now."));
    }
    let dropped = ops.metrics.unsettled_drops.get();
    if dropped > 0 {
        detail.push(format!(
            "{} returned to the broker without an outcome and will be delivered again. No event is lost, but please report this.",
            count(dropped, "delivery was", "deliveries were")
        ));
    }
    let (level, answer, link) = match () {
        () if !connected(ops) => {
            (Level::Unknown, "Unknown: hookbro cannot reach the broker, which keeps the events".to_owned(), None)
        }
        () if counts.dead > 0 => {
            let dead =
                count(counts.dead, "event could not be delivered and needs", "events could not be delivered and need");
            (Level::Watch, format!("{dead} a decision"), Some(("/dead", "Replay or discard them")))
        }
        () if dropped > 0 => {
            (Level::Watch, "No event is lost, but hookbro has a defect that you should report".to_owned(), None)
        }
        () => (Level::Good, "No, every event is accounted for".to_owned(), None),
    };
    Answer { name: "lost", question: "Is anything lost?", level, answer, detail, link }
}

fn late(ops: &Ops, counts: Counts, throughput: &Throughput) -> Answer {
    let ended = ["delivered", "duplicate", "retried", "dead"].map(|outcome| settled(ops, outcome)).iter().sum();
    let rate = throughput.measure(Instant::now(), ended, ops.health.uptime());
    #[expect(clippy::cast_precision_loss, reason = "a time that is shown rounded")]
    let seconds = counts.ready as f64 / rate.max(STANDSTILL);
    let stalled = ops.health.stalled.borrow().keys().cloned().collect::<Vec<_>>();
    let unavailable = ops.health.unavailable.borrow().keys().cloned().collect::<Vec<_>>();
    let paused = matches!(&*ops.health.svix.borrow(), Svix::Halted { .. });
    let backlog = count(counts.ready, "event is waiting in the queue", "events are waiting in the queue");
    let retries = count(counts.delayed, "event is waiting", "events are waiting");
    let (level, answer) = match () {
        () if !connected(ops) => {
            (Level::Bad, "Yes: hookbro cannot reach the broker, so nothing is delivered".to_owned())
        }
        () if paused => (Level::Bad, format!("Yes: delivery to Svix is halted, and {backlog}")),
        () if !stalled.is_empty() => {
            (Level::Bad, "Yes: the broker has events ready but sends none (stalled)".to_owned())
        }
        () if !unavailable.is_empty() => {
            let queues = count(unavailable.len() as u64, "retry queue", "retry queues");
            (Level::Bad, format!("Yes: hookbro cannot consume {queues}; all other queues are delivered"))
        }
        () if seconds >= LATE => (Level::Bad, format!("Yes: {backlog}, about {}", describe::wait(seconds))),
        () if seconds >= SOON => (Level::Watch, format!("A little: {backlog}, about {}", describe::wait(seconds))),
        () if counts.delayed > 0 => (Level::Watch, format!("{retries} for a retry; all others are on time")),
        () => (Level::Good, "No, events are delivered as they arrive".to_owned()),
    };
    let mut detail = vec![format!("Throughput: {rate:.1} attempts a second.")];
    detail.extend(ages(&ops.metrics.event_age));
    detail.extend(stalled.iter().map(|queue| format!("The broker sends nothing from queue {queue}.")));
    detail.extend(
        unavailable.iter().map(|queue| format!("Retry queue {queue} cannot be consumed; hookbro keeps trying.")),
    );
    let link = (counts.delayed > 0).then_some(("/events?outcome=retried", "See events waiting for a retry"));
    Answer { name: "late", question: "Is anything late?", level, answer, detail, link }
}

/// How old events are when Svix takes them, as far as the buckets tell.
fn ages(ages: &Histogram) -> Option<String> {
    let ages = ages.metric();
    let ages = ages.get_histogram();
    let most = ages.get_sample_count() - ages.get_sample_count() / 20;
    if most == 0 {
        return None;
    }
    let bound = ages.get_bucket().iter().find(|bucket| bucket.cumulative_count() >= most);
    Some(match bound {
        Some(bucket) => {
            format!("95% of events were accepted within {} of their creation.", span(bucket.upper_bound()))
        }
        None => "More than 5% of events were over 2 days old when they were accepted.".to_owned(),
    })
}

fn svix(ops: &Ops) -> Answer {
    let (level, answer, mut detail) = match &*ops.health.svix.borrow() {
        Svix::Ok => match ops.metrics.svix_request_duration.get_sample_count() {
            0 => {
                (Level::Unknown, "Unknown: nothing has been sent to Svix since hookbro started".to_owned(), Vec::new())
            }
            _ => (Level::Good, "Yes, Svix accepts events".to_owned(), Vec::new()),
        },
        Svix::Untried { reason } => {
            let words = describe::of_reason(reason.as_str()).unwrap_or(reason.as_str());
            let answer = "Svix answers again; the next event will show whether it accepts events".to_owned();
            (Level::Unknown, answer, vec![sentence(&format!("Delivery was halted because {words}"))])
        }
        Svix::Halted { reason, detail, since, until } => {
            let level = if reason.as_str() == "rate_limited" { Level::Watch } else { Level::Bad };
            let words = describe::of_reason(reason.as_str()).unwrap_or(reason.as_str());
            let until = until.map(|until| format!("hookbro tries again at {}.", clock(until)));
            let sentences = [sentence(detail), format!("Delivery has been halted since {}.", clock(*since))]
                .into_iter()
                .chain(until);
            (level, format!("No: {words}"), sentences.collect())
        }
    };
    let (calls, seconds) =
        (ops.metrics.svix_request_duration.get_sample_count(), ops.metrics.svix_request_duration.get_sample_sum());
    if calls > 0 {
        #[expect(clippy::cast_precision_loss, reason = "a mean that is shown rounded")]
        let mean = seconds / calls as f64;
        let limit = ops.metrics.svix_in_flight_limit.get();
        detail.push(format!("Average response time: {}. Up to {limit} calls at once.", span(mean)));
    }
    Answer { name: "svix", question: "Is Svix working?", level, answer, detail, link: None }
}

/// Broker, journal and the process itself.
fn components(ops: &Ops) -> Answer {
    let (mut level, mut answer) = (Level::Good, "Yes, the broker and the journal are connected".to_owned());
    let mut detail = Vec::new();
    match &*ops.health.journal.borrow() {
        Journal::Open { since } => detail.push(format!("The journal has been available since {}.", clock(*since))),
        Journal::Off => detail.push("The journal is off, so you cannot search for events.".to_owned()),
        Journal::Opening => detail.push("The journal is being opened.".to_owned()),
        Journal::Away { detail: why, since } => {
            (level, answer) = (Level::Watch, "The journal is unavailable; delivery continues without it".to_owned());
            detail.push(format!("{} Since {}.", sentence(why), clock(*since)));
        }
    }
    let missing = ops.metrics.journal_lost.get();
    if missing > 0 {
        detail.push(format!("{} missing from the journal.", count(missing, "delivery is", "deliveries are")));
    }
    match &*ops.health.broker.borrow() {
        Broker::Connected { since } => detail.push(format!("Connected to the broker since {}.", clock(*since))),
        Broker::Connecting { last_error } => {
            (level, answer) = (Level::Bad, "No: hookbro cannot reach the broker".to_owned());
            detail.extend(last_error.as_deref().map(sentence));
        }
        Broker::Draining => (level, answer) = (Level::Watch, "hookbro is shutting down".to_owned()),
    }
    if let Err(why) = ops.health.alive() {
        (level, answer) = (Level::Bad, format!("No: {why}"));
    }
    #[expect(clippy::cast_precision_loss, reason = "a time that is shown rounded")]
    let uptime = ops.health.uptime().as_secs() as f64;
    detail.push(format!("Up for {}.", describe::wait(uptime)));
    Answer { name: "components", question: "Is hookbro working?", level, answer, detail, link: None }
}

fn clock(at: SystemTime) -> String {
    let at = Timestamp::try_from(at).unwrap_or_default();
    let today = Timestamp::now().strftime("%F").to_string() == at.strftime("%F").to_string();
    at.strftime(if today { "%H:%M:%S" } else { "%F %H:%M:%S" }).to_string()
}

/// A duration of any size.
fn span(seconds: f64) -> String {
    match seconds {
        ..1.0 => format!("{:.0} ms", seconds * 1000.0),
        1.0..120.0 => format!("{seconds:.1} s"),
        _ => describe::wait(seconds),
    }
}
