//! What a query string asks for: every parameter known, each checked, and said by name when it is wrong. Which there are is
//! known to the type, and the document has them from there too.

use crate::http::problem::Problem;
use axum::{
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
};
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use url::form_urlencoded;
use utoipa::IntoParams;

/// Longest value: identifiers have at most 256 bytes.
const MAX_VALUE: usize = 256;

/// The parameters of one request.
#[derive(Debug)]
pub(super) struct Query<T>(pub T);

impl<S: Sync, T: DeserializeOwned + IntoParams> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        read(parts.uri.query()).map(Self)
    }
}

/// Reads `query`; refuses what `T` does not have, what is given twice, and what no identifier could be.
pub(in crate::http) fn read<T: DeserializeOwned + IntoParams>(query: Option<&str>) -> Result<T, Problem> {
    let query = query.unwrap_or_default().as_bytes();
    let mut given = BTreeSet::new();
    let known: Vec<_> = T::into_params(|| None).into_iter().map(|param| param.name).collect();
    for (name, value) in form_urlencoded::parse(query) {
        if !known.iter().any(|known| *known == name) {
            let name: String = name.chars().take(40).collect();
            return Err(refuse(&name, &format!("is no parameter here; there are {}", known.join(", "))));
        }
        if value.is_empty() || value.len() > MAX_VALUE || value.chars().any(char::is_control) {
            return Err(refuse(&name, "must have 1 to 256 bytes and no control characters"));
        }
        if !given.insert(name.clone()) {
            return Err(refuse(&name, "is given twice"));
        }
    }
    serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(form_urlencoded::parse(query)))
        .map_err(|error| refuse(&error.path().to_string(), &error.inner().to_string()))
}

pub(super) fn refuse(name: &str, why: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, format!("`{name}` {why}")).with("parameter", name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operate::{
        api_types::{DeadQuery, EventQuery, Nothing},
        dead_letters::DeadLetterFilter,
    };

    #[track_caller]
    fn check<T: DeserializeOwned + IntoParams>(query: &str, says: &str) {
        let problem = read::<T>(Some(query)).err().map(|problem| problem.detail().to_owned());
        assert!(problem.as_ref().is_some_and(|problem| problem.contains(says)), "{query}: {problem:?}");
    }

    #[test]
    fn what_is_wrong_is_said_by_name() {
        check::<EventQuery>("colour=red", "`colour` is no parameter here; there are id, project, type, outcome, since");
        check::<EventQuery>("type=a&type=b", "`type` is given twice");
        check::<EventQuery>("project=a%20b", "`project` has a character outside");
        check::<EventQuery>("id=", "`id` must have 1 to 256 bytes");
        check::<EventQuery>("outcome=lost", "`outcome` must be one of delivered, duplicate");
        check::<EventQuery>("since=yesterday", "`since` must be RFC 3339");
        check::<EventQuery>("cursor=x", "`cursor` must be the `next` of a page before");
        for limit in ["0", "201", "-1", "many"] {
            check::<EventQuery>(&format!("limit={limit}"), "`limit` must be a number from 1 to 200");
        }
        check::<Nothing>("x=1", "`x` is no parameter here");
    }

    #[test]
    fn a_filter_of_dead_letters_is_read_by_the_parser_of_all_front_ends() {
        let parse = |query: &str| {
            let asked: DeadQuery = read(Some(query)).unwrap_or_else(|_| panic!("refused: {query}"));
            DeadLetterFilter::parse(asked.filter()).map_err(|error| error.to_string())
        };
        let all = "id=a%2Fb&project=gigs&type=x&reason=refused&status=422&until=2026-08-03T06%3A14%3A10Z&cursor=7";
        let filter = parse(all).unwrap();
        assert_eq!(
            filter.to_string(),
            "id a/b, project gigs, type x, reason refused, status 422, until 2026-08-03T06:14:10Z"
        );
        assert!(parse("since=2h").unwrap().since.is_some());
        assert!(parse("limit=3").unwrap().is_all());
        for (query, says) in [
            ("status=99", "`status` must be a number from 100 to 599"),
            ("reason=lost", "`reason` must be one of malformed"),
            ("since=yesterday", "`since` must be RFC 3339"),
        ] {
            assert!(parse(query).is_err_and(|error| error.contains(says)), "{query}");
        }
    }

    #[test]
    fn what_is_not_given_excludes_nothing_and_a_page_has_50() {
        let all: EventQuery = read(None).unwrap_or_else(|_| panic!("refused"));
        assert!(all.id.is_none() && all.outcome.is_none() && all.limit.0 == 50);
        let some: EventQuery =
            read(Some("type=com.x&limit=7&since=2026-08-03T06%3A14%3A10Z")).unwrap_or_else(|_| panic!("refused"));
        assert_eq!((some.kind.unwrap().0.as_str(), some.limit.0, some.since.is_some()), ("com.x", 7, true));
    }
}
