//! A TCP proxy before the broker that speaks AMQP well enough to swallow the deliveries of chosen queues, while heartbeats
//! and every answer pass: the consumer that is dead and looks alive.

use std::{
    collections::{HashMap, HashSet},
    io,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use tokio_util::task::AbortOnDropHandle;
use url::Url;

/// AMQP 0-9-1, 2.3.5: type, channel and size before the payload, one octet behind it.
const HEAD: usize = 7;
const METHOD: u8 = 1;
/// Class and method numbers of what is looked for.
const CONSUME: [u8; 4] = [0, 60, 0, 20];
const DELIVER: [u8; 4] = [0, 60, 0, 60];
/// Where the queue's name stands in `basic.consume`: behind class, method and a reserved short.
const CONSUMED_QUEUE: usize = 6;

type Names = Arc<Mutex<HashSet<String>>>;
type Channels = Arc<Mutex<HashMap<u16, String>>>;

/// Ended with all its connections when dropped.
pub struct Proxy {
    /// The broker's URL, by way of the proxy.
    pub url: String,
    swallowed: Names,
    _serving: AbortOnDropHandle<()>,
}

impl Proxy {
    pub async fn before(broker: &str) -> Self {
        let mut url = Url::parse(broker).unwrap();
        let upstream = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5672));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        url.set_ip_host(listener.local_addr().unwrap().ip()).unwrap();
        url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
        let swallowed = Names::default();
        let serving = serve(listener, upstream, Arc::clone(&swallowed));
        Self { url: url.into(), swallowed, _serving: AbortOnDropHandle::new(tokio::spawn(serving)) }
    }

    /// From now on nothing of this queue arrives.
    pub fn swallow(&self, queue: &str) {
        self.swallowed.lock().unwrap().insert(queue.to_owned());
    }

    pub fn relent(&self) {
        self.swallowed.lock().unwrap().clear();
    }
}

async fn serve(listener: TcpListener, upstream: String, swallowed: Names) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let Ok(broker) = TcpStream::connect(&upstream).await else { continue };
        let (from_client, to_client) = client.into_split();
        let (from_broker, to_broker) = broker.into_split();
        let channels = Channels::default();
        connections.spawn(asked(from_client, to_broker, Arc::clone(&channels)));
        connections.spawn(answered(from_broker, to_client, channels, Arc::clone(&swallowed)));
    }
}

/// Passes everything, and learns which channel consumes which queue.
async fn asked(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, channels: Channels) -> io::Result<()> {
    let mut greeting = [0; 8];
    from.read_exact(&mut greeting).await?;
    to.write_all(&greeting).await?;
    loop {
        let frame = Frame::read(&mut from).await?;
        if frame.is(CONSUME) {
            let name = &frame.payload()[CONSUMED_QUEUE..];
            let name = String::from_utf8_lossy(&name[1..=usize::from(name[0])]).into_owned();
            channels.lock().unwrap().insert(frame.channel(), name);
        }
        to.write_all(&frame.0).await?;
    }
}

/// Passes everything but deliveries, with their header and body, of the queues that are swallowed.
async fn answered(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    channels: Channels,
    swallowed: Names,
) -> io::Result<()> {
    let mut swallowing = HashSet::new();
    loop {
        let frame = Frame::read(&mut from).await?;
        let channel = frame.channel();
        if frame.kind() == METHOD {
            let queue = channels.lock().unwrap().get(&channel).cloned();
            let dead = queue.is_some_and(|queue| swallowed.lock().unwrap().contains(&queue));
            if dead && frame.is(DELIVER) {
                swallowing.insert(channel);
            } else {
                swallowing.remove(&channel);
            }
        }
        if !swallowing.contains(&channel) {
            to.write_all(&frame.0).await?;
        }
    }
}

/// One frame as it travels.
struct Frame(Vec<u8>);

impl Frame {
    async fn read(from: &mut OwnedReadHalf) -> io::Result<Self> {
        let mut frame = vec![0; HEAD];
        from.read_exact(&mut frame).await?;
        let size = u32::from_be_bytes([frame[3], frame[4], frame[5], frame[6]]) as usize;
        frame.resize(HEAD + size + 1, 0);
        from.read_exact(&mut frame[HEAD..]).await?;
        Ok(Self(frame))
    }

    fn kind(&self) -> u8 {
        self.0[0]
    }

    fn channel(&self) -> u16 {
        u16::from_be_bytes([self.0[1], self.0[2]])
    }

    fn payload(&self) -> &[u8] {
        &self.0[HEAD..]
    }

    fn is(&self, method: [u8; 4]) -> bool {
        self.kind() == METHOD && self.payload().starts_with(&method)
    }
}
