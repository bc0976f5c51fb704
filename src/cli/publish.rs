//! `hookbro publish`: events from files to the topic exchange, each confirmed.

use super::{
    event_files::{EventFileError, Item, files, items},
    exit::{Failure, runtime},
    output,
};
use crate::{
    config::Settings,
    event::{Event, MAX_ROUTING_KEY},
    pipeline::backoff::Backoff,
    sources::rabbitmq::{CHANNELS, EventProperties, PublishError, Publisher},
};
use futures_util::{Stream, StreamExt as _, stream};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;
use tokio::sync::mpsc;

/// Events read ahead of those that are being published.
const READ_AHEAD: usize = 64;
/// Tries per event while the broker is away or refuses; with the waits between them about 20 s.
const TRIES: u32 = 8;

#[derive(Debug, clap::Args)]
pub(super) struct PublishArgs {
    /// Files with JSON or NDJSON, folders of such files, or `-` for standard input.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Publish every value unchanged under this routing key, even values that are not events.
    #[arg(long, value_name = "KEY")]
    routing_key: Option<String>,
}

#[derive(Debug, Default)]
struct Tally {
    published: u64,
    refused: u64,
}

pub(super) fn run(args: &PublishArgs, settings: Settings) -> Result<(), Failure> {
    let files = files(&args.paths).map_err(bad_input)?;
    runtime()?.block_on(publish(args, files, settings))
}

async fn publish(args: &PublishArgs, files: Vec<PathBuf>, settings: Settings) -> Result<(), Failure> {
    let publisher = Publisher::new(settings.broker.access, "hookbro publish");
    let bar = ProgressBar::new_spinner().with_style(
        ProgressStyle::with_template("{spinner} {pos} events, {per_sec}, {elapsed}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner()),
    );
    let exchange = settings.broker.exchange.as_str();
    let mut published = read_ahead(files)
        .map(|item| publish_one(&publisher, exchange, args.routing_key.as_deref(), item))
        .buffered(CHANNELS);
    let mut tally = Tally::default();
    while let Some(done) = published.next().await {
        match done {
            Ok(()) => tally.published += 1,
            Err(Refused::Input(error)) => {
                tally.refused += 1;
                bar.suspend(|| eprintln!("hookbro: {error}"));
            }
            Err(Refused::Broker(error)) => {
                let remedy = match error {
                    PublishError::Unroutable { .. } => "; `hookbro topology declare` binds the work queue",
                    _ => "",
                };
                let done = tally.published;
                return Err(Failure::Broker(format!("{error}{remedy}; {done} events were published before that")));
            }
        }
        bar.set_position(tally.published);
    }
    drop(published);
    bar.finish_and_clear();
    publisher.close().await;
    output::print(&format!("published {} events to {exchange}\n", tally.published))?;
    match tally.refused {
        0 => Ok(()),
        refused => Err(Failure::Running(format!("{refused} inputs were not published, see above"))),
    }
}

/// The events of `files`, read on a thread of their own: a slow pipe must not keep those it has given from going out.
fn read_ahead(files: Vec<PathBuf>) -> impl Stream<Item = Result<Item, EventFileError>> + Unpin {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    // Not awaited: it ends with the files, or with the process.
    std::thread::spawn(move || {
        for path in files {
            let found = items(&path).unwrap_or_else(|error| Box::new(std::iter::once(Err(error))));
            for item in found {
                if sender.blocking_send(item).is_err() {
                    return;
                }
            }
        }
    });
    Box::pin(stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver))))
}

enum Refused {
    Input(String),
    Broker(PublishError),
}

async fn publish_one(
    publisher: &Publisher,
    exchange: &str,
    routing_key: Option<&str>,
    item: Result<Item, EventFileError>,
) -> Result<(), Refused> {
    let item = item.map_err(|error| Refused::Input(error.to_string()))?;
    let (key, properties) = match routing_key {
        Some(key) => (key.to_owned(), EventProperties::default()),
        None => {
            let event = Event::parse(item.body.clone(), usize::MAX)
                .map_err(|error| Refused::Input(format!("{}: {error}", item.place)))?;
            (event.routing_key(), EventProperties::of(&event))
        }
    };
    if key.len() > MAX_ROUTING_KEY {
        let problem = format!("its routing key has {} bytes, AMQP allows {MAX_ROUTING_KEY}", key.len());
        return Err(Refused::Input(format!("{}: {problem}", item.place)));
    }
    let mut backoff = Backoff::new();
    for _ in 1..TRIES {
        match publisher.publish(exchange, &key, properties.to_amqp(), &item.body).await {
            Ok(()) => return Ok(()),
            Err(error @ PublishError::Unroutable { .. }) => return Err(Refused::Broker(error)),
            Err(_) => tokio::time::sleep(backoff.next_wait()).await,
        }
    }
    publisher.publish(exchange, &key, properties.to_amqp(), &item.body).await.map_err(Refused::Broker)
}

fn bad_input(error: EventFileError) -> Failure {
    Failure::Running(error.to_string())
}
