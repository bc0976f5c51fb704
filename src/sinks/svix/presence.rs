//! Whether Svix has an application. A message call that is answered 404 does not say: wordings differ, and a gateway or a wrong
//! address answers 404 too.

use super::{
    answer::{Answer, Presence},
    classify::{Reply, is_application, is_list, is_not_found, refusal},
    client::{Asked, DEFAULT_WAIT, PROBE_PATH, SvixClient},
    route::AppId,
};
use crate::event::{Cause, HaltReason};
use reqwest::Method;

/// Longest answer read: an application, or a list of one, with all the metadata that Svix takes.
const MAX_ANSWER: usize = 1024 * 1024;

impl SvixClient {
    /// Missing is an application that Svix, by its own code, does not find, while it lists applications.
    pub(super) async fn presence(&self, app: &AppId) -> Result<Presence, Answer> {
        let asked = self.ask(Method::GET, &format!("/api/v1/app/{app}"), MAX_ANSWER).await?;
        if is_application(&reply(&asked)) {
            return Ok(Presence::There);
        }
        if !is_not_found(&reply(&asked)) {
            return Err(no_answer(&asked, &format!("whether application {app} is there")));
        }
        let listed = self.ask(Method::GET, PROBE_PATH, MAX_ANSWER).await?;
        if is_list(&reply(&listed)) { Ok(Presence::Missing) } else { Err(no_answer(&listed, "for its applications")) }
    }
}

fn reply(asked: &Asked) -> Reply<'_> {
    asked.head.reply(&asked.body)
}

/// What follows from an answer that does not say. Never anything about an event.
fn no_answer(asked: &Asked, question: &str) -> Answer {
    match refusal(&reply(asked), DEFAULT_WAIT) {
        answer @ (Answer::Unusable { .. } | Answer::Throttled { .. } | Answer::Failed { .. }) => answer,
        _ => {
            let status = asked.head.status;
            let detail = format!("Svix answered {status} when asked {question}");
            Answer::Unusable { reason: HaltReason::NotSvix, cause: Cause { status: Some(status.as_u16()), detail } }
        }
    }
}

#[cfg(test)]
#[path = "presence_tests.rs"]
mod tests;
