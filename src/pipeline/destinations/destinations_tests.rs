//! Many destinations side by side.

use super::*;
use std::task::Poll;

fn destinations() -> Destinations {
    Destinations::new(Arc::new(Metrics::new().unwrap()))
}

fn project(name: &str) -> ProjectId {
    ProjectId::try_new(name.to_owned()).unwrap()
}

fn fail(destinations: &Destinations, name: &str) {
    while let Ok(admitted) = destinations.admit(&project(name)) {
        let _ = admitted.failed("answered 500", None, false);
    }
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
    assert_eq!(admitted.failed("answered 500", None, true), Failure::OfTheDestination);
    assert_eq!(destinations.open().len(), 1);
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
