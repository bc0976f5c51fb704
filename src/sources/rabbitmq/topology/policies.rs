//! Finds broker policies that break hookbro's guarantees, queue by queue. Arguments are hookbro's own; policies are not, and some
//! of them win: of lengths, times and delivery limits the smaller one applies, and the policy's `overflow` wins.

use super::{
    Argument, Queue, Topology,
    changeover::lane_record_queue,
    management::{Management, ManagementError, QueuePolicies},
};
use crate::{
    observe::{
        health::{Broker, Health},
        metrics::Metrics,
    },
    sources::rabbitmq::settings::Settings,
};
use serde_json::{Map, Value};
use std::{fmt, sync::Arc, time::Duration};
use tokio::time::Instant;

/// Policies are changed by people.
const CHECK_EVERY: Duration = Duration::from_secs(60 * 60);
/// After a check that failed.
const CHECK_AGAIN: Duration = Duration::from_secs(5 * 60);
/// Longest check, over as many queues as 16 lanes have.
const CHECK_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a queue's policies may be unknown: the broker collects them every 5 seconds.
const UNREPORTED_TIMEOUT: Duration = Duration::from_secs(20);
const UNREPORTED_AGAIN: Duration = Duration::from_secs(1);

/// One setting of a policy that breaks a guarantee on one queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Conflict {
    pub queue: String,
    pub key: String,
    pub value: Value,
    /// The policies that may set it; both where the broker does not report which.
    pub policies: Vec<Policy>,
    pub vhost: String,
}

/// A policy by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    Plain(String),
    Operator(String),
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(name) => write!(f, "policy `{name}`"),
            Self::Operator(name) => write!(f, "operator policy `{name}`"),
        }
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { queue, key, value, policies, vhost } = self;
        let names: Vec<_> = policies.iter().map(ToString::to_string).collect();
        let commands = policies.iter().map(|policy| {
            let (verb, name) = match policy {
                Policy::Plain(name) => ("clear_policy", name),
                Policy::Operator(name) => ("clear_operator_policy", name),
            };
            format!("`rabbitmqctl {verb} -p {} {}`", quoted(vhost), quoted(name))
        });
        let (names, commands) = (names.join(" or "), commands.collect::<Vec<_>>().join(" or "));
        write!(
            f,
            "{names} sets {key} = {value} on queue `{queue}`: {}; {commands}, or give it a pattern that leaves this queue out",
            harm(key)
        )
    }
}

/// What the setting does to a queue of ours.
fn harm(key: &str) -> &'static str {
    match key {
        "max-length" | "max-length-bytes" => "once the queue is full, it refuses new events",
        "message-ttl" => "events leave the queue too early",
        "expires" => "the broker deletes the queue and its events once nobody has used it for so long",
        "overflow" => "a full queue drops events, and dead-lettering is at most once",
        "delivery-limit" => "events become dead letters after fewer returns than broker.delivery_limit allows",
        _ => "events that leave the queue do not go where hookbro expects them, or not for certain",
    }
}

/// Quoted for a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The settings of `definition` that break a guarantee on a queue with these arguments.
fn breaks<'d>(queue: &Queue, definition: &'d Map<String, Value>) -> Vec<(&'d str, &'d Value)> {
    let argument = |key: &str| queue.arguments.get(format!("x-{key}").as_str());
    let broken = |key: &str, value: &Value| match key {
        "max-length" | "max-length-bytes" | "expires" => true,
        // The smaller one applies; a queue without a delivery limit of its own has no reader that returns events.
        "message-ttl" => argument(key).is_none_or(|ours| is_below(value, ours)),
        "delivery-limit" => argument(key).is_some_and(|ours| is_below(value, ours)),
        "overflow" => value != "reject-publish",
        // The argument wins as far as there is one, in the versions that were tried; a policy that says otherwise would win
        // in a version that decides otherwise.
        key if key.starts_with("dead-letter-") => argument(key).is_none_or(|ours| !is_same(value, ours)),
        _ => false,
    };
    definition.iter().filter(|(key, value)| broken(key, value)).map(|(key, value)| (key.as_str(), value)).collect()
}

fn is_below(value: &Value, ours: &Argument) -> bool {
    match ours {
        Argument::Number(ours) => value.as_i64().is_none_or(|value| value < *ours),
        Argument::Text(_) => true,
    }
}

fn is_same(value: &Value, ours: &Argument) -> bool {
    matches!(ours, Argument::Text(ours) if value.as_str() == Some(ours))
}

/// What the management API reports about our queues.
#[derive(Debug, Default)]
pub struct PolicyReport {
    pub conflicts: Vec<Conflict>,
    /// Queues that do not exist, of which it reports nothing.
    pub missing: usize,
}

/// Asks for every queue; none where `broker.management_url` is empty.
pub async fn policies(settings: &Settings, topology: &Topology) -> Result<Option<PolicyReport>, ManagementError> {
    let Some(management) = Management::new(settings)? else { return Ok(None) };
    let late = |_| ManagementError::Away {
        at: management.at.clone(),
        why: format!("the answers for all queues took longer than {CHECK_TIMEOUT:?}"),
    };
    tokio::time::timeout(CHECK_TIMEOUT, check(&management, topology)).await.map_err(late)?.map(Some)
}

async fn check(management: &Management, topology: &Topology) -> Result<PolicyReport, ManagementError> {
    let mut report = PolicyReport::default();
    let patience = Instant::now() + UNREPORTED_TIMEOUT;
    // Records are queues too, where there are any.
    let records = [Queue::lane_record(lane_record_queue(topology)), topology.pauses()];
    for queue in topology.event_queues().chain(&records) {
        let Some((reported, definition)) = effective(management, queue, patience).await? else {
            report.missing += usize::from(!records.contains(queue));
            continue;
        };
        for (key, value) in breaks(queue, &definition) {
            report.conflicts.push(Conflict {
                queue: queue.name.clone(),
                key: key.to_owned(),
                value: value.clone(),
                policies: setters(management, &reported, key, value).await?,
                vhost: management.vhost.clone(),
            });
        }
    }
    Ok(report)
}

/// The policies that apply to a queue, waited for if need be; none if it does not exist.
async fn effective(
    management: &Management,
    queue: &Queue,
    patience: Instant,
) -> Result<Option<(QueuePolicies, Map<String, Value>)>, ManagementError> {
    loop {
        let Some(reported) = management.queue(&queue.name).await? else { return Ok(None) };
        if let Some(definition) = reported.definition() {
            return Ok(Some((reported, definition)));
        }
        if Instant::now() > patience {
            return Err(ManagementError::Unreported { at: management.at.clone(), queue: queue.name.clone() });
        }
        tokio::time::sleep(UNREPORTED_AGAIN).await;
    }
}

/// Which of the queue's policies sets `key` to `value`.
async fn setters(
    management: &Management,
    reported: &QueuePolicies,
    key: &str,
    value: &Value,
) -> Result<Vec<Policy>, ManagementError> {
    let named = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
    let (plain, operator) = match (named(&reported.policy), named(&reported.operator_policy)) {
        (Some(plain), Some(operator)) => (plain, operator),
        (plain, operator) => {
            return Ok(plain.map(Policy::Plain).into_iter().chain(operator.map(Policy::Operator)).collect());
        }
    };
    let mut sources = Vec::new();
    for (kind, policy) in [("policies", Policy::Plain(plain)), ("operator-policies", Policy::Operator(operator))] {
        let (Policy::Plain(name) | Policy::Operator(name)) = &policy;
        match management.definition(kind, name).await {
            Ok(definition) if definition.as_ref().is_some_and(|settings| settings.get(key) != Some(value)) => {}
            // Users with the tag monitoring may not read policies; then it may be this one.
            Ok(_) | Err(ManagementError::Refused { .. }) => sources.push(policy),
            Err(error) => return Err(error),
        }
    }
    Ok(sources)
}

/// Checks once the topology is declared, and every hour; logs each conflict and counts them. Ends at once without
/// `broker.management_url`; otherwise never.
pub async fn watch_policies(settings: Settings, topology: Topology, metrics: Arc<Metrics>, health: Arc<Health>) {
    let mut broker = health.broker.subscribe();
    loop {
        if broker.wait_for(|broker| matches!(broker, Broker::Connected { .. })).await.is_err() {
            return;
        }
        let wait = match policies(&settings, &topology).await {
            Ok(None) => return,
            Ok(Some(report)) => {
                metrics.policy_conflicts.set(i64::try_from(report.conflicts.len()).unwrap_or(i64::MAX));
                for conflict in &report.conflicts {
                    tracing::error!(queue = conflict.queue, key = conflict.key, "{conflict}");
                }
                CHECK_EVERY
            }
            Err(error) => {
                tracing::warn!(%error, "cannot check which broker policies apply to the queues; trying again");
                CHECK_AGAIN
            }
        };
        tokio::time::sleep(wait).await;
    }
}

#[cfg(test)]
#[path = "policies_tests.rs"]
mod tests;
