//! Answers of Svix, one after another → the outcome of a delivery, with a script in Svix's place.

use super::*;
use crate::{
    event::{Cause, Dispatch, HaltReason, ParkReason, ProjectId},
    pipeline::sink::{Repeat, Stored},
    process::secret::{Secret, SecretSource},
    sinks::svix::{
        answer::{Create, Presence},
        route::AppId,
    },
};
use bytes::Bytes;
use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

const BODY: &str = r#"{"id":"evt_1","project":"gigs","type":"t","data":{}}"#;
/// Deliveries that are under way before the first answer.
const BURST: usize = 32;

/// Answers each call with the next of its script, and from its end on with the last.
struct Script {
    answers: Mutex<VecDeque<Answer>>,
    proofs: Mutex<VecDeque<Answer>>,
    /// What looks at applications are answered; missing, from the end of it on.
    looks: Mutex<VecDeque<Result<Presence, Answer>>>,
    lookups: AtomicUsize,
    calls: Mutex<Vec<Create>>,
    credentials: (SecretSource, Secret),
}

impl Script {
    fn answer_from_now_on(&self, answers: impl IntoIterator<Item = Answer>) {
        *self.answers.lock().unwrap() = answers.into_iter().collect();
    }

    fn creating(&self) -> usize {
        self.calls.lock().unwrap().iter().filter(|create| **create == Create::IfMissing).count()
    }
}

impl Messages for Script {
    async fn post(&self, _: &Event, _: &AppId, create: Create) -> Answer {
        self.calls.lock().unwrap().push(create);
        tokio::task::yield_now().await;
        let mut answers = self.answers.lock().unwrap();
        if answers.len() > 1 { answers.pop_front().unwrap() } else { answers.front().unwrap().clone() }
    }

    async fn prove(&self, _: &Event, _: &AppId, _: bool, goes_on: &(dyn Fn() -> bool + Send + Sync)) -> Option<Answer> {
        tokio::task::yield_now().await;
        let called = Answer::Repeated(Repeat { status: Some(409), message: None, dispatch: Dispatch::Called });
        goes_on().then(|| self.proofs.lock().unwrap().pop_front().unwrap_or(called))
    }

    async fn look_up(&self, _: &AppId) -> Result<Presence, Answer> {
        self.lookups.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.looks.lock().unwrap().pop_front().unwrap_or(Ok(Presence::Missing))
    }

    fn generation(&self) -> Generation {
        self.credentials.1.generation()
    }
}

fn svix(
    answers: impl IntoIterator<Item = Answer>,
    unknown: UnknownProject,
    limit: u32,
) -> (Arc<Deliveries<Script>>, Arc<Metrics>) {
    let client = Script {
        answers: Mutex::new(answers.into_iter().collect()),
        proofs: Mutex::default(),
        looks: Mutex::default(),
        lookups: AtomicUsize::new(0),
        calls: Mutex::default(),
        credentials: Secret::changing("one"),
    };
    let routes = Routes::new([(ProjectId::try_new("mapped").unwrap(), AppId::try_new("elsewhere").unwrap())]);
    let metrics = Arc::new(Metrics::new().unwrap());
    let provisioner = Provisioner::new(unknown, limit, Arc::clone(&metrics));
    (Arc::new(Deliveries { client, routes, provisioner }), metrics)
}

async fn deliver(svix: &Deliveries<Script>, body: &str, goes_on: &(dyn Fn() -> bool + Send + Sync)) -> Option<Outcome> {
    let event = Event::parse(Bytes::copy_from_slice(body.as_bytes()), 10_000).unwrap();
    let to = svix.routes.destination(&event.project);
    svix.deliver(&event, &to, Terms { goes_on, last: false }).await
}

async fn outcome(svix: &Deliveries<Script>) -> String {
    named(&deliver(svix, BODY, &|| true).await.unwrap())
}

fn named(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Accepted(_) => "accepted".to_owned(),
        Outcome::Repeated(_) => "repeated".to_owned(),
        Outcome::Pending(_) => "pending".to_owned(),
        Outcome::Dead { reason, .. } => format!("dead {}", reason.as_str()),
        Outcome::Failed { .. } => "failed".to_owned(),
        Outcome::NotNow { reason, .. } => format!("not now, {}", reason.as_str()),
        Outcome::Halt { reason, .. } => format!("halt {reason}"),
    }
}

fn cause(status: u16) -> Cause {
    Cause { status: Some(status), detail: format!("answered {status}") }
}

fn accepted() -> Answer {
    Answer::Accepted(Stored { status: Some(202), message: Some("msg_1".into()) })
}

fn failed() -> Answer {
    Answer::Failed { cause: cause(500), wait: None }
}

fn missing() -> Answer {
    Answer::NotFound(cause(404))
}

#[tokio::test]
async fn each_row_of_answers_leads_to_its_outcome() {
    use UnknownProject::{DeadLetter, Provision};
    let mapped = BODY.replace("\"gigs\"", "\"mapped\"");
    let round = || [missing(), Answer::Conflict];
    let endless = [round(), round(), round()].concat().into_iter().chain([missing()]).collect();
    let throttled = Answer::Throttled { wait: Duration::from_secs(1), cause: cause(429) };
    let unusable = Answer::Unusable { reason: HaltReason::Auth, cause: cause(401) };
    for (body, unknown, answers, expected, calls) in [
        (BODY, Provision, vec![accepted()], "accepted", 1),
        (BODY, Provision, vec![Answer::Conflict], "repeated", 1),
        (BODY, Provision, vec![Answer::Refused(cause(422))], "dead refused", 1),
        (BODY, Provision, vec![Answer::TooLarge(cause(413))], "dead too_large", 1),
        (BODY, Provision, vec![failed()], "failed", 1),
        (BODY, Provision, vec![throttled], "halt rate_limited", 1),
        (BODY, Provision, vec![unusable], "halt auth", 1),
        (BODY, Provision, vec![missing(), accepted()], "accepted", 2),
        (BODY, DeadLetter, vec![missing()], "dead unroutable", 1),
        (&mapped, Provision, vec![missing()], "dead unroutable", 1),
        // A conflict of a creating call proves nothing: it is asked again without creating.
        (BODY, Provision, vec![missing(), Answer::Conflict, accepted()], "accepted", 3),
        (BODY, Provision, vec![missing(), Answer::Conflict, Answer::Conflict], "repeated", 3),
        // Whatever creates and deletes in turns: the event climbs its rung in the end.
        (BODY, Provision, endless, "failed", 7),
    ] {
        let (svix, _) = svix(answers.clone(), unknown, 10);
        let outcome = deliver(&svix, body, &|| true).await.unwrap();
        assert_eq!(named(&outcome), expected, "{answers:?}");
        assert_eq!(svix.client.calls.lock().unwrap().len(), calls, "{answers:?}");
    }
}

#[tokio::test]
async fn a_conflict_is_what_it_is_proved_to_be() {
    for (proof, expected) in [
        (Answer::Mismatch(cause(409)), "dead conflict"),
        (Answer::Undispatched(cause(409)), "pending"),
        (failed(), "failed"),
    ] {
        let (svix, _) = svix([Answer::Conflict], UnknownProject::Provision, 10);
        svix.client.proofs.lock().unwrap().push_back(proof.clone());
        assert_eq!(outcome(&svix).await, expected, "{proof:?}");
    }
    let (svix, _) = svix([Answer::Conflict], UnknownProject::Provision, 10);
    assert_eq!(deliver(&svix, BODY, &|| false).await, None, "nothing is asked once it is not to go on");
}

#[tokio::test]
async fn an_application_known_under_other_credentials_is_not_created_under_new_ones() {
    for (body, unknown) in [
        (BODY.to_owned(), UnknownProject::Provision),
        (BODY.replace("\"gigs\"", "\"mapped\""), UnknownProject::DeadLetter),
    ] {
        let (svix, _) = svix([accepted()], unknown, 10);
        assert_eq!(named(&deliver(&svix, &body, &|| true).await.unwrap()), "accepted");
        svix.client.answer_from_now_on([missing()]);
        svix.client.credentials.0.set("two");
        let outcome = deliver(&svix, &body, &|| true).await.unwrap();
        assert_eq!(named(&outcome), "halt provisioning", "another organisation's token looks like that");
        assert_eq!(svix.client.creating(), 0);
    }
}

#[tokio::test]
async fn an_application_deleted_under_the_same_credentials_is_created_again() {
    // Missing twice: the first answer may be older than the acceptance.
    let (svix, metrics) = svix([accepted(), missing(), missing(), accepted()], UnknownProject::Provision, 10);
    assert_eq!(outcome(&svix).await, "accepted");
    assert_eq!(outcome(&svix).await, "accepted");
    assert_eq!(metrics.apps_provisioned.get(), 1);
}

#[tokio::test]
async fn an_answer_from_before_the_creation_that_is_heard_after_it_creates_nothing_again() {
    let (svix, metrics) = svix([missing(), accepted(), missing(), accepted()], UnknownProject::Provision, 10);
    for _ in 0..2 {
        assert_eq!(outcome(&svix).await, "accepted");
    }
    let calls = svix.client.calls.lock().unwrap().clone();
    assert_eq!(calls, [Create::Never, Create::IfMissing, Create::Never, Create::Never]);
    assert_eq!(metrics.apps_provisioned.get(), 1);
}

#[tokio::test]
async fn a_burst_for_an_application_that_was_deleted_creates_it_once() {
    let script = [accepted()].into_iter().chain((0..2 * BURST).map(|_| missing())).chain([accepted()]);
    let (svix, _) = svix(script, UnknownProject::Provision, 10);
    assert_eq!(outcome(&svix).await, "accepted");
    let burst = (0..BURST).map(|_| {
        let svix = Arc::clone(&svix);
        tokio::spawn(async move { outcome(&svix).await })
    });
    for each in burst.collect::<Vec<_>>() {
        assert_eq!(each.await.unwrap(), "accepted");
    }
    assert_eq!(svix.client.creating(), 1);
}

#[tokio::test]
async fn a_burst_for_a_new_project_that_is_throttled_makes_no_further_call() {
    let throttled = Answer::Throttled { wait: Duration::from_secs(2), cause: cause(429) };
    let script = (0..BURST).map(|_| missing()).chain([throttled, accepted()]);
    let (svix, _) = svix(script, UnknownProject::Provision, 10);
    // Falls with the first outcome that is about Svix as a whole, as it does in the pipeline.
    let open = Arc::new(AtomicBool::new(true));
    let burst = (0..BURST).map(|_| {
        let (svix, open) = (Arc::clone(&svix), Arc::clone(&open));
        tokio::spawn(async move {
            let outcome = deliver(&svix, BODY, &|| open.load(Ordering::SeqCst)).await;
            if matches!(outcome, Some(Outcome::Halt { .. })) {
                open.store(false, Ordering::SeqCst);
            }
            outcome.map(|outcome| named(&outcome))
        })
    });
    let mut outcomes = Vec::new();
    for each in burst.collect::<Vec<_>>() {
        outcomes.extend(each.await.unwrap());
    }
    assert_eq!(outcomes, ["halt rate_limited"], "nothing is known of the others");
    assert_eq!(svix.client.calls.lock().unwrap().len(), BURST + 1, "all found nothing, one tried to create");
}

#[tokio::test]
async fn a_failing_creation_does_not_use_up_the_limit_and_a_reached_one_parks() {
    let (svix, _) = svix([missing(), failed()], UnknownProject::Provision, 1);
    for _ in 0..3 {
        svix.client.answer_from_now_on([missing(), failed()]);
        assert_eq!(outcome(&svix).await, "failed");
    }
    svix.client.answer_from_now_on([missing(), accepted()]);
    assert_eq!(outcome(&svix).await, "accepted");
    svix.client.answer_from_now_on([missing()]);
    let other = BODY.replace("\"gigs\"", "\"dev\"");
    let outcome = deliver(&svix, &other, &|| true).await.unwrap();
    assert!(matches!(&outcome, Outcome::NotNow { reason: ParkReason::Provisioning, .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_404_is_judged_by_asking_for_the_application() {
    use Presence::There;
    use UnknownProject::{DeadLetter, Provision};
    let mapped = BODY.replace("\"gigs\"", "\"mapped\"");
    let halted = || Answer::Unusable { reason: HaltReason::NotSvix, cause: cause(404) };
    for body in [BODY, &mapped] {
        for unknown in [Provision, DeadLetter] {
            for (look, answers, expected, calls) in [
                // Created by somebody else meanwhile.
                (Ok(There), vec![missing(), accepted()], "accepted", 2),
                (Ok(There), vec![missing(), Answer::Conflict], "repeated", 2),
                (Ok(There), vec![missing()], "halt not_svix", 2),
                (Err(halted()), vec![missing()], "halt not_svix", 1),
                (Err(failed()), vec![missing()], "failed", 1),
            ] {
                let (svix, _) = svix(answers.clone(), unknown, 10);
                svix.client.looks.lock().unwrap().push_back(look.clone());
                let outcome = deliver(&svix, body, &|| true).await.unwrap();
                assert_eq!(named(&outcome), expected, "{look:?} {answers:?}");
                assert_eq!(svix.client.calls.lock().unwrap().len(), calls, "{look:?} {answers:?}");
                assert_eq!((svix.client.lookups.load(Ordering::SeqCst), svix.client.creating()), (1, 0));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_for_a_missing_application_asks_once_and_later_events_ask_again() {
    let (svix, _) = svix([missing()], UnknownProject::DeadLetter, 10);
    let burst = async || {
        let burst = (0..BURST).map(|_| {
            let svix = Arc::clone(&svix);
            tokio::spawn(async move { outcome(&svix).await })
        });
        for each in burst.collect::<Vec<_>>() {
            assert_eq!(each.await.unwrap(), "dead unroutable");
        }
        svix.client.lookups.load(Ordering::SeqCst)
    };
    assert_eq!((burst().await, burst().await), (1, 1));
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(burst().await, 2);
    svix.client.credentials.0.set("two");
    assert_eq!(burst().await, 3, "other credentials may reach another organisation");
}

#[tokio::test]
async fn those_who_wait_for_a_look_that_fails_share_its_answer_and_the_next_one_asks_again() {
    let (svix, _) = svix([missing()], UnknownProject::DeadLetter, 10);
    svix.client.looks.lock().unwrap().push_back(Err(failed()));
    let burst = (0..BURST).map(|_| {
        let svix = Arc::clone(&svix);
        tokio::spawn(async move { outcome(&svix).await })
    });
    for each in burst.collect::<Vec<_>>() {
        assert_eq!(each.await.unwrap(), "failed");
    }
    assert_eq!(svix.client.lookups.load(Ordering::SeqCst), 1);
    assert_eq!(outcome(&svix).await, "dead unroutable");
}

#[tokio::test]
async fn nothing_is_asked_once_it_is_not_to_go_on() {
    let (svix, _) = svix([missing()], UnknownProject::Provision, 10);
    assert_eq!(deliver(&svix, BODY, &|| false).await, None);
    assert_eq!(svix.client.lookups.load(Ordering::SeqCst), 0);
}
