//! What every parking must do.

use super::{
    Rig, conforms,
    source::{next, open, quiet},
};
use crate::support::{
    SOON,
    events::{Sample, generated},
    until,
};
use hookbro::{
    event::{Attempt, Cause, Dead, DeadReason, Event, ParkReason, Parked, ProjectId, Released, Verdict},
    pipeline::{
        delivery::{Delivery, Receipt},
        parking::{Look, Lot, Oldest, Parking, Whose},
        source::{Connect as _, Demand, Source},
    },
};
use jiff::Timestamp;

conforms! {
    parked_events_come_back_in_their_order_with_the_first_attempt
    the_lots_of_two_projects_are_apart
    what_goes_back_comes_first_and_what_is_parked_again_comes_last
    a_parked_event_that_fails_enters_the_ladder_of_its_lane
    a_parked_event_may_become_a_dead_letter
    only_an_overdue_event_is_taken_as_one_and_others_stay_where_they_are
    an_event_has_been_parked_since_the_first_time_until_it_leaves_its_lot
    projects_that_are_not_provisioned_share_a_lot_and_are_not_listed
}

fn project(name: &str) -> ProjectId {
    ProjectId::try_new(name.to_owned()).unwrap()
}

fn parked(name: &str) -> Verdict {
    Verdict::Parked(Parked { project: project(name), reason: ParkReason::Paused, cause: None })
}

/// Publishes these, and parks them in their order.
async fn park<S: Source>(rig: &impl Rig, source: &mut S, samples: &[Sample]) {
    rig.publish(samples).await;
    for _ in samples {
        let Delivery { message, token } = next(source).await;
        let project = Event::parse(message.body.clone(), usize::MAX).unwrap().project;
        let verdict = parked(project.as_str());
        assert_eq!(token.settle(verdict.clone(), message.body).await, verdict);
    }
    quiet(source).await;
}

/// Opens a lot once the list has it.
async fn lot<P: Parking>(parking: &P, name: &str) -> P::Lot {
    until("the list of lots has the project", SOON, async || {
        parking.lots().await.unwrap().contains(&project(name)).then_some(())
    })
    .await;
    assert!(parking.has_lot(&project(name)));
    parking.open(Whose::Project(&project(name))).await.unwrap()
}

/// The next event of a lot, once it has one.
async fn take<L: Lot>(lot: &mut L) -> Oldest<L::Receipt> {
    for _ in 0..500 {
        if let Some(taken) = lot.take().await.unwrap() {
            return taken;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the lot stays empty")
}

/// Settles a delivery that is the first attempt at `sample`.
async fn settle<R: Receipt>(delivery: Delivery<R>, sample: &Sample, verdict: Verdict) {
    let Delivery { message, token } = delivery;
    assert_eq!((message.attempt, &message.body), (Attempt::FIRST, &sample.body));
    assert_eq!(message.routing_key, sample.routing_key());
    assert_eq!(token.settle(verdict.clone(), message.body).await, verdict);
}

async fn empty<L: Lot>(lot: &mut L) {
    assert!(lot.take().await.unwrap().is_none());
    assert_eq!(lot.count().await.unwrap(), 0);
}

/// A source with these parked, and their lot.
async fn begin<'r, R: Rig>(rig: &'r R, samples: &[Sample]) -> (impl Source + use<'r, R>, impl Parking + use<'r, R>) {
    let mut source = open(&rig.connect()).await;
    source.set_demand(Demand::Full).await.unwrap();
    park(rig, &mut source, samples).await;
    (source, rig.parking())
}

async fn end(rig: impl Rig, source: impl Source, parking: impl Parking) {
    source.close().await;
    parking.close().await;
    rig.connect().close().await;
    rig.end().await;
}

async fn parked_events_come_back_in_their_order_with_the_first_attempt(rig: impl Rig) {
    let samples = generated("parked", &["gigs"], 12);
    let (mut source, parking) = begin(&rig, &samples).await;
    let mut lot = lot(&parking, "gigs").await;
    assert_eq!(lot.count().await.unwrap(), 12);
    for (sample, left) in samples.iter().zip((0..12).rev()) {
        let Oldest { delivery, left: lies, .. } = take(&mut lot).await;
        assert_eq!(lies, left);
        settle(delivery, sample, Verdict::Delivered).await;
    }
    empty(&mut lot).await;
    quiet(&mut source).await;
    drop(lot);
    end(rig, source, parking).await;
}

async fn the_lots_of_two_projects_are_apart(rig: impl Rig) {
    let samples = generated("apart", &["gigs", "dev"], 12);
    let (source, parking) = begin(&rig, &samples).await;
    for name in ["dev", "gigs"] {
        let mut lot = lot(&parking, name).await;
        for sample in samples.iter().filter(|sample| sample.project == name) {
            settle(take(&mut lot).await.delivery, sample, Verdict::Delivered).await;
        }
        empty(&mut lot).await;
    }
    end(rig, source, parking).await;
}

async fn what_goes_back_comes_first_and_what_is_parked_again_comes_last(rig: impl Rig) {
    let samples = generated("again", &["gigs"], 3);
    let (source, parking) = begin(&rig, &samples).await;
    let mut lot = lot(&parking, "gigs").await;
    settle(take(&mut lot).await.delivery, &samples[0], Verdict::Released(Released::Stopping)).await;
    until("it lies there again", SOON, async || (lot.count().await.unwrap() == 3).then_some(())).await;
    settle(take(&mut lot).await.delivery, &samples[0], parked("gigs")).await;
    for nth in [1, 2, 0] {
        settle(take(&mut lot).await.delivery, &samples[nth], Verdict::Delivered).await;
    }
    empty(&mut lot).await;
    drop(lot);
    end(rig, source, parking).await;
}

async fn a_parked_event_that_fails_enters_the_ladder_of_its_lane(rig: impl Rig) {
    let samples = generated("fails", &["gigs"], 1);
    let (mut source, parking) = begin(&rig, &samples).await;
    let mut lot = lot(&parking, "gigs").await;
    let failed = Verdict::Retry(Cause { status: Some(503), detail: "no".into() });
    settle(take(&mut lot).await.delivery, &samples[0], failed).await;
    let Delivery { message, token } = next(&mut source).await;
    assert_eq!((message.attempt.get(), &message.body), (2, &samples[0].body));
    let _ = token.settle(Verdict::Delivered, message.body).await;
    empty(&mut lot).await;
    drop(lot);
    end(rig, source, parking).await;
}

async fn a_parked_event_may_become_a_dead_letter(rig: impl Rig) {
    let samples = generated("dead", &["gigs"], 1);
    let (source, parking) = begin(&rig, &samples).await;
    let mut lot = lot(&parking, "gigs").await;
    let cause = Cause { status: Some(422), detail: "no".into() };
    let dead = Dead { reason: DeadReason::Refused, cause, project: None, event_id: None };
    settle(take(&mut lot).await.delivery, &samples[0], Verdict::Dead(dead)).await;
    assert_eq!(rig.take_dead().await, [(samples[0].body.to_vec(), "refused".to_owned())]);
    empty(&mut lot).await;
    drop(lot);
    end(rig, source, parking).await;
}

async fn only_an_overdue_event_is_taken_as_one_and_others_stay_where_they_are(rig: impl Rig) {
    let samples = generated("overdue", &["gigs"], 2);
    let before = Timestamp::now();
    let (source, parking) = begin(&rig, &samples).await;
    let mut lot = lot(&parking, "gigs").await;
    let since = until("the first is looked at", SOON, async || match lot.take_overdue(before).await.unwrap() {
        Look::Stays(since) => Some(since),
        Look::Empty => None,
        Look::Overdue(_) => panic!("it was parked later"),
    })
    .await;
    assert!(since > Some(before), "{since:?}");
    until("it is back", SOON, async || (lot.count().await.unwrap() == 2).then_some(())).await;
    for (sample, left) in samples.iter().zip([1, 0]) {
        let Look::Overdue(oldest) = lot.take_overdue(Timestamp::now()).await.unwrap() else { panic!("it is overdue") };
        assert_eq!(oldest.left, left);
        settle(oldest.delivery, sample, Verdict::Delivered).await;
    }
    assert!(matches!(lot.take_overdue(Timestamp::now()).await.unwrap(), Look::Empty));
    empty(&mut lot).await;
    drop(lot);
    end(rig, source, parking).await;
}

async fn an_event_has_been_parked_since_the_first_time_until_it_leaves_its_lot(rig: impl Rig) {
    let samples = generated("since", &["gigs"], 1);
    let (mut source, parking) = begin(&rig, &samples).await;
    let mut lot = lot(&parking, "gigs").await;
    let Oldest { delivery, since, .. } = take(&mut lot).await;
    settle(delivery, &samples[0], parked("gigs")).await;
    let again = take(&mut lot).await;
    assert_eq!(again.since, since);
    assert!(since.is_some());
    settle(again.delivery, &samples[0], Verdict::Retry(Cause { status: Some(503), detail: "no".into() })).await;
    let Delivery { message, token } = next(&mut source).await;
    let _ = token.settle(parked("gigs"), message.body).await;
    let later = take(&mut lot).await;
    assert!(later.since > since, "{:?} after {since:?}", later.since);
    settle(later.delivery, &samples[0], Verdict::Delivered).await;
    drop(lot);
    end(rig, source, parking).await;
}

async fn projects_that_are_not_provisioned_share_a_lot_and_are_not_listed(rig: impl Rig) {
    let samples = generated("new", &["new1", "new2"], 4);
    let mut source = open(&rig.connect()).await;
    source.set_demand(Demand::Full).await.unwrap();
    rig.publish(&samples).await;
    for _ in &samples {
        let Delivery { message, token } = next(&mut source).await;
        let project = Event::parse(message.body.clone(), usize::MAX).unwrap().project;
        let verdict = Verdict::Parked(Parked { project, reason: ParkReason::Provisioning, cause: None });
        assert_eq!(token.settle(verdict.clone(), message.body).await, verdict);
    }
    let parking = rig.parking();
    let mut lot = parking.open(Whose::Others).await.unwrap();
    for sample in &samples {
        settle(take(&mut lot).await.delivery, sample, Verdict::Delivered).await;
    }
    empty(&mut lot).await;
    assert!(parking.lots().await.unwrap().is_empty());
    assert!(!parking.has_lot(&project("new1")) && !parking.has_lot(&project("new2")));
    drop(lot);
    end(rig, source, parking).await;
}
