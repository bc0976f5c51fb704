//! The routes of applications. Looking one up and writing it are two steps with time between them, as in Svix, so
//! that concurrent creation answers 409 to the losers.

use hyper::StatusCode;
use serde::Deserialize;

use super::answers::Answer;
use super::exchange::{Call, pause};
use super::paging::{Order, Page, query};
use super::store::Refusal;
use super::validate;
use super::wire::{self, ApplicationIn};

#[derive(Deserialize)]
struct CreateQuery {
    #[serde(default)]
    get_if_exists: bool,
}

#[derive(Deserialize)]
struct ListQuery {
    limit: Option<usize>,
    iterator: Option<String>,
    #[serde(default)]
    order: Order,
}

pub(super) async fn create(call: &Call<'_>) -> Result<Answer, Answer> {
    let CreateQuery { get_if_exists } = query(call.uri)?;
    let org = call.inner.gate.organisation(call.headers)?;
    let asked: ApplicationIn = wire::decode(call.body()?)?;
    validate::application(&asked)?;
    let found = |uid| call.inner.store().app(&org, uid).map(|app| app.show());
    if let Some(app) = asked.uid.as_deref().and_then(found) {
        if get_if_exists {
            return Ok(Answer::json(StatusCode::OK, &app));
        }
        let detail = "An application with that id or uid already exists";
        return Err(Answer::error(StatusCode::CONFLICT, "conflict", detail));
    }
    pause(call.inner.options.creation_gap).await;
    let created = call.inner.store().create_app(&org, asked).map_err(refused)?;
    Ok(Answer::json(StatusCode::CREATED, &created))
}

pub(super) fn get(call: &Call<'_>, key: &str) -> Result<Answer, Answer> {
    let org = call.inner.gate.reader(call.headers)?;
    let app = call.inner.store().app(&org, key).map(|app| app.show());
    Ok(Answer::json(StatusCode::OK, &app.ok_or_else(Answer::entity_not_found)?))
}

pub(super) async fn update(call: &Call<'_>, key: &str) -> Result<Answer, Answer> {
    let org = call.inner.gate.organisation(call.headers)?;
    let asked: ApplicationIn = wire::decode(call.body()?)?;
    validate::application(&asked)?;
    validate::app_in_path(key)?;
    let id = call.inner.store().app(&org, key).map(|app| app.id.clone());
    if let Some(id) = id {
        let updated = call.inner.store().update_app(&org, &id, asked).map_err(refused)?;
        return Ok(Answer::json(StatusCode::OK, &updated));
    }
    pause(call.inner.options.creation_gap).await;
    let created = call.inner.store().create_app(&org, asked).map_err(refused)?;
    Ok(Answer::json(StatusCode::CREATED, &created))
}

pub(super) fn delete(call: &Call<'_>, key: &str) -> Result<Answer, Answer> {
    let org = call.inner.gate.organisation(call.headers)?;
    match call.inner.store().delete_app(&org, key) {
        true => Ok(Answer::empty(StatusCode::NO_CONTENT)),
        false => Err(Answer::entity_not_found()),
    }
}

pub(super) fn list(call: &Call<'_>) -> Result<Answer, Answer> {
    let ListQuery { limit, iterator, order } = query(call.uri)?;
    let page = Page::new(limit, iterator.as_deref(), validate::APP_PREFIX)?;
    let org = call.inner.gate.organisation(call.headers)?;
    Ok(Answer::json(StatusCode::OK, &call.inner.store().list_apps(&org, &page, &order)))
}

/// What a refused write of an application answers.
pub(super) fn refused(refusal: Refusal) -> Answer {
    match refusal {
        Refusal::Taken => Answer::conflict(),
        Refusal::NoApp => Answer::entity_not_found(),
        Refusal::Full => Answer::broken(),
    }
}
