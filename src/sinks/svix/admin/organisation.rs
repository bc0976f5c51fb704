//! What an organisation has in Svix: applications, their endpoints, event types and portal links.
//!
//! Every call follows a case of the recorded contract (`tests/contract/`), named where it matters.

use super::{
    call::{AdminError, Repeat, SvixAdmin},
    wire::{ApplicationOut, Endpoint, Page, Portal, escaped},
};
use crate::{
    event::{EventType, ProjectId},
    sinks::svix::{
        application::{Application, MARK},
        route::AppId,
    },
};
use reqwest::{Method, StatusCode};
use serde_json::json;

/// Items of one page: at most 250 are given (`app_list_limit_251`), and an application may bring 10 KiB of name and 4 KiB
/// of metadata.
const PAGE: usize = 100;
/// Pages of one list: a million applications, after which a server is taken to have no end.
const MAX_PAGES: usize = 10_000;
/// Rounds of looking for an endpoint and making it, where the outcome of making it stayed unknown.
const ROUNDS: usize = 3;

/// Whether something had to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    Now,
    Before,
}

impl SvixAdmin {
    /// Every application of the organisation, oldest first.
    pub async fn applications(&self) -> Result<Vec<Application>, AdminError> {
        let all: Vec<ApplicationOut> = self.list("list applications", "/api/v1/app").await?;
        all.into_iter().map(ApplicationOut::checked).collect()
    }

    /// One application, by uid or id; `None` if it is not there (`app_get_missing`).
    pub async fn application(&self, app: &AppId) -> Result<Option<Application>, AdminError> {
        let doing = "look up an application";
        let answer = self.call(doing, Method::GET, &format!("/api/v1/app/{app}"), None, Repeat::Freely).await?;
        if answer.is_own(StatusCode::NOT_FOUND) {
            return Ok(None);
        }
        answer.json::<ApplicationOut>(&[StatusCode::OK])?.checked().map(Some)
    }

    /// Makes the application of a project, marked as hookbro's, unless it is there.
    pub async fn create_application(&self, project: &ProjectId) -> Result<Made, AdminError> {
        let name = project.as_str();
        let body = json!({"name": name, "uid": name, "metadata": {MARK.0: MARK.1}});
        let path = "/api/v1/app?get_if_exists=true";
        let answer = self.call("create an application", Method::POST, path, Some(&body), Repeat::Freely).await?;
        // Of concurrent creations the losers get a conflict, whatever the query says: it is there.
        if answer.is_own(StatusCode::CONFLICT) {
            return Ok(Made::Before);
        }
        let made = if answer.is(StatusCode::CREATED) { Made::Now } else { Made::Before };
        answer.json::<ApplicationOut>(&[StatusCode::CREATED, StatusCode::OK])?;
        Ok(made)
    }

    /// Deletes an application with its endpoints and messages; says whether it was there (`app_delete_again`).
    pub async fn delete_application(&self, id: &AppId) -> Result<bool, AdminError> {
        let path = format!("/api/v1/app/{id}");
        let answer = self.call("delete an application", Method::DELETE, &path, None, Repeat::Freely).await?;
        if answer.is_own(StatusCode::NOT_FOUND) {
            return Ok(false);
        }
        answer.expect(&[StatusCode::NO_CONTENT]).map(|()| true)
    }

    /// The endpoints of an application, newest first.
    pub async fn endpoints(&self, app: &AppId) -> Result<Vec<Endpoint>, AdminError> {
        self.list("list endpoints", &format!("/api/v1/app/{app}/endpoint")).await
    }

    /// The endpoint of `app` with this URL, created if there is none; one that exists is left as it is.
    ///
    /// Where making it has an unknown outcome, it is looked for before it is made again: Svix takes any number of
    /// endpoints with one URL.
    pub async fn ensure_endpoint(
        &self,
        app: &AppId,
        url: &str,
        kinds: &[EventType],
    ) -> Result<(Made, Endpoint), AdminError> {
        let doing = "create an endpoint";
        let filter = (!kinds.is_empty()).then(|| kinds.iter().map(EventType::as_str).collect::<Vec<_>>());
        let body = match &filter {
            Some(kinds) => json!({"url": url, "filterTypes": kinds}),
            None => json!({"url": url}),
        };
        let path = format!("/api/v1/app/{app}/endpoint");
        let mut unknown = None;
        for _ in 0..ROUNDS {
            if let Some(found) = self.endpoints(app).await?.into_iter().find(|endpoint| endpoint.url == url) {
                let made = if unknown.is_some() { Made::Now } else { Made::Before };
                return Ok((made, found));
            }
            match self.call(doing, Method::POST, &path, Some(&body), Repeat::Untouched).await {
                Ok(answer) => return Ok((Made::Now, answer.json(&[StatusCode::CREATED])?)),
                Err(error) if error.outcome_is_unknown() => unknown = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(unknown.unwrap_or(AdminError::Endless { doing }))
    }

    /// Registers an event type, which endpoints can then filter by (`endpoint_create_filter_unknown_type`).
    pub async fn ensure_event_type(&self, kind: &EventType) -> Result<Made, AdminError> {
        let body = json!({"name": kind.as_str(), "description": ""});
        let path = "/api/v1/event-type";
        let answer = self.call("register an event type", Method::POST, path, Some(&body), Repeat::Freely).await?;
        if answer.is_own(StatusCode::CONFLICT) {
            return Ok(Made::Before);
        }
        answer.expect(&[StatusCode::CREATED]).map(|()| Made::Now)
    }

    /// A link that logs its bearer into the customer portal of `app`: a secret. `None` if there is no such application.
    pub async fn portal(&self, app: &AppId) -> Result<Option<String>, AdminError> {
        let path = format!("/api/v1/auth/app-portal-access/{app}");
        let body = json!({"featureFlags": []});
        let answer = self.call("get a portal link", Method::POST, &path, Some(&body), Repeat::Freely).await?;
        if answer.is_own(StatusCode::NOT_FOUND) {
            return Ok(None);
        }
        Ok(Some(answer.json::<Portal>(&[StatusCode::OK])?.url))
    }

    /// All pages of a list. `done` alone ends it: the iterator is set on the last page too (`app_list_limit_250`), and an
    /// empty page may not be the last.
    async fn list<T: serde::de::DeserializeOwned>(
        &self,
        doing: &'static str,
        path: &str,
    ) -> Result<Vec<T>, AdminError> {
        let mut all = Vec::new();
        let mut behind: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let after = behind.as_deref().map(|id| format!("&iterator={}", escaped(id))).unwrap_or_default();
            let page = format!("{path}?limit={PAGE}{after}");
            let answer = self.call(doing, Method::GET, &page, None, Repeat::Freely).await?;
            let page: Page<T> = answer.json(&[StatusCode::OK])?;
            all.extend(page.data);
            if page.done {
                return Ok(all);
            }
            // More, and no way to it, or the way that was taken already: what `limit=0` leads to (`app_list_limit_0`).
            if page.iterator.is_none() || page.iterator == behind {
                break;
            }
            behind = page.iterator;
        }
        Err(AdminError::Endless { doing })
    }
}
