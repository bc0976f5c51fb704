//! Refusals in a row, of one application and of several: who is given up, and who waits.

use super::*;

fn refused() -> Outcome {
    dead(DeadReason::Refused, 422)
}

/// The verdicts on one event of each of these projects, one after another.
async fn verdicts(handler: &Arc<Handler<FakeSink>>, projects: &[&str]) -> Vec<String> {
    let mut verdicts = Vec::new();
    for project in projects {
        let message = message(&BODY.replace("\"gigs\"", &format!("\"{project}\"")), 0);
        verdicts.push(named(&handler.handle(&message, None, &mut Calls::default()).await.0));
    }
    verdicts
}

fn is_halted(handler: &Handler<FakeSink>) -> bool {
    handler.metrics.paused.with_label_values(&["refusing"]).get() == 1
}

#[tokio::test(start_paused = true)]
async fn refusals_among_acceptances_are_dead_letters() {
    // An odd number, so that the acceptances take turns.
    let script = (0..18).map(|_| refused()).chain([accepted()]).cycle().take(200);
    let handler = handler(FakeSink::answering(script));
    let projects: Vec<_> = ["gigs", "dev"].into_iter().cycle().take(200).collect();
    let verdicts = verdicts(&handler, &projects).await;
    assert_eq!(verdicts.iter().filter(|verdict| *verdict == "dead refused").count(), 190);
    assert_eq!(verdicts.iter().filter(|verdict| *verdict == "delivered").count(), 10);
    assert!(handler.halt.is_running());
}

#[tokio::test(start_paused = true)]
async fn one_applications_refusals_open_its_circuit_and_halt_nobody() {
    let handler = handler(FakeSink::answering([refused()]));
    let verdicts = verdicts(&handler, &["gigs"; 60]).await;
    assert!(verdicts[..19].iter().all(|verdict| verdict == "dead refused"), "{verdicts:?}");
    assert!(verdicts[19..].iter().all(|verdict| verdict == "released"), "{verdicts:?}");
    assert!(handler.halt.is_running());
}

#[tokio::test(start_paused = true)]
async fn twenty_in_a_row_of_several_halt_and_the_twentieth_waits_for_its_turn() {
    let handler = handler(FakeSink::answering([refused()]));
    let projects: Vec<_> = ["gigs", "dev"].into_iter().cycle().take(19).collect();
    assert!(verdicts(&handler, &projects).await.iter().all(|verdict| verdict == "dead refused"));
    assert!(handler.halt.is_running());
    let (halt, sink) = (Arc::clone(&handler.halt), Arc::clone(&handler.sink));
    let prober = tokio::spawn(async move { crate::pipeline::prober::keep(&halt, &*sink).await });
    // Of many applications: none of them refuses so often that its circuit opens.
    let waiting = (0..30).map(|nth| {
        let handler = Arc::clone(&handler);
        tokio::spawn(async move { verdicts(&handler, &[&format!("project{nth}")]).await.remove(0) })
    });
    let waiting: Vec<_> = waiting.collect();
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert!(is_halted(&handler), "probes go on, and their refusals end nothing");
    let ended = waiting.iter().filter(|each| each.is_finished()).count();
    assert!((2..=6).contains(&ended), "{ended} probes in 40 s");
    let calls = handler.sink.calls().len();
    assert!(calls <= 19 + 30 + ended, "{calls} calls");
    handler.sink.answer_from_now_on([accepted()]);
    let mut delivered = 0;
    for each in waiting {
        match each.await.unwrap().as_str() {
            "delivered" => delivered += 1,
            other => assert_eq!(other, "dead refused"),
        }
    }
    assert_eq!(delivered, 30 - ended, "each event that waited was tried again");
    assert!(handler.halt.is_running() && !is_halted(&handler));
    handler.sink.answer_from_now_on([refused()]);
    assert_eq!(verdicts(&handler, &["gigs", "dev"]).await, ["dead refused"; 2], "the count begins again");
    assert!(handler.halt.is_running());
    prober.abort();
}

#[tokio::test(start_paused = true)]
async fn the_first_event_after_a_halt_that_ended_by_its_probe_halts_again_if_it_is_refused() {
    let handler = handler(FakeSink::answering([refused()]));
    let (halt, sink) = (Arc::clone(&handler.halt), Arc::clone(&handler.sink));
    let prober = tokio::spawn(async move { crate::pipeline::prober::keep(&halt, &*sink).await });
    let projects: Vec<_> = ["gigs", "dev"].into_iter().cycle().take(20).collect();
    assert!(verdicts(&handler, &projects).await.iter().all(|verdict| verdict == "dead refused"));
    assert!(is_halted(&handler), "the twentieth was tried again, alone");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!is_halted(&handler), "nothing is there to try");
    assert_eq!(verdicts(&handler, &["gigs"]).await, ["dead refused"]);
    assert!(is_halted(&handler));
    prober.abort();
}
