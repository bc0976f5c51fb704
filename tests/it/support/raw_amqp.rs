//! A publisher that writes its own frames (AMQP 0-9-1), for messages that no client library would send.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};
use url::Url;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
const END: u8 = 0xCE;
/// The one channel.
const CHANNEL: u16 = 1;
/// The classes and methods that answer.
const START: [u8; 4] = [0, 10, 0, 10];
const TUNE: [u8; 4] = [0, 10, 0, 30];
const OPEN_OK: [u8; 4] = [0, 10, 0, 41];
const CHANNEL_OPEN_OK: [u8; 4] = [0, 20, 0, 11];
const CONFIRM_SELECT_OK: [u8; 4] = [0, 85, 0, 11];
const ACK: [u8; 4] = [0, 60, 0, 80];
/// RabbitMQ's default.
const FRAME_MAX: usize = 128 * 1024;
/// A broker that answers no more is not waited for.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct RawPublisher(TcpStream);

/// Why a message was not taken: the broker's frame in its place.
#[derive(Debug)]
pub struct Refused(#[expect(dead_code, reason = "for whoever prints it")] Vec<u8>);

/// A message's properties: flags and values, as they stand in a content header.
#[derive(Debug, Clone, Default)]
pub struct RawProperties {
    pub flags: u16,
    pub values: Vec<u8>,
}

impl RawProperties {
    /// In the order of the flags: `headers` is the table with its length, `message_id` any bytes.
    pub fn new(headers: Option<&[u8]>, message_id: Option<&[u8]>) -> Self {
        let mut properties = Self::default();
        properties.short(15, Some(b"application/json"));
        if let Some(headers) = headers {
            properties.flags |= 1 << 13;
            properties.values.extend_from_slice(headers);
        }
        properties.flags |= 1 << 12;
        properties.values.push(2);
        properties.short(7, message_id);
        properties
    }

    /// The short string of flag `bit`, behind those of higher bits.
    pub fn short(&mut self, bit: u16, text: Option<&[u8]>) {
        if let Some(text) = text {
            self.flags |= 1 << bit;
            self.values.extend(short(text));
        }
    }
}

/// A short string.
pub fn short(text: &[u8]) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text].concat()
}

/// A table or an array, with its length.
pub fn counted(inside: &[u8]) -> Vec<u8> {
    [&u32::try_from(inside.len()).unwrap().to_be_bytes(), inside].concat()
}

/// A frame with this payload.
pub fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    [&[kind], &channel.to_be_bytes()[..], &counted(payload), &[END]].concat()
}

/// A table of one array, which holds an array, and so on: so many.
pub fn nested_arrays(depth: usize) -> Vec<u8> {
    let mut value = vec![b'V'];
    for _ in 0..depth {
        value = [vec![b'A'], counted(&value)].concat();
    }
    counted(&[short(b"deep"), value].concat())
}

/// The same with tables, whose entries have names.
pub fn nested_tables(depth: usize) -> Vec<u8> {
    let mut value = vec![b'V'];
    for _ in 0..depth {
        value = [vec![b'F'], counted(&[short(b"k"), value].concat())].concat();
    }
    counted(&[short(b"deep"), value].concat())
}

impl RawPublisher {
    /// Connects, and opens a channel whose publishes are confirmed.
    pub fn connect(url: &str) -> Self {
        let url = Url::parse(url).unwrap();
        let text = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        let address = (url.host_str().unwrap(), url.port().unwrap_or(5672));
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut this = Self(stream);
        this.0.write_all(b"AMQP\0\0\x09\x01").unwrap();
        this.expect(START).unwrap();
        let secret = format!("\0{}\0{}", text(url.username()), text(url.password().unwrap_or_default()));
        let start_ok = [counted(&[]), short(b"PLAIN"), counted(secret.as_bytes()), short(b"en_US")].concat();
        this.method(0, [0, 10, 0, 11], &start_ok);
        let tune = this.expect(TUNE).unwrap();
        this.method(0, [0, 10, 0, 31], &tune[4..]);
        let vhost = text(url.path().strip_prefix('/').filter(|path| !path.is_empty()).unwrap_or("/"));
        this.method(0, [0, 10, 0, 40], &[short(vhost.as_bytes()), vec![0, 0]].concat());
        this.expect(OPEN_OK).unwrap();
        this.method(CHANNEL, [0, 20, 0, 10], &[0]);
        this.expect(CHANNEL_OPEN_OK).unwrap();
        this.method(CHANNEL, [0, 85, 0, 10], &[0]);
        this.expect(CONFIRM_SELECT_OK).unwrap();
        this
    }

    /// Publishes, and waits until the broker has it.
    pub fn publish(
        &mut self,
        exchange: &str,
        routing_key: &[u8],
        properties: &RawProperties,
        body: &[u8],
    ) -> Result<(), Refused> {
        let publish = [vec![0, 0], short(exchange.as_bytes()), short(routing_key), vec![0]].concat();
        self.method(CHANNEL, [0, 60, 0, 40], &publish);
        let size = (body.len() as u64).to_be_bytes();
        let header = [&[0, 60, 0, 0], &size[..], &properties.flags.to_be_bytes(), &properties.values].concat();
        self.frame(HEADER, CHANNEL, &header);
        for part in body.chunks(FRAME_MAX - 8) {
            self.frame(BODY, CHANNEL, part);
        }
        self.expect(ACK).map(drop)
    }

    fn method(&mut self, channel: u16, method: [u8; 4], arguments: &[u8]) {
        self.frame(METHOD, channel, &[&method, arguments].concat());
    }

    fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        self.0.write_all(&frame(kind, channel, payload)).unwrap();
    }

    /// The payload of the next frame, if it is this method.
    fn expect(&mut self, method: [u8; 4]) -> Result<Vec<u8>, Refused> {
        loop {
            let mut head = [0; 7];
            self.0.read_exact(&mut head).unwrap();
            let size = u32::from_be_bytes(head[3..].try_into().unwrap());
            let mut payload = vec![0; size as usize + 1];
            self.0.read_exact(&mut payload).unwrap();
            payload.pop();
            match head[0] {
                HEARTBEAT => {}
                METHOD if payload.starts_with(&method) => return Ok(payload),
                _ => return Err(Refused(payload)),
            }
        }
    }
}
