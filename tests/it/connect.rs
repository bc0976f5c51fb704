//! Connecting to a broker that dies while it answers: whatever it had said by then, the next try is answered.

use crate::support::broker::Broker;
use hookbro::{
    process::secret::Secret,
    sources::rabbitmq::{Connector, close},
};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// Two tries of the longest wait for an answer, and what a busy machine adds.
const WITHIN: Duration = Duration::from_secs(40);

/// How a connection ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Close,
    Reset,
}

/// Passes the first connection on to `broker` until that has said `bytes`, and ends it; the others as they are.
async fn cut_after(bytes: usize, end: End, broker: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (first, _) = listener.accept().await.unwrap();
        tokio::spawn(cut(first, bytes, end, broker));
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut broker = TcpStream::connect(broker).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut broker).await;
            });
        }
    });
    address
}

async fn cut(client: TcpStream, bytes: usize, end: End, broker: SocketAddr) {
    if matches!(end, End::Reset) {
        client.set_zero_linger().unwrap();
    }
    let (mut from_broker, mut to_broker) = TcpStream::connect(broker).await.unwrap().into_split();
    let (mut from_client, mut to_client) = client.into_split();
    let asking = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_broker).await });
    let (mut left, mut buffer) = (bytes, [0; 4096]);
    while left > 0 {
        let most = left.min(buffer.len());
        let read = from_broker.read(&mut buffer[..most]).await.unwrap();
        to_client.write_all(&buffer[..read]).await.unwrap();
        left -= read;
    }
    asking.abort();
}

/// How many bytes the broker greets with.
async fn length_of_start(broker: SocketAddr) -> usize {
    let mut stream = TcpStream::connect(broker).await.unwrap();
    stream.write_all(b"AMQP\0\0\x09\x01").await.unwrap();
    let mut head = [0; 7];
    stream.read_exact(&mut head).await.unwrap();
    let payload = u32::from_be_bytes(head[3..].try_into().unwrap());
    // With its end mark.
    head.len() + usize::try_from(payload).unwrap() + 1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_dies_in_the_middle_of_its_greeting_is_found_again() {
    let broker = Broker::shared("greeting");
    let url = url::Url::parse(&broker.url).unwrap();
    let behind: SocketAddr = format!("127.0.0.1:{}", url.port().unwrap()).parse().unwrap();
    let start = length_of_start(behind).await;
    // Nothing, a part of connection.start, all of it, and what follows: connection.tune, connection.open-ok. Between the first
    // two, lapin answers in a task of its own, and may not have begun by then: hence so many times.
    let cuts = [0, 7, start - 1].into_iter().chain(std::iter::repeat_n(start, 100)).chain(start + 1..start + 40);
    let tries = cuts.flat_map(|bytes| [(bytes, End::Close), (bytes, End::Reset)]).map(|(bytes, end)| {
        let mut url = url.clone();
        async move {
            let address = cut_after(bytes, end, behind).await;
            url.set_port(Some(address.port())).unwrap();
            let connector = Connector::new(Secret::fixed(url.as_str()));
            let connected = tokio::time::timeout(WITHIN, async {
                loop {
                    match connector.connect("greeting").await {
                        Ok(connection) => return connection,
                        Err(_) => tokio::task::yield_now().await,
                    }
                }
            });
            let connection = connected.await.unwrap_or_else(|_| panic!("{bytes} bytes, {end:?}: not found again"));
            close(connection).await;
        }
    });
    futures_util::future::join_all(tries).await;
}
