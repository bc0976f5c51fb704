//! Many destinations side by side.

use super::*;
use std::task::Poll;

fn destinations() -> Destinations {
    Destinations::new(10, Arc::new(Metrics::new().unwrap()))
}

fn project(name: &str) -> ProjectId {
    ProjectId::try_new(name.to_owned()).unwrap()
}

fn event(name: &str) -> EventId {
    EventId::try_new(name.to_owned()).unwrap()
}

fn fail(destinations: &Destinations, name: &str) {
    while let Ok(admitted) = destinations.admit(&project(name)) {
        let _ = admitted.failed(&event("evt_1"), "answered 500", None, false);
    }
}

fn fail_once(destinations: &Destinations, name: &str) {
    let _ = destinations.admit(&project(name)).unwrap().failed(&event("evt_1"), "answered 500", None, false);
}

#[tokio::test(start_paused = true)]
async fn one_destination_that_fails_closes_no_other() {
    let destinations = destinations();
    fail(&destinations, "sick");
    assert_eq!(destinations.admit(&project("sick")).map(drop), Err(ParkReason::CircuitOpen));
    assert!(destinations.admit(&project("well")).is_ok());
    assert_eq!(destinations.metrics.circuits_open.get(), 1);
    let open = destinations.open();
    assert_eq!((open.len(), &*open[0].project, &*open[0].cause), (1, "sick", "answered 500"));
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_chance_gets_it_with_the_probe_and_with_the_ramp() {
    let destinations = destinations();
    fail(&destinations, "sick");
    let began = Instant::now();
    destinations.until_chance(&project("sick")).await;
    assert_eq!(began.elapsed(), Duration::from_secs(1));
    let probe = destinations.admit(&project("sick")).unwrap();
    let sick = project("sick");
    let mut waiting = std::pin::pin!(destinations.until_chance(&sick));
    let pending = std::future::poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending())).await;
    assert!(pending, "one probe at a time");
    probe.accepted();
    waiting.await;
    assert_eq!((destinations.metrics.circuits_open.get(), destinations.open()), (0, Vec::new()));
    let first = destinations.admit(&project("sick")).unwrap();
    assert_eq!(destinations.admit(&project("sick")).map(drop), Err(ParkReason::OverLimit));
    drop(first);
    assert!(destinations.admit(&project("sick")).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_last_failure_with_nothing_accepted_opens_the_circuit_and_parks_the_event() {
    let destinations = destinations();
    let admitted = destinations.admit(&project("gigs")).unwrap();
    assert!(!admitted.accepted_since(Instant::now()));
    assert_eq!(admitted.failed(&event("evt_1"), "answered 500", None, true), Failure::OfTheDestination);
    assert_eq!(destinations.open().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_fails_again_though_others_were_accepted_since_is_alone_to_blame() {
    let destinations = destinations();
    let gigs = project("gigs");
    let poison = || destinations.admit(&gigs).unwrap().failed(&event("evt_poison"), "answered 500", None, false);
    assert_eq!(poison(), Failure::OfTheEvent);
    tokio::time::advance(Duration::from_secs(1)).await;
    destinations.admit(&gigs).unwrap().accepted();
    for _ in 0..100 {
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(poison(), Failure::OfTheEventAlone);
    }
    fail_once(&destinations, "gigs");
    assert_eq!(poison(), Failure::OfTheEventAlone);
    fail(&destinations, "gigs");
    assert_eq!(destinations.admit(&gigs).map(drop), Err(ParkReason::CircuitOpen));
}

#[tokio::test(start_paused = true)]
async fn while_events_wait_long_the_destination_with_most_places_gets_no_more_of_them() {
    let destinations = destinations();
    let (flood, other) = (project("flood"), project("other"));
    destinations.admit(&other).unwrap().accepted();
    let taken: Vec<_> = (0..6).map(|_| destinations.place(&flood)).collect();
    assert_eq!(destinations.place(&flood).refusal(), None, "nobody waits");
    destinations.set_crowded(true);
    assert_eq!(destinations.place(&flood).refusal(), Some(ParkReason::OverLimit));
    assert_eq!(destinations.place(&other).refusal(), None);
    assert!(destinations.admit(&flood).is_ok(), "what is parked has places of its own");
    drop(taken);
    assert_eq!(destinations.place(&flood).refusal(), None);
    let alone = Destinations::new(10, Arc::new(Metrics::new().unwrap()));
    let _taken: Vec<_> = (0..10).map(|_| alone.place(&flood)).collect();
    alone.set_crowded(true);
    assert_eq!(alone.place(&flood).refusal(), None, "alone, it may have everything");
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_is_held_off_has_not_failed_and_is_asked_when_the_time_is_over() {
    let destinations = destinations();
    let new = project("new");
    let hold =
        || destinations.admit(&new).unwrap().hold_off("limit", ParkReason::Provisioning, Duration::from_secs(90));
    hold();
    assert_eq!(destinations.admit(&new).map(drop), Err(ParkReason::Provisioning));
    assert_eq!((destinations.metrics.circuits_open.get(), destinations.open()), (0, Vec::new()));
    let began = Instant::now();
    destinations.until_chance(&new).await;
    assert_eq!(began.elapsed(), Duration::from_secs(90));
    hold();
    destinations.until_chance(&new).await;
    fail_once(&destinations, "new");
    assert_eq!(destinations.metrics.circuits_open.get(), 1, "now it has failed");
    tokio::time::sleep(Duration::from_secs(5)).await;
    destinations.admit(&new).unwrap().accepted();
    assert_eq!(destinations.metrics.circuits_open.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn destinations_that_are_idle_are_forgotten_and_others_are_not() {
    let destinations = destinations();
    fail(&destinations, "sick");
    let busy = destinations.admit(&project("busy")).unwrap();
    for nth in 0..MOST + 10 {
        destinations.admit(&project(&format!("p{nth}"))).unwrap().accepted();
    }
    assert!(destinations.known.read().unwrap().len() < MOST / 2);
    assert_eq!(destinations.admit(&project("sick")).map(drop), Err(ParkReason::CircuitOpen));
    busy.accepted();
}
