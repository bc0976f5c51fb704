//! What the guard costs good frames. By hand, in a release build:
//! `cargo test --release --lib -- --ignored --nocapture guard::tests::cost`.

use super::{FRAME_MAX, content_header, counted, delivery, short};
use crate::sources::rabbitmq::guard::frames::{Frames, Then};
use std::{hint::black_box, time::Instant};

/// About what lapin reads at once from a broker that is ahead of it.
const READ: usize = 256 * 1024;
const EVENTS: usize = 2_000_000;

/// An event of a kilobyte as publishers send them, with these headers.
fn event(headers: Option<&[u8]>) -> Vec<u8> {
    let mut flags = 0b1001_0000_1110_0000;
    let mut values = short(b"application/json");
    if let Some(headers) = headers {
        flags |= 1 << 13;
        values.extend(counted(headers));
    }
    values.extend(
        [&[2], &short(b"evt_05eKN5Dvwee5PehvWiOlFJmHKfvF")[..], &[0; 8], &short(b"com.gigs.sim.updated")].concat(),
    );
    delivery(b"acme-mobile.com.gigs.sim.updated", &content_header(1_000, flags, &values), &[b'x'; 1_000])
}

fn text(name: &[u8], value: &[u8]) -> Vec<u8> {
    [short(name), vec![b'S'], counted(value)].concat()
}

#[test]
#[ignore = "measures, and asserts next to nothing"]
fn nanoseconds_of_good_frames() {
    let traced = text(b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let keys = counted(&[vec![b'S'], counted(b"acme-mobile.com.gigs.sim.updated")].concat());
    let died = [
        text(b"exchange", b"hookbro.events.retry.1"),
        text(b"queue", b"hookbro.events.delay.1"),
        text(b"reason", b"expired"),
        [short(b"routing-keys"), vec![b'A'], keys].concat(),
        [short(b"count"), vec![b'l'], vec![0; 8], short(b"time"), vec![b'T'], vec![0; 8]].concat(),
    ];
    let died = [vec![b'F'], counted(&died.concat())].concat();
    let deaths = [short(b"x-death"), vec![b'A'], counted(&[died.clone(), died].concat())].concat();
    for (name, event) in [
        ("without headers", event(None)),
        ("with a trace", event(Some(&traced))),
        ("on its second rung", event(Some(&[traced, deaths].concat()))),
    ] {
        let at_once = READ / event.len();
        let mut bytes = event.repeat(at_once);
        let mut frames = Frames::new(FRAME_MAX);
        let began = Instant::now();
        for _ in 0..EVENTS / at_once {
            let scanned = frames.scan(black_box(&mut bytes));
            assert_eq!((scanned.pass, scanned.then), (bytes.len(), Then::End));
        }
        let nanos = began.elapsed().as_nanos() / (EVENTS / at_once * at_once) as u128;
        println!("{name}: {nanos} ns an event of three frames");
    }
}
