//! The routes of endpoints, event types and the customer portal.
//!
//! Limits: statistics and transformations are not there, since nothing is delivered. The token of a portal link
//! opens nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::answers::{Answer, Flaw};
use super::exchange::Call;
use super::paging::{Page, query};
use super::route::{EndpointPart, Route};
use super::validate;
use super::wire;
use super::wire_endpoints::{EndpointIn, EndpointPatch, EventTypeIn, Headers, HeadersIn};

/// Where the open-source server sends everybody who asks for a portal link.
const PORTAL: &str = "https://docs.svix.com/app-portal/oss";
/// A header whose value is never shown again.
const SENSITIVE: &str = "authorization";

#[derive(Deserialize)]
struct ListQuery {
    limit: Option<usize>,
    iterator: Option<String>,
}

pub(super) fn answer(call: &Call<'_>, method: &Method, route: &Route) -> Result<Answer, Answer> {
    let get = matches!(*method, Method::GET | Method::HEAD);
    match route {
        Route::EventTypes if get => list_event_types(call),
        Route::EventTypes => create_event_type(call),
        Route::EventType(name) => get_event_type(call, name),
        Route::Portal(app) => portal(call, app),
        Route::Logout => {
            call.inner.gate.reader(call.headers)?;
            let detail = "This API endpoint is not yet implemented.";
            Err(Answer::error(StatusCode::NOT_IMPLEMENTED, "not_implemented", detail))
        }
        Route::Endpoints(app) if get => list(call, app),
        Route::Endpoints(app) => create(call, app),
        Route::Endpoint(app, key, part) => match (part, method) {
            (EndpointPart::Itself, &Method::DELETE) => delete(call, app, key),
            (EndpointPart::Itself, &Method::PATCH) => patch(call, app, key),
            (EndpointPart::Itself, _) => show(call, app, key),
            (EndpointPart::Secret, _) => secret(call, app, key),
            (EndpointPart::Rotate, _) => rotate(call, app, key),
            (EndpointPart::Headers, &Method::PUT) => put_headers(call, app, key),
            (EndpointPart::Headers, _) => show_headers(call, app, key),
            // Kinds of their own, see `api_attempts`.
            (EndpointPart::Example | EndpointPart::Recover, _) => Ok(Answer::empty(StatusCode::NOT_FOUND)),
        },
        _ => Ok(Answer::empty(StatusCode::NOT_FOUND)),
    }
}

fn create(call: &Call<'_>, app: &str) -> Result<Answer, Answer> {
    let org = writer(call)?;
    let asked: EndpointIn = wire::decode(call.body()?)?;
    validate::endpoint(&asked)?;
    let mut store = call.inner.store();
    let known = store.event_types(&org);
    let wanted = asked.filter_types.iter().flatten();
    let unknown: Vec<&str> = wanted.filter(|name| known.get(name).is_none()).map(String::as_str).collect();
    if !unknown.is_empty() && store.app(&org, app).is_some() {
        let msg = format!("The following event types don't exist: {}", unknown.join(", "));
        return Err(Answer::invalid(vec![Flaw::value(&["body", "eventTypes"], msg)]));
    }
    let created = store.create_endpoint(&org, app, asked).ok_or_else(Answer::entity_not_found)?;
    Ok(Answer::json(StatusCode::CREATED, &created.map_err(|_| Answer::conflict())?))
}

fn list(call: &Call<'_>, app: &str) -> Result<Answer, Answer> {
    let ListQuery { limit, iterator } = query(call.uri)?;
    let page = Page::new(limit, iterator.as_deref(), validate::ENDPOINT_PREFIX)?;
    let org = call.inner.gate.reader(call.headers)?;
    let store = call.inner.store();
    let app = store.app(&org, app).ok_or_else(Answer::entity_not_found)?;
    Ok(Answer::json(StatusCode::OK, &app.endpoints.list(&page)))
}

fn show(call: &Call<'_>, app: &str, key: &str) -> Result<Answer, Answer> {
    let org = call.inner.gate.reader(call.headers)?;
    let store = call.inner.store();
    let found = store.app(&org, app).and_then(|app| app.endpoints.find(key));
    Ok(Answer::json(StatusCode::OK, found.ok_or_else(Answer::entity_not_found)?))
}

fn patch(call: &Call<'_>, app: &str, key: &str) -> Result<Answer, Answer> {
    let org = writer(call)?;
    let asked: EndpointPatch = wire::decode(call.body()?)?;
    let mut store = call.inner.store();
    let app = store.app_mut(&org, app).ok_or_else(Answer::entity_not_found)?;
    let patched = app.endpoints.change(key, |endpoint| endpoint.patch(asked));
    Ok(Answer::json(StatusCode::OK, &patched.ok_or_else(Answer::entity_not_found)?))
}

fn delete(call: &Call<'_>, app: &str, key: &str) -> Result<Answer, Answer> {
    let org = writer(call)?;
    match call.inner.store().app_mut(&org, app).is_some_and(|app| app.endpoints.remove(key)) {
        true => Ok(Answer::empty(StatusCode::NO_CONTENT)),
        false => Err(Answer::entity_not_found()),
    }
}

fn secret(call: &Call<'_>, app: &str, key: &str) -> Result<Answer, Answer> {
    let org = writer(call)?;
    let store = call.inner.store();
    let found = store.app(&org, app).and_then(|app| app.endpoints.find(key));
    let endpoint = found.ok_or_else(Answer::entity_not_found)?;
    Ok(Answer::json(StatusCode::OK, &json!({ "key": endpoint.secret })))
}

fn rotate(call: &Call<'_>, app: &str, key: &str) -> Result<Answer, Answer> {
    let org = writer(call)?;
    let mut store = call.inner.store();
    let secret = store.new_secret();
    let app = store.app_mut(&org, app).ok_or_else(Answer::entity_not_found)?;
    app.endpoints.change(key, |endpoint| endpoint.secret = secret).ok_or_else(Answer::entity_not_found)?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

fn put_headers(call: &Call<'_>, app: &str, key: &str) -> Result<Answer, Answer> {
    let org = writer(call)?;
    let HeadersIn { headers: Headers(headers) } = wire::decode(call.body()?)?;
    let mut store = call.inner.store();
    let app = store.app_mut(&org, app).ok_or_else(Answer::entity_not_found)?;
    app.endpoints.change(key, |endpoint| endpoint.headers = headers).ok_or_else(Answer::entity_not_found)?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

fn show_headers(call: &Call<'_>, app: &str, key: &str) -> Result<Answer, Answer> {
    let org = writer(call)?;
    let store = call.inner.store();
    let found = store.app(&org, app).and_then(|app| app.endpoints.find(key));
    let all = &found.ok_or_else(Answer::entity_not_found)?.headers;
    let (sensitive, plain): (BTreeMap<_, _>, BTreeMap<_, _>) =
        all.iter().partition(|(name, _)| name.eq_ignore_ascii_case(SENSITIVE));
    let sensitive: Vec<_> = sensitive.keys().collect();
    Ok(Answer::json(StatusCode::OK, &json!({ "headers": plain, "sensitive": sensitive })))
}

fn create_event_type(call: &Call<'_>) -> Result<Answer, Answer> {
    let org = writer(call)?;
    let asked: EventTypeIn = wire::decode(call.body()?)?;
    validate::event_type(&asked)?;
    let created = call.inner.store().create_event_type(&org, asked);
    let exists = || {
        let detail = "An event_type with this name already exists";
        Answer::error(StatusCode::CONFLICT, "event_type_exists", detail)
    };
    Ok(Answer::json(StatusCode::CREATED, &created.map_err(|_| exists())?))
}

fn get_event_type(call: &Call<'_>, name: &str) -> Result<Answer, Answer> {
    let org = call.inner.gate.reader(call.headers)?;
    let store = call.inner.store();
    let found = store.event_types(&org).get(name).ok_or_else(Answer::entity_not_found)?;
    Ok(Answer::json(StatusCode::OK, found))
}

fn list_event_types(call: &Call<'_>) -> Result<Answer, Answer> {
    let ListQuery { limit, iterator } = query(call.uri)?;
    let page = Page::new(limit, iterator.as_deref(), "")?;
    let org = call.inner.gate.reader(call.headers)?;
    Ok(Answer::json(StatusCode::OK, &call.inner.store().event_types(&org).list(&page)))
}

fn portal(call: &Call<'_>, app: &str) -> Result<Answer, Answer> {
    let org = writer(call)?;
    let mut store = call.inner.store();
    store.app(&org, app).ok_or_else(Answer::app_not_found)?;
    let token = store.new_portal_token();
    Ok(Answer::json(StatusCode::OK, &json!({ "url": PORTAL, "token": token })))
}

pub(super) fn writer(call: &Call<'_>) -> Result<Arc<str>, Answer> {
    call.inner.gate.organisation(call.headers)
}
