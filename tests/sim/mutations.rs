//! Proof that the judges can condemn: each of these breaks one thing, and is found.

use crate::{
    broker::Defect,
    judge::Kind,
    run::run,
    world::{Mutation, SinkDefect},
};

/// The first seed that finds it, and how.
fn found_within(seeds: u64, mutation: Mutation) -> Option<(u64, Kind)> {
    (1..=seeds).find_map(|seed| run(seed, mutation).err().map(|failure| (seed, failure.fault.kind)))
}

macro_rules! found {
    ($($name:ident: $field:ident = $defect:expr, within $seeds:literal, as $($kind:ident)|+;)*) => {
        $(#[test]
        fn $name() {
            let mutation = Mutation { $field: Some($defect), ..Mutation::default() };
            let found = found_within($seeds, mutation);
            println!("{found:?}");
            assert!(matches!(found, Some((_, $(Kind::$kind)|+))), "{found:?}");
        })*
    };
}

found! {
    a_broker_that_sends_more_than_was_asked_for: of_broker = Defect::IgnoresPrefetch, within 20, as OverPrefetch;
    returns_that_are_acknowledged: of_broker = Defect::AcksReturns, within 20, as Lost;
    an_original_acknowledged_before_its_copy: of_broker = Defect::AcksBeforeTheCopy, within 20, as NoProof;
    a_failed_attempt_that_is_given_up_at_once: of_broker = Defect::GivesUpAtOnce, within 20, as WrongReason;
    parking_that_spends_attempts: of_broker = Defect::ParkingSpendsAttempts, within 20, as WrongReason;
    nothing_is_ever_parked: of_broker = Defect::NeverParks, within 20, as NotTried;
    lots_that_nobody_finds_again: of_broker = Defect::ForgetsLots, within 20, as NotEnded;
    lots_that_acknowledge_what_they_give: of_broker = Defect::LotsAckAtOnce, within 20, as NoProof;
    failures_that_halt_everything: of_sink = SinkDefect::FailuresHalt, within 20, as NotTried;
    any_answer_that_counts_as_proof: of_sink = SinkDefect::AnyAnswerIsProof, within 20, as NoProof;
    one_circuit_for_all_destinations: of_sink = SinkDefect::OneForAll, within 20, as NotTried | SpentAttempts | WrongReason;
    failures_that_count_as_refusals: of_sink = SinkDefect::FailuresAreRefusals, within 20, as WrongReason;
}
