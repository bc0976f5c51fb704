//! What hookbro is measured against, each a process of its own: the two floors that no delivery can go below, and the
//! loops that one writes by hand with lapin and reqwest in an afternoon.

use crate::{Error, broker, event::Shape};
use futures_util::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use reqwest::{Client, header};
use serde::Deserialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Prefetch of both consuming floors.
const FLOOR_PREFETCH: u16 = 250;
/// Events that floor A' acknowledges at once.
const ACK_EVERY: u64 = 100;

/// How a child learns what to do.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    kind: Kind,
    #[arg(long, default_value_t = 1)]
    at_once: u16,
    #[arg(long)]
    events: u64,
    #[arg(long, default_value = "")]
    amqp: String,
    #[arg(long, default_value = "")]
    queue: String,
    #[arg(long, default_value = "")]
    svix: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Floor A: consume and acknowledge one by one.
    AckSingly,
    /// Floor A': consume and acknowledge in batches.
    AckBatches,
    /// Floor B: POST a ready body, nothing else.
    Post,
    /// The loop that awaits each delivery's answer.
    Loop,
    /// The loop that spawns a task per delivery.
    Spawn,
    /// The same, tuned by somebody who counts copies: the head alone is read, the payload written around.
    SpawnTuned,
}

pub(crate) async fn run(args: Args) -> Result<(), Error> {
    match args.kind {
        Kind::AckSingly => consume_only(&args, false).await?,
        Kind::AckBatches => consume_only(&args, true).await?,
        Kind::Post => post_only(&args).await?,
        Kind::Loop => one_at_a_time(&args).await?,
        Kind::Spawn => spawn_each(&args, false).await?,
        Kind::SpawnTuned => spawn_each(&args, true).await?,
    }
    // The driver looks at this process once more before it ends it.
    std::future::pending().await
}

async fn consumer(args: &Args, prefetch: u16) -> Result<(Channel, Consumer), Error> {
    // Kept for the life of the process: dropped, it would close.
    let connection = Box::leak(Box::new(broker::connect(&args.amqp).await?));
    let channel = connection.create_channel().await?;
    channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
    let queue = args.queue.as_str().into();
    let consumer =
        channel.basic_consume(queue, "bench".into(), BasicConsumeOptions::default(), FieldTable::default()).await?;
    Ok((channel, consumer))
}

#[expect(clippy::disallowed_methods, reason = "a contender that hookbro is measured against, without its settlement")]
async fn consume_only(args: &Args, batches: bool) -> Result<(), Error> {
    let (channel, mut consumer) = consumer(args, FLOOR_PREFETCH).await?;
    let mut began = None;
    for count in 1..=args.events {
        let delivery = consumer.next().await.ok_or("the stream ended")??;
        if began.is_none() {
            began = Some(Instant::now());
            println!("begun");
        }
        if !batches || count % ACK_EVERY == 0 || count == args.events {
            channel.basic_ack(delivery.delivery_tag, BasicAckOptions { multiple: batches }).await?;
        }
    }
    // Answered only after the acknowledgements before it.
    channel.basic_qos(FLOOR_PREFETCH, BasicQosOptions::default()).await?;
    println!("done {}", began.map_or(0, |began| began.elapsed().as_nanos()));
    Ok(())
}

/// A client as hookbro's and anybody's: defaults.
fn client() -> Result<Client, Error> {
    // reqwest is built without a provider of its own; a second client finds the first one's.
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    Ok(Client::builder().build()?)
}

async fn post_only(args: &Args) -> Result<(), Error> {
    let client = client()?;
    let url = format!("{}/api/v1/app/project-00000/msg?with_content=false", args.svix);
    let payload = Shape::default().body(0);
    let body = bytes::Bytes::from(message("com.gigs.subscription.created", "evt_000000000000", &payload));
    let next = Arc::new(AtomicU64::new(0));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..args.at_once {
        let (client, url, body, next, events) =
            (client.clone(), url.clone(), body.clone(), Arc::clone(&next), args.events);
        workers.spawn(async move {
            while next.fetch_add(1, Ordering::Relaxed) < events {
                post(&client, &url, body.clone()).await?;
            }
            Ok::<_, Error>(())
        });
    }
    while let Some(ended) = workers.join_next().await {
        ended??;
    }
    Ok(())
}

fn message(kind: &str, id: &str, payload: &str) -> String {
    format!(r#"{{"eventType":"{kind}","eventId":"{id}","payload":{payload}}}"#)
}

async fn post(client: &Client, url: &str, body: impl Into<reqwest::Body>) -> Result<(), Error> {
    let request = client.post(url).bearer_auth("sk_bench").header(header::CONTENT_TYPE, "application/json").body(body);
    let response = request.send().await?;
    let status = response.status();
    // Read to its end, or the connection could not be used again.
    response.bytes().await?;
    if status.is_success() { Ok(()) } else { Err(format!("answered {status}").into()) }
}

async fn deliver(client: &Client, svix: &str, delivery: &Delivery) -> Result<(), Error> {
    let event: serde_json::Value = serde_json::from_slice(&delivery.data)?;
    let url = format!("{svix}/api/v1/app/{}/msg?with_content=false", event["project"].as_str().unwrap_or_default());
    let message = serde_json::json!({"eventType": event["type"], "eventId": event["id"], "payload": event});
    post(client, &url, serde_json::to_vec(&message)?).await
}

/// What Svix must know of an event; the payload is not parsed any further.
#[derive(Deserialize)]
struct Head<'a> {
    id: &'a str,
    project: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
}

async fn deliver_tuned(client: &Client, svix: &str, delivery: &Delivery) -> Result<(), Error> {
    let payload = std::str::from_utf8(&delivery.data)?;
    let head: Head<'_> = serde_json::from_str(payload)?;
    let url = format!("{svix}/api/v1/app/{}/msg?with_content=false", head.project);
    post(client, &url, message(head.kind, head.id, payload)).await
}

#[expect(clippy::disallowed_methods, reason = "as one writes it by hand, which hookbro itself must not")]
async fn acknowledge(delivery: &Delivery) -> Result<(), Error> {
    delivery.acker.ack(BasicAckOptions::default()).await?;
    Ok(())
}

async fn one_at_a_time(args: &Args) -> Result<(), Error> {
    let client = client()?;
    let (_channel, mut consumer) = consumer(args, args.at_once).await?;
    while let Some(delivery) = consumer.next().await {
        let delivery = delivery?;
        deliver(&client, &args.svix, &delivery).await?;
        acknowledge(&delivery).await?;
    }
    Ok(())
}

async fn spawn_each(args: &Args, tuned: bool) -> Result<(), Error> {
    let client = client()?;
    let svix: Arc<str> = args.svix.as_str().into();
    let (_channel, mut consumer) = consumer(args, args.at_once).await?;
    while let Some(delivery) = consumer.next().await {
        let delivery = delivery?;
        let (client, svix) = (client.clone(), Arc::clone(&svix));
        tokio::spawn(async move {
            let delivered = async {
                if tuned {
                    deliver_tuned(&client, &svix, &delivery).await?;
                } else {
                    deliver(&client, &svix, &delivery).await?;
                }
                acknowledge(&delivery).await
            };
            if let Err(error) = delivered.await {
                eprintln!("{error}");
            }
        });
    }
    Ok(())
}
