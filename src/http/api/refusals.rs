//! Refusals that many operations share: what they answer, and how the document has them.

use crate::http::problem::Problem;
use axum::http::StatusCode;
use std::{collections::BTreeMap, fmt::Display, time::Duration};
use utoipa::{
    IntoResponses,
    openapi::{RefOr, Response},
};

/// When to ask a store that is away again.
const AWAY_RETRY: Duration = Duration::from_secs(5);

/// The journal or the pauses, which cannot be read or changed now, and why.
pub(in crate::http) fn unread(why: &impl Display) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, why.to_string()).retry_after(AWAY_RETRY)
}

/// What every operation may answer.
pub(super) struct Guarded;

impl IntoResponses for Guarded {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refusals(&[
            ("401", "No token, or a wrong one."),
            ("403", "Without admin.tokens only this machine is answered."),
            ("405", "Another method."),
        ])
    }
}

/// What every operation with a body may answer too.
pub(super) struct Changing;

impl IntoResponses for Changing {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut all = Guarded::responses();
        all.extend(refusals(&[
            ("408", "The body did not arrive in time."),
            ("413", "A body over 64 KiB."),
            ("415", "Not application/json."),
            ("500", "A defect of hookbro's ended it midway."),
        ]));
        all
    }
}

/// What every operation on one project with a body may answer too.
pub(super) struct ChangingProject;

impl IntoResponses for ChangingProject {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut all = Changing::responses();
        all.extend(refusals(&[
            ("400", "The body is no JSON, or the name in `x-hookbro-user` is wrong."),
            ("404", "No project can be called so."),
            ("422", "A field is wrong or not known."),
        ]));
        all
    }
}

fn refusals(all: &[(&str, &str)]) -> BTreeMap<String, RefOr<Response>> {
    all.iter().map(|(status, why)| ((*status).to_owned(), Response::new(*why).into())).collect()
}
