//! The guard and lapin behind it, on lapin's own thread with its own buffer: frames made at random, by a broker of the test's.

use crate::support::raw_amqp::{counted, frame, nested_arrays, short};
use futures_util::StreamExt as _;
use hookbro::{
    process::secret::Secret,
    sources::rabbitmq::{Connector, close},
};
use lapin::{options::BasicConsumeOptions, types::FieldTable};
use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, RngSeed, TestRunner},
};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// Connections, and messages on each.
const ROUNDS: usize = 8;
const MESSAGES: usize = 300;
/// lapin's buffer holds 32 frames: with frames of the least size it wraps around many times.
const FRAME_MAX: u32 = 4096;
/// All of a round; it takes a fraction of a second.
const PATIENCE: Duration = Duration::from_secs(30);

async fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = [0; 7];
    stream.read_exact(&mut head).await.ok()?;
    let size = u32::from_be_bytes(head[3..].try_into().unwrap());
    let mut rest = vec![0; size as usize + 1];
    stream.read_exact(&mut rest).await.ok()?;
    Some(rest)
}

/// Answers one client until it consumes, and sends it `deliveries` then, in pieces of `sizes`.
async fn broker(listener: TcpListener, deliveries: Vec<u8>, sizes: Vec<usize>) {
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut greeting = [0; 8];
    stream.read_exact(&mut greeting).await.unwrap();
    let start = [vec![0, 10, 0, 10, 0, 9], counted(&[]), counted(b"PLAIN"), counted(b"en_US")].concat();
    stream.write_all(&frame(1, 0, &start)).await.unwrap();
    while let Some(asked) = read_frame(&mut stream).await {
        let tune = [&[0, 10, 0, 30, 0, 9][..], &FRAME_MAX.to_be_bytes(), &[0, 0]].concat();
        let answer = match asked.get(..4) {
            Some([0, 10, 0, 11]) => frame(1, 0, &tune),
            Some([0, 10, 0, 40]) => frame(1, 0, &[0, 10, 0, 41, 0]),
            Some([0, 10, 0, 50]) => frame(1, 0, &[0, 10, 0, 51]),
            Some([0, 20, 0, 10]) => frame(1, 1, &[0, 20, 0, 11, 0, 0, 0, 0]),
            Some([0, 60, 0, 20]) => {
                [frame(1, 1, &[&[0, 60, 0, 21][..], &short(b"tag")].concat()), deliveries.clone()].concat()
            }
            _ => continue,
        };
        let mut rest = &answer[..];
        for size in sizes.iter().cycle() {
            let (piece, behind) = rest.split_at((*size).min(rest.len()));
            if piece.is_empty() {
                break;
            }
            // The client may have gone, once it has what it wanted.
            if stream.write_all(piece).await.is_err() {
                return;
            }
            rest = behind;
        }
    }
}

/// Properties with their flags: good ones, poison, and bytes of any kind.
fn properties() -> impl Strategy<Value = Vec<u8>> {
    let latin1 = short(b"caf\xe9");
    let headers = |table: Vec<u8>| [vec![0x20, 0], table].concat();
    prop_oneof![
        Just(vec![0, 0]),
        Just([vec![0x80, 0], short(b"application/json")].concat()),
        Just([vec![0, 0x80], latin1].concat()),
        (0_usize..700).prop_map(move |depth| headers(nested_arrays(depth))),
        prop::collection::vec(any::<u8>(), 0..60).prop_map(move |bytes| headers(counted(&bytes))),
        prop::collection::vec(any::<u8>(), 2..60),
    ]
}

fn message() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, Vec<u8>)> {
    let key = prop_oneof![Just(b"key".to_vec()), prop::collection::vec(any::<u8>(), 0..9)];
    (key, properties(), prop::collection::vec(any::<u8>(), 0..2_000))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_body_arrives_whatever_its_message_says() {
    let seed: u64 = std::env::var("HOOKBRO_TEST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("HOOKBRO_TEST_SEED={seed}");
    let mut runner = TestRunner::new(Config { rng_seed: RngSeed::Fixed(seed), ..Config::default() });
    let rounds = (prop::collection::vec(message(), MESSAGES), prop::collection::vec(1_usize..9_000, 1..9));
    for _ in 0..ROUNDS {
        let (messages, sizes) = rounds.new_tree(&mut runner).unwrap().current();
        let deliveries = messages.iter().flat_map(|(key, properties, body)| {
            let method = [vec![0, 60, 0, 60], short(b"tag"), vec![0; 9], short(b"exchange"), short(key)].concat();
            let size = (body.len() as u64).to_be_bytes();
            let header = [&[0, 60, 0, 0], &size[..], properties].concat();
            let body = if body.is_empty() { Vec::new() } else { frame(3, 1, body) };
            [frame(1, 1, &method), frame(2, 1, &header), body].concat()
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("amqp://guest:guest@{}/%2f", listener.local_addr().unwrap());
        let broker = tokio::spawn(broker(listener, deliveries.collect(), sizes));

        let connector = Connector::new(Secret::fixed(&url));
        let connection = connector.connect("hookbro test").await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consumer = channel.basic_consume("q".into(), "tag".into(), options, FieldTable::default()).await.unwrap();
        let received = consumer.take(MESSAGES).map(|delivery| delivery.unwrap().data).collect::<Vec<_>>();
        let received = tokio::time::timeout(PATIENCE, received).await.expect("all arrive");
        let sent: Vec<_> = messages.into_iter().map(|(_, _, body)| body).collect();
        assert!(received == sent, "bodies came out of order or changed");
        close(connection).await;
        broker.abort();
    }
}
