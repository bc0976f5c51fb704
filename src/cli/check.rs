//! `hookbro check`: everything that can be found wrong before a deployment, in one run.

use super::{
    certificates,
    exit::{Failure, runtime},
    output,
};
use crate::{
    app,
    config::Settings,
    observe::{metrics::Metrics, trace::Traces},
    pipeline::sink::{Outcome, Sink as _},
    sinks::svix::proxy_variable,
    sources::{
        rabbitmq as amqp,
        rabbitmq::{Difference, Topology},
    },
};
use std::sync::Arc;

pub(super) fn run(settings: Settings) -> Result<(), Failure> {
    runtime()?.block_on(check(settings))
}

async fn check(settings: Settings) -> Result<(), Failure> {
    let mut notes = certificates::configured(&settings);
    notes.extend(proxy_variable(&settings.svix).map(|name| format!("the proxy to Svix is the environment's {name}")));
    say("configuration", &Ok(notes))?;
    let broker = check_broker(&settings).await;
    say("broker", &broker)?;
    let svix = check_svix(&settings).await;
    say("Svix", &svix)?;
    broker.and(svix).map(drop)
}

fn say(what: &str, checked: &Result<Vec<String>, Failure>) -> Result<(), Failure> {
    match checked {
        Ok(notes) => {
            output::print(&format!("ok    {what}\n"))?;
            notes.iter().try_for_each(|note| output::print(&format!("      {note}\n")))
        }
        Err(failure) => output::print(&format!("FAIL  {what}: {failure}\n")),
    }
}

/// Objects that are missing are no fault: `hookbro run` declares them. Ones that differ are.
async fn check_broker(settings: &Settings) -> Result<Vec<String>, Failure> {
    let connector = amqp::Connector::new(settings.broker.access.clone());
    let connection = connector.connect("hookbro check").await?;
    let mut notes: Vec<_> = connector
        .server_certificate()
        .map(|der| certificates::shown("the broker's certificate", &der))
        .into_iter()
        .collect();
    let topology = Topology::new(&settings.broker);
    let asked = async {
        Ok::<_, amqp::ApplyError>((
            amqp::differences(&connection, &topology).await?,
            amqp::stranded(&connection, &topology).await?,
        ))
    };
    let asked = asked.await;
    amqp::close(connection).await;
    let (found, stranded) = asked?;
    if found.iter().any(Difference::blocks) {
        let lines: Vec<_> = found.iter().filter(|d| d.blocks()).map(ToString::to_string).collect();
        return Err(Failure::Broker(format!(
            "{}\nA queue's arguments cannot be changed in place: restore the old settings, or move its messages with \
             `hookbro topology migrate`",
            lines.join("\n")
        )));
    }
    let missing: Vec<_> = found.iter().map(|missing| missing.object.as_str()).collect();
    notes.extend(stranded.iter().map(ToString::to_string));
    if let [first, ..] = missing.as_slice() {
        notes.push(format!("{} objects are missing ({first}, …); `hookbro run` declares them", missing.len()));
    }
    notes.extend(check_policies(settings, &topology).await?);
    Ok(notes)
}

/// A policy that breaks a guarantee is as wrong as a queue with other arguments: events are lost, only later.
async fn check_policies(settings: &Settings, topology: &Topology) -> Result<Vec<String>, Failure> {
    let found = amqp::policies(&settings.broker, topology).await.map_err(|error| Failure::Broker(error.to_string()))?;
    let Some(found) = found else { return Ok(Vec::new()) };
    if !found.conflicts.is_empty() {
        let lines: Vec<_> = found.conflicts.iter().map(ToString::to_string).collect();
        return Err(Failure::Broker(format!(
            "policies break hookbro's guarantees; change them on the broker:\n{}",
            lines.join("\n")
        )));
    }
    let known = topology.event_queues().count().saturating_sub(found.missing);
    Ok(vec![format!("no policy breaks a guarantee on the {known} queues that exist")])
}

async fn check_svix(settings: &Settings) -> Result<Vec<String>, Failure> {
    let metrics = Arc::new(Metrics::new().map_err(|error| Failure::Running(error.to_string()))?);
    let sink = app::svix_sink(settings, &metrics, Traces::default())?;
    match sink.probe().await {
        Ok(_) => {
            let shown = sink.server_certificate().await;
            Ok(shown.map(|der| certificates::shown("Svix's certificate", &der)).into_iter().collect())
        }
        Err(
            Outcome::Halt { cause, .. }
            | Outcome::Failed { cause, .. }
            | Outcome::NotNow { cause, .. }
            | Outcome::Dead { cause, .. }
            | Outcome::Pending(cause),
        ) => Err(Failure::Svix(cause.detail)),
        Err(Outcome::Accepted(_) | Outcome::Repeated(_)) => {
            Err(Failure::Svix("the list of applications was answered with something else; check svix.url".into()))
        }
    }
}
