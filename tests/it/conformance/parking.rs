//! What every parking must do.

use super::{
    Rig, conforms,
    source::{next, open, quiet},
};
use crate::support::{
    events::{Sample, generated},
    until,
};
use hookbro::{
    event::{Event, Released, Verdict},
    pipeline::{
        delivery::Delivery,
        parking::{NotPassed, Parking, Passed},
        source::{Connect as _, Demand, Source},
    },
};
use std::time::Duration;

conforms! {
    parked_events_come_back_in_their_order_with_the_first_attempt
    what_stays_keeps_its_order_and_comes_with_a_later_pass
    a_pass_that_is_to_end_leaves_the_rest_where_it_is
}

/// Another test's pass over a broker may take a moment.
const SOON: Duration = Duration::from_secs(60);

/// Publishes these, and parks them in their order.
async fn park<S: Source>(rig: &impl Rig, source: &mut S, samples: &[Sample]) {
    rig.publish(samples).await;
    for _ in samples {
        let Delivery { message, token } = next(source).await;
        let parked = Verdict::Released(Released::ProjectPaused);
        assert_eq!(token.settle(parked.clone(), message.body).await, parked);
    }
    quiet(source).await;
}

async fn release(parking: &impl Parking, stays: &str, goes_on: impl Fn() -> bool + Send + Sync) -> Passed {
    until("a pass is made", SOON, async || match parking.release(|project| project.as_str() == stays, &goes_on).await {
        Ok(passed) => Some(passed),
        Err(NotPassed::Busy) => None,
        Err(error) => panic!("{error}"),
    })
    .await
}

/// The ids of the next `count` events, each with its first attempt and settled as delivered.
async fn ids<S: Source>(source: &mut S, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let Delivery { message, token } = next(source).await;
        assert_eq!(message.attempt.get(), 1);
        ids.push(Event::parse(message.body.clone(), usize::MAX).unwrap().id.to_string());
        let _ = token.settle(Verdict::Delivered, message.body).await;
    }
    ids
}

fn expected<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Vec<String> {
    samples.into_iter().map(|sample| sample.id.clone()).collect()
}

async fn parked_events_come_back_in_their_order_with_the_first_attempt(rig: impl Rig) {
    let (connect, parking) = (rig.connect(), rig.parking());
    let mut source = open(&connect).await;
    source.set_demand(Demand::Full).await.unwrap();
    let samples = generated("parked", &["gigs"], 12);
    park(&rig, &mut source, &samples).await;
    assert_eq!(release(&parking, "nobody", || true).await, Passed { released: 12, kept: 0, left: 0 });
    assert_eq!(ids(&mut source, 12).await, expected(&samples));
    quiet(&mut source).await;
    assert_eq!(release(&parking, "nobody", || true).await, Passed { released: 0, kept: 0, left: 0 });
    source.close().await;
    parking.close().await;
    connect.close().await;
    rig.end().await;
}

async fn what_stays_keeps_its_order_and_comes_with_a_later_pass(rig: impl Rig) {
    let (connect, parking) = (rig.connect(), rig.parking());
    let mut source = open(&connect).await;
    source.set_demand(Demand::Full).await.unwrap();
    let samples = generated("stays", &["gigs", "dev"], 12);
    park(&rig, &mut source, &samples).await;
    assert_eq!(release(&parking, "gigs", || true).await, Passed { released: 6, kept: 6, left: 0 });
    assert_eq!(ids(&mut source, 6).await, expected(samples.iter().filter(|sample| sample.project == "dev")));
    quiet(&mut source).await;
    assert_eq!(release(&parking, "nobody", || true).await, Passed { released: 6, kept: 0, left: 0 });
    assert_eq!(ids(&mut source, 6).await, expected(samples.iter().filter(|sample| sample.project == "gigs")));
    source.close().await;
    parking.close().await;
    connect.close().await;
    rig.end().await;
}

async fn a_pass_that_is_to_end_leaves_the_rest_where_it_is(rig: impl Rig) {
    let (connect, parking) = (rig.connect(), rig.parking());
    let mut source = open(&connect).await;
    source.set_demand(Demand::Full).await.unwrap();
    let samples = generated("early", &["gigs"], 12);
    park(&rig, &mut source, &samples).await;
    assert_eq!(release(&parking, "nobody", || false).await, Passed { released: 0, kept: 0, left: 12 });
    quiet(&mut source).await;
    assert_eq!(release(&parking, "nobody", || true).await.released, 12);
    assert_eq!(ids(&mut source, 12).await, expected(&samples));
    source.close().await;
    parking.close().await;
    connect.close().await;
    rig.end().await;
}
