//! What Svix answers when asked for an application → what is known of it.

use super::*;
use crate::{
    observe::metrics::Metrics,
    process::secret::Secret,
    sinks::svix::{Settings, answer::Messages as _},
};
use axum::{Router, body::Body, extract::Request, http::Response};
use std::{sync::Arc, time::Duration};

const APPLICATION: &str = r#"{"id":"app_1","uid":"gigs","name":"gigs","createdAt":"2026-08-03T06:14:10Z"}"#;
const LIST: &str = r#"{"data":[{"id":"app_1"}],"iterator":"app_1","done":true}"#;
const NOT_FOUND: &str = r#"{"code":"not_found","detail":"Entity not found"}"#;
const NO_ROUTE: &str = r#"{"detail":"Not Found"}"#;

/// What follows if a look at the application and the list of them are answered like this.
async fn look(application: (u16, &'static str), list: (u16, &'static str)) -> String {
    let router = Router::new().fallback(move |request: Request| async move {
        let (status, body) = match request.uri().path() {
            "/api/v1/app/gigs" => application,
            "/api/v1/app" => list,
            path => panic!("asked for {path}"),
        };
        Response::builder().status(status).body(Body::from(body)).unwrap()
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (token, authorities) = (Secret::fixed("sk_x"), Secret::fixed(""));
    let settings = Settings { url, token, authorities, timeout: Duration::from_secs(5) };
    let client = SvixClient::new(&settings, Arc::new(Metrics::new().unwrap())).unwrap();
    let answer = client.look_up(&AppId::try_new("gigs").unwrap()).await;
    serving.abort();
    match answer {
        Ok(presence) => format!("{presence:?}"),
        Err(Answer::Unusable { reason, .. }) => format!("halt {reason}"),
        Err(other) => format!("{other:?}").split(['(', ' ']).next().unwrap_or_default().to_owned(),
    }
}

#[tokio::test]
async fn only_svixs_own_word_for_it_beside_its_list_makes_an_application_missing() {
    let listed = (200, LIST);
    for (application, list, expected) in [
        ((200, APPLICATION), listed, "There"),
        ((404, NOT_FOUND), listed, "Missing"),
        ((404, NOT_FOUND), (200, r#"{"data":[],"iterator":null,"done":true}"#), "Missing"),
        ((404, r#"{"code":"not_found","detail":"No application is called that"}"#), listed, "Missing"),
        // A gateway, a wrong address, or a page that is not Svix's.
        ((404, NO_ROUTE), listed, "halt not_svix"),
        ((404, ""), listed, "halt not_svix"),
        ((404, NOT_FOUND), (404, NOT_FOUND), "halt not_svix"),
        ((404, NOT_FOUND), (404, NO_ROUTE), "halt not_svix"),
        ((404, NOT_FOUND), (200, "<html>"), "halt not_svix"),
        ((404, NOT_FOUND), (200, "{}"), "halt not_svix"),
        ((200, "<html>"), listed, "halt not_svix"),
        ((200, r#"{"id":"../x"}"#), listed, "halt not_svix"),
        ((409, r#"{"code":"conflict","detail":"x"}"#), listed, "halt not_svix"),
        ((422, r#"{"detail":[]}"#), listed, "halt not_svix"),
        // What is no answer to the question is what it is to any other call.
        ((401, ""), listed, "halt auth"),
        ((404, NOT_FOUND), (403, ""), "halt auth"),
        ((429, ""), listed, "Throttled"),
        ((404, NOT_FOUND), (500, "{}"), "Failed"),
    ] {
        assert_eq!(look(application, list).await, expected, "{application:?} {list:?}");
    }
}
