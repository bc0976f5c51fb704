//! A stand-in for Svix that costs as little as a server can: one task per connection, no parser beyond the end of the
//! head and its `content-length`, one answer that is fixed but for the event's id. It runs in the driver's process, so its CPU is nobody's figure.

use crate::{Error, event};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// What comes before the length of the body, before the id that the request gave the event, and after it.
const ACCEPTED: [&str; 3] = [
    "HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\ncontent-length: ",
    "\r\n\r\n{\"id\":\"msg_2srOrx2ZWZBpBUvZwXKQmoEY\",\"eventId\":\"",
    "\"}",
];
/// What hookbro asks before it trusts that this is Svix: a page of applications.
const PAGE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{\"data\":[]}";
/// First size of a connection's buffer: one event with its head.
const BUFFER: usize = 8 * 1024;
/// What a first attempt gets that is to fail.
const REFUSAL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: 25\r\n\r\n\
    {\"detail\":\"come back on\"}";

/// How requests are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    /// 202, always.
    Accepted,
    /// The first request of every second event is refused: never so many in a row that hookbro pauses.
    EverySecondRefusedOnce,
}

/// The answer to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Accepted,
    Refused,
}

impl Answer {
    /// Puts what is to be written for `request` in the place of what is in `out`.
    fn write(self, request: &[u8], out: &mut Vec<u8>) {
        out.clear();
        if self == Self::Refused {
            return out.extend_from_slice(REFUSAL);
        }
        let [head, before, after] = ACCEPTED;
        let id = event::id_in(request).unwrap_or_default();
        let body_before = before.len() - "\r\n\r\n".len();
        let length = (body_before + id.len() + after.len()).to_string();
        for part in [head.as_bytes(), length.as_bytes(), before.as_bytes(), id, after.as_bytes()] {
            out.extend_from_slice(part);
        }
    }
}

/// What it counts. Times are nanoseconds after `epoch`, plus one; 0: not yet.
#[derive(Debug)]
pub(crate) struct Counts {
    epoch: Instant,
    expected: u64,
    requests: AtomicU64,
    first: AtomicU64,
    last: AtomicU64,
    /// Nanoseconds that answers were held back, all together: timers round up, and Little's law wants the truth.
    held: AtomicU64,
    /// By the event's number, for latency runs; empty otherwise, so that drains need not look for ids.
    arrivals: Vec<AtomicU64>,
    answers: Answers,
    progress: watch::Sender<Progress>,
}

/// How far the expected requests have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Progress {
    Nothing,
    Begun,
    Done,
}

/// A listening stand-in; it ends when dropped.
#[derive(Debug)]
pub(crate) struct StandIn {
    pub(crate) address: SocketAddr,
    pub(crate) counts: Arc<Counts>,
    _serving: AbortOnDropHandle<()>,
}

impl StandIn {
    /// Answers after `delay`; `expected` requests are the whole run.
    pub(crate) async fn start(delay: Duration, expected: u64, record_arrivals: bool) -> Result<Self, Error> {
        let arrivals = if record_arrivals { expected } else { 0 };
        Self::listen(delay, expected, arrivals, Answers::Accepted).await
    }

    /// Refuses every second of `events` once, so `events` and a half are expected.
    pub(crate) async fn refusing(events: u64) -> Result<Self, Error> {
        Self::listen(Duration::ZERO, events + events / 2, events, Answers::EverySecondRefusedOnce).await
    }

    async fn listen(delay: Duration, expected: u64, arrivals: u64, answers: Answers) -> Result<Self, Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let counts = Arc::new(Counts {
            epoch: Instant::now(),
            expected,
            requests: AtomicU64::new(0),
            first: AtomicU64::new(0),
            last: AtomicU64::new(0),
            held: AtomicU64::new(0),
            arrivals: (0..arrivals).map(|_| AtomicU64::new(0)).collect(),
            answers,
            progress: watch::Sender::new(Progress::Nothing),
        });
        let serving = tokio::spawn(accept(listener, delay, Arc::clone(&counts)));
        Ok(Self { address, counts, _serving: AbortOnDropHandle::new(serving) })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Counts {
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX - 1) + 1
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Waits until the expected requests have come so far.
    pub(crate) async fn until(&self, progress: Progress) {
        // The sender lives in `self`.
        let _ = self.progress.subscribe().wait_for(|now| *now >= progress).await;
    }

    /// From the first expected request to the last.
    pub(crate) fn elapsed(&self) -> Duration {
        let (first, last) = (self.first.load(Ordering::Relaxed), self.last.load(Ordering::Relaxed));
        Duration::from_nanos(last.saturating_sub(first))
    }

    /// How long an answer was really held back, on average.
    pub(crate) fn latency(&self) -> Duration {
        Duration::from_nanos(self.held.load(Ordering::Relaxed) / self.requests().max(1))
    }

    /// When the request of event `number` came.
    pub(crate) fn arrival(&self, number: usize) -> Option<u64> {
        self.arrivals.get(number).map(|at| at.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }

    /// Counts a request and says what to answer.
    fn count(&self, request: &[u8]) -> Answer {
        let mut answer = Answer::Accepted;
        if !self.arrivals.is_empty()
            && let Some(number) = event::number_in(request)
            && let Some(slot) = usize::try_from(number).ok().and_then(|number| self.arrivals.get(number))
        {
            // A repeat does not make the first arrival any later.
            let first = slot.compare_exchange(0, self.now(), Ordering::Relaxed, Ordering::Relaxed).is_ok();
            if first && self.answers == Answers::EverySecondRefusedOnce && number % 2 == 1 {
                answer = Answer::Refused;
            }
        }
        let count = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        if count == 1 {
            self.first.store(self.now(), Ordering::Relaxed);
            self.progress.send_replace(Progress::Begun);
        }
        if count == self.expected {
            self.last.store(self.now(), Ordering::Relaxed);
            self.progress.send_replace(Progress::Done);
        }
        answer
    }
}

async fn accept(listener: TcpListener, delay: Duration, counts: Arc<Counts>) {
    // Ends the connections together with the listener.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let counts = Arc::clone(&counts);
        connections.spawn(async move {
            // A client that goes away ends its connection; nothing else is lost with it.
            let _ = serve(stream, delay, &counts).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(mut stream: TcpStream, delay: Duration, counts: &Counts) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut buffer, mut answer) = (Vec::with_capacity(BUFFER), Vec::new());
    loop {
        let Some(length) = request_length(&buffer) else {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        };
        if buffer.len() < length {
            buffer.reserve(length - buffer.len());
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        }
        if buffer.starts_with(b"GET ") {
            buffer.drain(..length);
            stream.write_all(PAGE).await?;
            continue;
        }
        counts.count(&buffer[..length]).write(&buffer[..length], &mut answer);
        buffer.drain(..length);
        if !delay.is_zero() {
            let since = Instant::now();
            tokio::time::sleep(delay).await;
            let held = u64::try_from(since.elapsed().as_nanos()).unwrap_or_default();
            counts.held.fetch_add(held, Ordering::Relaxed);
        }
        stream.write_all(&answer).await?;
    }
}

/// Head and body together, once the head is complete.
fn request_length(buffer: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let head = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let length = buffer[..head]
        .split(|byte| *byte == b'\n')
        .find(|line| line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME))
        .and_then(|line| std::str::from_utf8(&line[NAME.len()..]).ok()?.trim().parse().ok());
    Some(head + length.unwrap_or(0))
}

#[test]
fn the_fixed_answers_are_as_long_as_they_say() {
    let mut accepted = Vec::new();
    Answer::Accepted.write(br#"POST / HTTP/1.1{"eventType":"t","eventId":"evt_7","payload":{}}"#, &mut accepted);
    assert!(accepted.ends_with(br#","eventId":"evt_7"}"#));
    for answer in [&accepted, PAGE, REFUSAL] {
        assert_eq!(request_length(answer), Some(answer.len()));
    }
}
