//! What every source must do.

use super::{DELAYS, PREFETCH, Rig, conforms};
use crate::support::{SOON, events::generated, until};
use hookbro::{
    event::{Cause, Dead, DeadReason, Released, Verdict},
    pipeline::{
        delivery::Delivery,
        source::{Connect, Demand, NotOpen, Occasion, Source},
    },
};
use std::{collections::BTreeSet, time::Duration};

conforms! {
    nothing_comes_unless_it_is_asked_for
    every_event_comes_once_with_its_own_bytes
    a_failed_attempt_comes_back_after_its_delay_and_the_last_is_a_dead_letter_and_told
    what_is_given_up_is_a_dead_letter_with_its_reason
    what_is_given_back_or_forgotten_comes_again_without_an_attempt_spent
    what_an_ended_source_had_not_settled_comes_again_and_the_rest_does_not
    no_more_is_unsettled_than_was_asked_for
}

/// Long enough for a delivery that should not come to show itself.
const QUIET: Duration = Duration::from_millis(300);

pub(super) async fn open<C: Connect>(connect: &C) -> C::Source {
    match connect.open(Occasion::Start).await {
        Ok(source) => source,
        Err(NotOpen::Fatal(error)) => panic!("{error}"),
        Err(NotOpen::Now(error)) => panic!("{error}"),
    }
}

pub(super) async fn next<S: Source>(source: &mut S) -> Delivery<S::Receipt> {
    tokio::time::timeout(SOON, source.next()).await.expect("nothing came").unwrap()
}

pub(super) async fn quiet<S: Source>(source: &mut S) {
    let came = tokio::time::timeout(QUIET, source.next()).await;
    assert!(came.is_err(), "something came: {:?}", came.unwrap().unwrap().message);
}

fn failed() -> Verdict {
    Verdict::Retry(Cause { status: Some(503), detail: "not now".to_owned() })
}

fn dead_for(reason: DeadReason, cause: Cause) -> Verdict {
    Verdict::Dead(Dead { reason, cause, project: None, event_id: None })
}

async fn nothing_comes_unless_it_is_asked_for(rig: impl Rig) {
    let connect = rig.connect();
    rig.publish(&generated("demand", &["gigs"], 1)).await;
    let mut source = open(&connect).await;
    quiet(&mut source).await;
    source.set_demand(Demand::Full).await.unwrap();
    let Delivery { message, token } = next(&mut source).await;
    let _ = token.settle(Verdict::Delivered, message.body).await;
    source.set_demand(Demand::Nothing).await.unwrap();
    rig.publish(&generated("later", &["gigs"], 1)).await;
    quiet(&mut source).await;
    source.close().await;
    connect.close().await;
    rig.end().await;
}

async fn every_event_comes_once_with_its_own_bytes(rig: impl Rig) {
    let connect = rig.connect();
    let samples = generated("once", &["gigs", "dev"], 100);
    rig.publish(&samples).await;
    let mut source = open(&connect).await;
    source.set_demand(Demand::Full).await.unwrap();
    let mut bodies = BTreeSet::new();
    for _ in &samples {
        let Delivery { message, token } = next(&mut source).await;
        assert_eq!((message.attempt.get(), message.next_delay), (1, Some(DELAYS[0])));
        assert!(
            samples.iter().any(|sample| sample.body == message.body && sample.routing_key() == message.routing_key)
        );
        assert!(bodies.insert(message.body.clone()), "an event came twice");
        let _ = token.settle(Verdict::Delivered, message.body).await;
    }
    quiet(&mut source).await;
    source.close().await;
    connect.close().await;
    rig.end().await;
}

async fn a_failed_attempt_comes_back_after_its_delay_and_the_last_is_a_dead_letter_and_told(rig: impl Rig) {
    let connect = rig.connect();
    let samples = generated("ladder", &["gigs"], 1);
    rig.publish(&samples).await;
    let mut source = open(&connect).await;
    source.set_demand(Demand::Full).await.unwrap();
    for attempt in 1..=DELAYS.len() + 1 {
        let asked = tokio::time::Instant::now();
        let Delivery { message, token } = next(&mut source).await;
        assert_eq!(usize::from(message.attempt.get()), attempt);
        assert_eq!((&message.body, message.routing_key), (&samples[0].body, samples[0].routing_key()));
        assert_eq!(message.next_delay, DELAYS.get(attempt - 1).copied());
        if let Some(delay) = attempt.checked_sub(2).and_then(|before| DELAYS.get(before)) {
            assert_eq!(message.waited, *delay);
            // The failure was written after `asked` or a moment before: half is more than any clock is off.
            assert!(asked.elapsed() >= *delay / 2, "attempt {attempt} came after {:?}", asked.elapsed());
        }
        let _ = token.settle(failed(), message.body).await;
    }
    let dead = until("it is a dead letter", SOON, async || rig.take_dead().await.pop()).await;
    assert_eq!((dead.0.as_slice(), dead.1.as_str()), (&*samples[0].body, "exhausted"));
    // No verdict said so: the source does, once, whatever is asked for, and there is nothing more to do about it.
    source.set_demand(Demand::Nothing).await.unwrap();
    let told = next(&mut source).await;
    let cause = told.message.given_up.clone().expect("it is given up");
    assert_eq!((&told.message.body, told.message.attempt.get()), (&samples[0].body, DELAYS.len() as u8 + 1));
    let given_up = dead_for(DeadReason::Exhausted, cause);
    assert_eq!(told.token.settle(given_up.clone(), told.message.body).await, given_up);
    quiet(&mut source).await;
    assert!(rig.take_dead().await.is_empty(), "a dead letter is there once");
    source.close().await;
    connect.close().await;
    rig.end().await;
}

async fn what_is_given_up_is_a_dead_letter_with_its_reason(rig: impl Rig) {
    let connect = rig.connect();
    let samples = generated("dead", &["gigs"], 1);
    rig.publish(&samples).await;
    let mut source = open(&connect).await;
    source.set_demand(Demand::Full).await.unwrap();
    let Delivery { message, token } = next(&mut source).await;
    let cause = Cause { status: Some(422), detail: "refused".to_owned() };
    let dead = dead_for(DeadReason::Refused, cause);
    assert_eq!(token.settle(dead.clone(), message.body).await, dead);
    let lies = until("it is a dead letter", SOON, async || rig.take_dead().await.pop()).await;
    assert_eq!((lies.0.as_slice(), lies.1.as_str()), (&*samples[0].body, "refused"));
    quiet(&mut source).await;
    source.close().await;
    connect.close().await;
    rig.end().await;
}

async fn what_is_given_back_or_forgotten_comes_again_without_an_attempt_spent(rig: impl Rig) {
    let connect = rig.connect();
    let samples = generated("back", &["gigs"], 1);
    rig.publish(&samples).await;
    let mut source = open(&connect).await;
    source.set_demand(Demand::Full).await.unwrap();
    let Delivery { message, token } = next(&mut source).await;
    let released = Verdict::Released(Released::Stopping);
    assert_eq!(token.settle(released.clone(), message.body).await, released);
    let Delivery { message, token } = next(&mut source).await;
    assert_eq!((message.attempt.get(), &message.body), (1, &samples[0].body));
    drop(token);
    let Delivery { message, token } = next(&mut source).await;
    assert_eq!((message.attempt.get(), &message.body), (1, &samples[0].body));
    let _ = token.settle(Verdict::Delivered, message.body).await;
    quiet(&mut source).await;
    source.close().await;
    connect.close().await;
    rig.end().await;
}

async fn what_an_ended_source_had_not_settled_comes_again_and_the_rest_does_not(rig: impl Rig) {
    let connect = rig.connect();
    let samples = generated("ended", &["gigs"], 2);
    rig.publish(&samples).await;
    let mut source = open(&connect).await;
    source.set_demand(Demand::Full).await.unwrap();
    let settled = next(&mut source).await;
    let unsettled = next(&mut source).await;
    let first = settled.message.body.clone();
    let _ = settled.token.settle(Verdict::Delivered, settled.message.body).await;
    let second = unsettled.message.body.clone();
    // A clean end writes what is settled; the other one's receipt outlives it and settles nothing any more.
    source.close().await;
    let late = unsettled.token.settle(Verdict::Released(Released::Stopping), second.clone()).await;
    assert!(matches!(late, Verdict::Released(_)), "{late:?}");
    let mut source = open(&connect).await;
    source.set_demand(Demand::Full).await.unwrap();
    let Delivery { message, token } = next(&mut source).await;
    assert_eq!(message.body, second);
    assert_ne!(message.body, first);
    let _ = token.settle(Verdict::Delivered, message.body).await;
    quiet(&mut source).await;
    source.abandon().await;
    connect.close().await;
    rig.end().await;
}

async fn no_more_is_unsettled_than_was_asked_for(rig: impl Rig) {
    let connect = rig.connect();
    rig.publish(&generated("bound", &["gigs"], 3 * usize::from(PREFETCH))).await;
    let mut source = open(&connect).await;
    source.set_demand(Demand::One).await.unwrap();
    let one = next(&mut source).await;
    quiet(&mut source).await;
    let _ = one.token.settle(Verdict::Delivered, one.message.body).await;
    source.set_demand(Demand::Full).await.unwrap();
    let mut unsettled = Vec::new();
    for _ in 0..PREFETCH {
        unsettled.push(next(&mut source).await);
    }
    quiet(&mut source).await;
    for Delivery { message, token } in unsettled {
        let _ = token.settle(Verdict::Delivered, message.body).await;
    }
    source.close().await;
    connect.close().await;
    rig.end().await;
}
