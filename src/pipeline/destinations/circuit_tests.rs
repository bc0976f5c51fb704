//! The circuit, step by step and over random histories.

use super::*;
use proptest::prelude::*;

fn after(begin: Instant, seconds: f64) -> Instant {
    begin + Duration::from_secs_f64(seconds)
}

/// Fails so many events, one after another; answers whether the circuit is open then.
fn fail(circuit: &mut Circuit, events: u32, now: Instant) -> bool {
    (0..events).map(|_| circuit.admit(now).map(|leave| circuit.failed(leave, now, None, Fault::Unclear))).last()
        == Some(Ok(true))
}

#[test]
fn failures_in_a_row_open_it_and_one_acceptance_among_them_does_not() {
    let now = Instant::now();
    let mut circuit = Circuit::default();
    assert!(!fail(&mut circuit, FAILURES_TO_TRIP - 1, now));
    let leave = circuit.admit(now).unwrap();
    assert!(!circuit.accepted(leave, now));
    assert!(!fail(&mut circuit, FAILURES_TO_TRIP - 1, now));
    assert!(fail(&mut circuit, 1, now));
    assert_eq!(circuit.admit(now), Err(Refusal::Open));
}

#[test]
fn an_open_circuit_lets_one_probe_go_at_growing_intervals() {
    let begin = Instant::now();
    let mut circuit = Circuit::default();
    fail(&mut circuit, FAILURES_TO_TRIP, begin);
    let mut now = begin;
    for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
        let due = now + Duration::from_secs(wait);
        assert_eq!(circuit.chance(due - Duration::from_millis(1)), Chance::At(due));
        assert_eq!(circuit.admit(due - Duration::from_millis(1)), Err(Refusal::Open));
        now = due;
        assert_eq!(circuit.admit(now), Ok(Leave::Probe));
        assert_eq!((circuit.admit(now), circuit.chance(now)), (Err(Refusal::Open), Chance::AfterAChange));
        assert!(circuit.failed(Leave::Probe, now, None, Fault::Unclear));
    }
}

#[test]
fn a_probe_that_breaks_off_frees_its_place_at_once() {
    let begin = Instant::now();
    let mut circuit = Circuit::default();
    fail(&mut circuit, FAILURES_TO_TRIP, begin);
    let due = after(begin, 1.0);
    let leave = circuit.admit(due).unwrap();
    circuit.abandoned(leave);
    assert_eq!((circuit.chance(due), circuit.admit(due)), (Chance::Now, Ok(Leave::Probe)));
}

#[test]
fn it_closes_with_a_slow_start() {
    let begin = Instant::now();
    let mut circuit = Circuit::default();
    fail(&mut circuit, FAILURES_TO_TRIP, begin);
    let now = after(begin, 1.0);
    let probe = circuit.admit(now).unwrap();
    assert!(circuit.accepted(probe, now));
    for allowed in 1..RAMPED_UP {
        let leaves: Vec<_> = std::iter::from_fn(|| circuit.admit(now).ok()).take(RAMPED_UP as usize).collect();
        assert_eq!(leaves.len(), allowed as usize);
        assert_eq!(circuit.chance(now), Chance::AfterAChange);
        let (first, others) = leaves.split_first().unwrap();
        circuit.accepted(*first, now);
        others.iter().for_each(|leave| circuit.abandoned(*leave));
    }
    assert!(circuit.is_idle(), "{circuit:?}");
}

#[test]
fn in_a_slow_start_it_opens_again_for_longer_and_for_less_with_each_acceptance() {
    for (accepted, expected) in [(0, 16), (1, 8), (2, 4), (3, 2), (4, 2), (30, 2)] {
        let mut now = Instant::now();
        let mut circuit = Circuit::default();
        fail(&mut circuit, FAILURES_TO_TRIP, now);
        for wait in [1, 2, 4] {
            now += Duration::from_secs(wait);
            assert!(fail(&mut circuit, 1, now));
        }
        now += Duration::from_secs(8);
        let probe = circuit.admit(now).unwrap();
        assert!(circuit.accepted(probe, now));
        for _ in 0..accepted {
            let leave = circuit.admit(now).unwrap();
            circuit.accepted(leave, now);
        }
        assert!(!fail(&mut circuit, FAILURES_TO_TRIP - 1, now));
        assert!(fail(&mut circuit, 1, now));
        assert_eq!(circuit.chance(now), Chance::At(now + Duration::from_secs(expected)), "after {accepted} more");
    }
}

#[test]
fn what_is_an_event_s_own_fault_opens_nothing() {
    let begin = Instant::now();
    let mut circuit = Circuit::default();
    let own = |circuit: &mut Circuit, now| {
        let leave = circuit.admit(now).unwrap();
        circuit.failed(leave, now, None, Fault::Event)
    };
    assert!((0..1_000).all(|_| !own(&mut circuit, begin)));
    assert!(fail(&mut circuit, FAILURES_TO_TRIP, begin));
    assert!(own(&mut circuit, after(begin, 1.0)), "a probe of no use, and perhaps of a true outage");
    assert_eq!(circuit.chance(after(begin, 1.0)), Chance::At(after(begin, 3.0)));
    let now = after(begin, 3.0);
    let probe = circuit.admit(now).unwrap();
    circuit.accepted(probe, now);
    assert!((0..1_000).all(|_| !own(&mut circuit, now)));
    assert!(circuit.admit(now).is_ok());
}

#[test]
fn those_on_their_way_when_it_opens_change_nothing() {
    let now = Instant::now();
    let mut circuit = Circuit::default();
    let leaves: Vec<_> = (0..40).map(|_| circuit.admit(now).unwrap()).collect();
    let open = leaves.iter().map(|leave| circuit.failed(*leave, now, None, Fault::Unclear)).collect::<Vec<_>>();
    assert_eq!(open.iter().filter(|open| !**open).count(), FAILURES_TO_TRIP as usize - 1);
    assert_eq!(circuit.chance(now), Chance::At(after(now, 1.0)));
}

#[test]
fn a_destination_that_names_a_time_is_left_alone_until_then() {
    let now = Instant::now();
    let mut circuit = Circuit::default();
    let leave = circuit.admit(now).unwrap();
    assert!(circuit.failed(leave, now, Some(after(now, 30.0)), Fault::Unclear));
    assert_eq!(circuit.chance(now), Chance::At(after(now, 30.0)));
}

#[test]
fn a_destination_that_answers_nothing_gets_no_more_until_it_does() {
    let begin = Instant::now();
    let mut circuit = Circuit::default();
    let leaves: Vec<_> = (0..STALLED_FROM + 3).map(|_| circuit.admit(begin).unwrap()).collect();
    let late = after(begin, 1.1);
    assert_eq!((circuit.admit(late), circuit.chance(late)), (Err(Refusal::Stalled), Chance::AfterAChange));
    circuit.accepted(leaves[0], late);
    assert!(circuit.admit(late).is_ok());
    let later = after(begin, 2.2);
    assert_eq!(circuit.admit(later), Err(Refusal::Stalled));
    leaves[1..5].iter().for_each(|leave| circuit.abandoned(*leave));
    assert!(circuit.in_flight < STALLED_FROM);
    assert!(circuit.admit(later).is_ok(), "a few may take as long as they like");
}

#[test]
fn refusals_in_a_row_open_it_and_probes_go_on_one_at_a_time() {
    let mut now = Instant::now();
    let mut circuit = Circuit::default();
    for nth in 1..=REFUSALS_TO_TRIP {
        let leave = circuit.admit(now).unwrap();
        assert_eq!(circuit.refused(leave, now), nth == REFUSALS_TO_TRIP, "refusal {nth}");
    }
    for wait in [1, 2, 4] {
        assert_eq!(circuit.admit(now), Err(Refusal::Open));
        now += Duration::from_secs(wait);
        let probe = circuit.admit(now).unwrap();
        assert!(!circuit.refused(probe, now), "a probe's refusal is its own");
        assert!(circuit.is_open());
    }
    now += Duration::from_secs(8);
    let probe = circuit.admit(now).unwrap();
    assert!(circuit.accepted(probe, now));
    let leave = circuit.admit(now).unwrap();
    assert!(!circuit.refused(leave, now), "single refusals among acceptances are about their events");
}

#[test]
fn a_destination_that_failed_and_refuses_works_again() {
    let begin = Instant::now();
    let mut circuit = Circuit::default();
    fail(&mut circuit, FAILURES_TO_TRIP, begin);
    let due = after(begin, 1.0);
    let probe = circuit.admit(due).unwrap();
    assert!(!circuit.refused(probe, due));
    assert!(!circuit.is_open());
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Admit,
    Accept,
    Answer,
    Refuse,
    Fail,
    Abandon,
    Wait(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Admit),
        2 => Just(Event::Accept),
        1 => Just(Event::Answer),
        2 => Just(Event::Refuse),
        4 => Just(Event::Fail),
        1 => Just(Event::Abandon),
        1 => (1..70_000_u64).prop_map(Event::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    /// Whatever happens, one probe at most is on its way, nobody is counted twice, and once all have come home and time has
    /// passed the next event may go: no history closes a destination for ever.
    #[test]
    fn no_history_shuts_a_destination_out_for_ever(history in proptest::collection::vec(event(), 0..300)) {
        let mut now = Instant::now();
        let mut circuit = Circuit::default();
        let mut out: Vec<Leave> = Vec::new();
        for event in history {
            match event {
                Event::Admit => out.extend(circuit.admit(now).ok()),
                Event::Wait(millis) => now += Duration::from_millis(millis),
                _ => {
                    let Some(leave) = out.pop() else { continue };
                    match event {
                        Event::Accept => drop(circuit.accepted(leave, now)),
                        Event::Answer => drop(circuit.answered(leave, now)),
                        Event::Refuse => drop(circuit.refused(leave, now)),
                        Event::Fail => drop(circuit.failed(leave, now, None, Fault::Unclear)),
                        _ => circuit.abandoned(leave),
                    }
                }
            }
            prop_assert_eq!(circuit.in_flight as usize, out.len());
            prop_assert!(out.iter().filter(|leave| **leave == Leave::Probe).count() <= 1);
            let sure = circuit.chance(now) == Chance::Now;
            let admitted = circuit.admit(now);
            prop_assert_eq!(sure, admitted.is_ok());
            if let Ok(leave) = admitted {
                circuit.abandoned(leave);
            }
        }
        out.into_iter().for_each(|leave| circuit.abandoned(leave));
        now += PROBE_EVERY.1;
        prop_assert!(circuit.admit(now).is_ok());
    }
}
