//! `hookbro topology`: the objects on the broker, shown or declared.

use super::{
    audit::{self, AuditArgs},
    exit::{Failure, runtime},
    output::{self, Output},
};
use crate::{
    config::Settings,
    operate::{
        audit::Change,
        change::{Made, change},
    },
    sources::{
        rabbitmq as amqp,
        rabbitmq::{Argument, Migration, Queue, Topology},
    },
};
use serde_json::{Map, Value, json};

#[derive(Debug, clap::Args)]
pub(super) struct TopologyArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Print every exchange, queue and binding of the configuration. Connects to no broker.
    Show {
        #[arg(long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Declare them on the broker. Objects that exist already are left as they are.
    Declare,
    /// Move queues to new arguments, as after a change of `retry.delays`, without losing a message. Needs
    /// `broker.management_url`.
    Migrate {
        /// Migrate. Without this, only say which queues differ.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        audit: AuditArgs,
    },
}

pub(super) fn run(args: &TopologyArgs, settings: Settings) -> Result<(), Failure> {
    let topology = Topology::new(&settings.broker);
    match &args.action {
        Action::Show { output: Output::Table } => output::print(&as_table(&topology)),
        Action::Show { output: Output::Json } => output::print(&format!("{:#}\n", as_json(&topology))),
        Action::Migrate { yes, audit } => runtime()?.block_on(migrate(settings, topology, *yes, audit)),
        Action::Declare => runtime()?.block_on(async {
            let connector = amqp::Connector::new(settings.broker.access.clone());
            let connection = connector.connect("hookbro topology").await?;
            let declared =
                amqp::apply(&connector, &connection, &topology, crate::pipeline::source::Occasion::Start).await;
            amqp::close(connection).await;
            declared?.iter().try_for_each(|stranded| output::print(&format!("{stranded}\n")))?;
            output::print(&format!("{} queues are declared\n", topology.queues.len()))
        }),
    }
}

async fn migrate(settings: Settings, topology: Topology, yes: bool, audited: &AuditArgs) -> Result<(), Failure> {
    let opened = Migration::open(&settings.broker, &topology).await?;
    let plan: Vec<_> = opened.plan().await?.into_iter().map(|planned| planned.queue.name.clone()).collect();
    opened.close().await;
    if plan.is_empty() {
        return output::print("nothing to migrate: every queue has the configured arguments\n");
    }
    if !yes {
        plan.iter().try_for_each(|queue| output::print(&format!("would migrate `{queue}`\n")))?;
        return output::print("add --yes to migrate\n");
    }
    let audit = audited.open(&settings.journal).await?;
    let asked = Change {
        actor: audit::actor(),
        action: "topology.migrate",
        project: None,
        target: Some(settings.broker.queue.clone()),
        detail: Some(plan.join(" ")),
    };
    let migrated = change(&audit, asked, async move { migrate_now(&settings, &topology).await }).await;
    audit.close().await;
    migrated.map_err(|error| audit::not_made(error, |failure| failure))?;
    output::print("done; replicas with the old settings cannot reconnect any more: roll out the new settings now\n")
}

/// Migrates what differs now, and says so queue by queue.
async fn migrate_now(settings: &Settings, topology: &Topology) -> Result<Made<()>, Failure> {
    let migration = Migration::open(&settings.broker, topology).await?;
    migration.take_turn().await?;
    let plan = migration.plan().await?;
    migration.prepare(&plan).await?;
    let (mut messages, mut failed) = (0, None);
    for (planned, moved) in plan.iter().zip(migration.migrate(&plan).await) {
        match moved {
            Ok(moved) => {
                messages += moved;
                output::print(&format!("migrated `{}` with {moved} messages\n", planned.queue.name))?;
            }
            Err(error) => {
                let more = failed.replace(error);
                more.map_or(Ok(()), |error| output::print(&format!("not migrated: {error}\n")))?;
            }
        }
    }
    migration.close().await;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(Made { value: (), summary: format!("migrated {} queues with {messages} messages", plan.len()) }),
    }
}

fn as_table(topology: &Topology) -> String {
    let exchanges = [["exchange".into(), topology.topic_exchange.clone(), "topic, created only if missing".into()]]
        .into_iter()
        .chain(topology.fanouts.iter().map(|name| ["exchange".into(), name.clone(), "fanout".into()]));
    let fork = topology.fork.iter().map(|fork| {
        let details = format!("topic, internal, alternate-exchange={}", fork.otherwise);
        ["exchange".into(), fork.exchange.clone(), details]
    });
    let queues = topology.queues.iter().map(|queue| ["queue".into(), queue.name.clone(), arguments(queue)]);
    let forked = topology.fork.iter().flat_map(|fork| {
        let to = |key| ["binding".into(), fork.exchange.clone(), format!("to {} key {key}", topology.topic_exchange)];
        fork.bindings.iter().map(to)
    });
    let bindings = topology.bindings.iter().map(|binding| {
        let key = if binding.routing_key.is_empty() { String::new() } else { format!(" key {}", binding.routing_key) };
        ["binding".into(), binding.queue.clone(), format!("to {}{key}", binding.exchange)]
    });
    output::table(
        ["KIND", "NAME", "DETAILS"].map(str::to_owned),
        exchanges.chain(fork).chain(queues).chain(bindings).chain(forked),
    )
}

fn arguments(queue: &Queue) -> String {
    let each = queue.arguments.iter().map(|(name, value)| match value {
        Argument::Text(text) => format!("{name}={text}"),
        Argument::Number(number) => format!("{name}={number}"),
    });
    each.collect::<Vec<_>>().join(" ")
}

/// One array of objects, like every list.
fn as_json(topology: &Topology) -> Value {
    let exchange = |name: &String, kind| json!({"kind": "exchange", "name": name, "type": kind, "durable": true});
    let queues = topology.queues.iter().map(|queue| {
        let arguments: Map<_, _> = queue
            .arguments
            .iter()
            .map(|(name, value)| {
                let value = match value {
                    Argument::Text(text) => json!(text),
                    Argument::Number(number) => json!(number),
                };
                ((*name).to_owned(), value)
            })
            .collect();
        json!({"kind": "queue", "name": queue.name, "durable": true, "arguments": arguments})
    });
    let bindings = topology.bindings.iter().map(|binding| {
        let (queue, exchange) = (&binding.queue, &binding.exchange);
        json!({"kind": "binding", "queue": queue, "exchange": exchange, "routing_key": binding.routing_key})
    });
    let fork = topology.fork.iter().map(|fork| {
        let arguments = json!({"alternate-exchange": fork.otherwise});
        json!({"kind": "exchange", "name": fork.exchange, "type": "topic", "durable": true, "internal": true, "arguments": arguments})
    });
    let forked = topology.fork.iter().flat_map(|fork| {
        let from = &topology.topic_exchange;
        let to = move |key| json!({"kind": "binding", "to": fork.exchange, "exchange": from, "routing_key": key});
        fork.bindings.iter().map(to)
    });
    std::iter::once(exchange(&topology.topic_exchange, "topic"))
        .chain(topology.fanouts.iter().map(|name| exchange(name, "fanout")))
        .chain(fork)
        .chain(queues)
        .chain(bindings)
        .chain(forked)
        .collect()
}
