//! The guard before upstream's parser, which reads on a thread as lapin's loop has one: what the guard lets through, it takes.
//!
//! Here is what both parts need: `cases` says what becomes of which header, `fuzz` tries many more.

mod cases;
mod cost;
mod fuzz;

use super::{
    stream::Guarded,
    unreadable::{MARK, Unreadable},
};
use amq_protocol::{
    frame::{AMQPFrame, parsing::parse_frame},
    types::AMQPValue,
};
use futures_io::AsyncRead;
use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
};

const CHANNEL: u16 = 3;
/// RabbitMQ's default, and what hookbro asks for.
const FRAME_MAX: u32 = 128 * 1024;

fn short(text: &[u8]) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text].concat()
}

fn counted(inside: &[u8]) -> Vec<u8> {
    [&u32::try_from(inside.len()).unwrap().to_be_bytes(), inside].concat()
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind], &CHANNEL.to_be_bytes()[..], &counted(payload), &[0xCE]].concat()
}

/// The payload of a content header for a body of `size` bytes.
fn content_header(size: u64, flags: u16, values: &[u8]) -> Vec<u8> {
    [&[0, 60, 0, 0], &size.to_be_bytes()[..], &flags.to_be_bytes(), values].concat()
}

/// The frames of a delivery: a method, a header with this payload, and a body.
fn delivery(routing_key: &[u8], header: &[u8], body: &[u8]) -> Vec<u8> {
    let method = [vec![0, 60, 0, 60], short(b"tag"), vec![0; 9], short(b"exchange"), short(routing_key)].concat();
    [frame(1, &method), frame(2, header), frame(3, body)].concat()
}

/// `depth` arrays inside each other, as a value.
fn nested(depth: usize) -> Vec<u8> {
    (0..depth).fold(vec![b'V'], |value, _| [vec![b'A'], counted(&value)].concat())
}

/// A connection that yields these pieces, one a read, and waits between them.
struct Pieces {
    left: VecDeque<Vec<u8>>,
    waits: bool,
}

impl AsyncRead for Pieces {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.waits = !self.waits;
        if self.waits {
            return Poll::Pending;
        }
        let Some(mut piece) = self.left.pop_front() else { return Poll::Ready(Ok(0)) };
        let read = piece.len().min(buffer.len());
        buffer[..read].copy_from_slice(&piece[..read]);
        if read < piece.len() {
            self.left.push_front(piece.split_off(read));
        }
        Poll::Ready(Ok(read))
    }
}

/// What comes out of the guard if the broker's bytes come in pieces of these sizes, in turn, and are read into buffers of those.
fn guarded(bytes: &[u8], pieces: &[usize], buffers: &[usize]) -> Vec<u8> {
    let (mut left, mut rest) = (VecDeque::new(), bytes);
    for size in pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, behind) = rest.split_at((*size).min(rest.len()));
        left.push_back(piece.to_vec());
        rest = behind;
    }
    let mut stream = Guarded::new(Pieces { left, waits: false }, FRAME_MAX);
    let mut out = Vec::new();
    for size in buffers.iter().cycle() {
        let mut buffer = vec![0; *size];
        let read = loop {
            let cx = &mut Context::from_waker(Waker::noop());
            if let Poll::Ready(read) = Pin::new(&mut stream).poll_read(cx, &mut buffer) {
                break read.unwrap();
            }
        };
        if read == 0 {
            break;
        }
        out.extend_from_slice(&buffer[..read]);
    }
    out
}

fn whole(bytes: &[u8]) -> Vec<u8> {
    guarded(bytes, &[bytes.len().max(1)], &[bytes.len() + 1])
}

/// All frames in `bytes`, by the parser, on a thread that is made as lapin makes its own; as far as it takes them.
fn parsed(bytes: &[u8]) -> Vec<AMQPFrame> {
    let bytes = bytes.to_vec();
    let parse = move || {
        let (mut rest, mut frames) = (&bytes[..], Vec::new());
        while let Ok((behind, frame)) = parse_frame(rest) {
            // lapin and hookbro do this too.
            drop(frame.clone());
            frames.push(frame);
            rest = behind;
        }
        frames
    };
    std::thread::Builder::new().name("lapin-io-loop".into()).spawn(parse).unwrap().join().unwrap()
}

/// The names in the mark of the one content header among `frames`.
fn marked(frames: &[AMQPFrame]) -> String {
    let AMQPFrame::Header(CHANNEL, header) = &frames[1] else { panic!("{:?} is no header", frames[1]) };
    match header.properties.headers().as_ref().and_then(|headers| headers.inner().get(MARK)) {
        Some(AMQPValue::LongString(names)) => Unreadable::from_names(names.as_bytes()).names(),
        other => panic!("the mark is {other:?}"),
    }
}
