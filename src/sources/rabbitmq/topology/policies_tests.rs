//! Conflicts of recorded policies, and answers of the management API that are refused.

use super::*;
use crate::{event::RetryLadder, process::secret::Secret};
use serde_json::json;
use std::collections::BTreeMap;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

fn settings(management: &str) -> Settings {
    Settings {
        access: Secret::fixed("amqp://anna:s%2Fcret@localhost/v%2f1").into(),
        management_url: Secret::fixed(management),
        exchange: "x".into(),
        queue: "q".into(),
        bindings: vec!["#".into()],
        prefetch: 8,
        delivery_limit: 100,
        memory_budget: 128 << 20,
        ladder: RetryLadder::try_new(vec![Duration::from_secs(5)]).unwrap(),
        lanes: Vec::new(),
        watchdog: Duration::from_secs(60),
    }
}

#[test]
fn what_breaks_a_guarantee_depends_on_the_queues_own_arguments() {
    let topology = Topology::new(&settings(""));
    let check = |queue: &str, definition: Value, expected: &[&str]| {
        let queue = topology.queues.iter().find(|one| one.name == queue).unwrap();
        let keys: Vec<_> = breaks(queue, definition.as_object().unwrap()).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, expected, "{}: {definition}", queue.name);
    };
    for queue in ["q", "q.dead", "q.parked", "q.delay.1", "q.retry.1"] {
        check(
            queue,
            json!({"max-length": 100, "max-length-bytes": 1, "expires": 1}),
            &["expires", "max-length", "max-length-bytes"],
        );
        check(queue, json!({"overflow": "drop-head"}), &["overflow"]);
        check(queue, json!({"overflow": "reject-publish", "queue-leader-locator": "balanced"}), &[]);
        check(queue, json!({"dead-letter-routing-key": "k"}), &["dead-letter-routing-key"]);
    }
    // Of times and limits the smaller one applies.
    check("q.delay.1", json!({"message-ttl": 4_999}), &["message-ttl"]);
    check("q.delay.1", json!({"message-ttl": 5_000}), &[]);
    check("q.dead", json!({"message-ttl": 86_400_000}), &["message-ttl"]);
    check("q", json!({"delivery-limit": 5}), &["delivery-limit"]);
    check("q", json!({"delivery-limit": 100}), &[]);
    check("q.dead", json!({"delivery-limit": 100}), &["delivery-limit"]);
    check("q.delay.1", json!({"delivery-limit": 5}), &[]);
    check("q.retry.1", json!({"dead-letter-exchange": "q.dead", "dead-letter-strategy": "at-least-once"}), &[]);
    check("q", json!({"dead-letter-exchange": "other"}), &["dead-letter-exchange"]);
    check("q", json!({"dead-letter-strategy": "at-most-once"}), &["dead-letter-strategy"]);
    check("q.dead", json!({"dead-letter-exchange": "other"}), &["dead-letter-exchange"]);
}

#[test]
fn a_conflict_names_policy_queue_and_the_command_that_helps() {
    let conflict = Conflict {
        queue: "q.dead".into(),
        key: "max-length".into(),
        value: json!(100),
        policies: vec![Policy::Plain("it's".into())],
        vhost: "/".into(),
    };
    assert_eq!(
        conflict.to_string(),
        "policy `it's` sets max-length = 100 on queue `q.dead`: once the queue is full, it refuses new events; \
         `rabbitmqctl clear_policy -p '/' 'it'\\''s'`, or give it a pattern that leaves this queue out"
    );
}

/// Answers of a RabbitMQ 3.10.8 by path, as recorded; any other is its 404. Answers what was asked, with the log-in.
async fn recorded(answers: &[(&str, &str)]) -> (String, Arc<std::sync::Mutex<Vec<String>>>) {
    let answers: BTreeMap<String, String> =
        answers.iter().map(|(path, body)| ((*path).to_owned(), (*body).to_owned())).collect();
    // No provider is installed by the library; once per process is enough, so a second try may fail.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::<std::sync::Mutex<Vec<String>>>::default();
    let requests = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).await.unwrap() == 1 {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            let path = head.split(' ').nth(1).unwrap().to_owned();
            let missing = r#"{"error":"Object Not Found","reason":"Not Found"}"#.to_owned();
            let (status, body) = match answers.get(&path) {
                Some(body) if body.starts_with('4') => (body.as_str(), String::new()),
                Some(body) => ("200 OK", body.clone()),
                None => ("404 Not Found", missing),
            };
            requests.lock().unwrap().push(head);
            let length = body.len();
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, asked)
}

const COLUMNS: &str = "?columns=policy,operator_policy,effective_policy_definition";

#[tokio::test]
async fn recorded_answers_are_attributed_to_policy_or_operator_policy() {
    let dead = format!("/api/queues/v%2F1/q.dead{COLUMNS}");
    let parked = format!("/api/queues/v%2F1/q.parked{COLUMNS}");
    let said = r#"{"effective_policy_definition":{"delivery-limit":5,"max-length":50,"message-ttl":60000,"overflow":"drop-head"},"operator_policy":"opcap","policy":"cap"}"#;
    let nothing = r#"{"effective_policy_definition":{},"operator_policy":null,"policy":null}"#;
    let cap = r#"{"vhost":"/","name":"cap","pattern":"^q","apply-to":"queues","definition":{"delivery-limit":5,"max-length":100,"overflow":"drop-head"},"priority":0}"#;
    let opcap = r#"{"vhost":"/","name":"opcap","pattern":"^q","apply-to":"queues","definition":{"max-length":50,"message-ttl":60000},"priority":0}"#;
    let answers = [
        (dead.as_str(), said),
        (parked.as_str(), nothing),
        ("/api/policies/v%2F1/cap", cap),
        ("/api/operator-policies/v%2F1/opcap", opcap),
    ];
    let (url, asked) = recorded(&answers).await;
    let settings = settings(&url);
    let report = policies(&settings, &Topology::new(&settings)).await.unwrap().unwrap();
    let conflicts: Vec<_> = report
        .conflicts
        .iter()
        .map(|one| {
            (
                one.queue.as_str(),
                one.key.as_str(),
                one.policies.iter().map(ToString::to_string).collect::<Vec<_>>().join("+"),
            )
        })
        .collect();
    let (plain, operator) = ("policy `cap`".to_owned(), "operator policy `opcap`".to_owned());
    assert_eq!(
        conflicts,
        [
            ("q.dead", "delivery-limit", plain.clone()),
            ("q.dead", "max-length", operator.clone()),
            ("q.dead", "message-ttl", operator),
            ("q.dead", "overflow", plain),
        ]
    );
    assert_eq!(report.missing, 3, "q, q.delay.1 and q.retry.1");
    // printf %s 'anna:s/cret' | base64
    let requests = asked.lock().unwrap();
    assert!(
        requests.iter().all(|head| head.to_lowercase().contains("authorization: basic yw5uytpzl2nyzxq=")),
        "{requests:?}"
    );
}

#[tokio::test]
async fn without_an_address_nothing_is_asked_and_an_error_names_no_password() {
    let none = settings("");
    assert!(policies(&none, &Topology::new(&none)).await.unwrap().is_none());
    let dead = format!("/api/queues/v%2F1/q.dead{COLUMNS}");
    let (url, asked) = recorded(&[(dead.as_str(), "401 Unauthorized")]).await;
    let settings = settings(&url.replace("http://", "http://monitor:hunter2@"));
    let error = policies(&settings, &Topology::new(&settings)).await.unwrap_err().to_string();
    assert!(error.contains("401") && error.contains("monitoring") && !error.contains("hunter2"), "{error}");
    // printf %s monitor:hunter2 | base64
    assert!(asked.lock().unwrap()[0].contains("Basic bW9uaXRvcjpodW50ZXIy"));
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let dead = format!("/api/queues/v%2F1/q.dead{COLUMNS}");
    let long = format!("{{\"policy\":\"{}\"}}", "x".repeat(100_000));
    let (url, _) = recorded(&[(dead.as_str(), long.as_str())]).await;
    let settings = settings(&url);
    let error = policies(&settings, &Topology::new(&settings)).await.unwrap_err().to_string();
    assert!(error.contains("more than 65536 bytes"), "{error}");
}
