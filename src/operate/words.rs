//! Outcomes and reasons in words that may be passed on to whoever sent the event, or waits for it. What hookbro's own people
//! need beyond that is the detail beside it.

/// What became of a delivery; [`None`] for an outcome that is not known here.
pub fn of_outcome(outcome: &str) -> Option<&'static str> {
    Some(match outcome {
        "delivered" => "accepted by Svix",
        "duplicate" => "already known to Svix",
        "retried" => "not accepted, to be tried again",
        "dead" => "given up",
        "released" => "put back to wait, without counting as an attempt",
        _ => return None,
    })
}

/// Why an event was given up or held, or what is to be said of a repeat: one of [`crate::event::DeadReason`], [`crate::event::PauseReason`] or
/// [`crate::event::DISPATCH_REASONS`], or [`crate::event::PROJECT_PAUSED`].
pub fn of_reason(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "malformed" => "it is no valid event",
        "unroutable" => "its project has no application in Svix",
        "refused" => "Svix refuses it, and would refuse it again",
        "too_large" => "it is larger than Svix takes",
        "exhausted" => "the last attempt failed too",
        "conflict" => "Svix has another event under the same id",
        "no_endpoint" => "the application has no endpoint to call",
        "filtered" => "no endpoint of the application takes it",
        "endpoints_disabled" => "the endpoints that would take it are disabled",
        "rescued" => "Svix had stored it without calling an endpoint, and was asked to send it",
        "unchecked" => "whether an endpoint was called for it could not be checked",
        "auth" => "Svix did not accept the access token",
        "unreachable" => "Svix could not be reached",
        "not_svix" => "something else than Svix answered",
        "rate_limited" => "Svix asked for a pause",
        "failing" => "Svix kept failing",
        "provisioning" => "applications were missing that should not be",
        crate::event::PROJECT_PAUSED => "its project is paused, and its events wait until it is resumed",
        _ => return None,
    })
}

/// Why Svix shows no endpoint of a message: a [`crate::event::NoTaker`] or [`crate::event::NOT_DISPATCHED`].
pub fn of_dispatch(dispatch: &str) -> Option<&'static str> {
    Some(match dispatch {
        "no_endpoint" => "The application has no endpoint.",
        "filtered" => "No endpoint takes this message: the filters of all of them leave it out.",
        "endpoints_disabled" => "The endpoints that would take this message are disabled.",
        crate::event::NOT_DISPATCHED => "Svix has stored this message, and has not called an endpoint for it yet.",
        _ => return None,
    })
}

/// What Svix made of a message at one endpoint, by the word of its API.
pub fn of_endpoint(status: &str) -> Option<&'static str> {
    Some(match status {
        "success" => "received",
        "pending" => "failed, to be tried again by Svix",
        "sending" => "being sent",
        "fail" => "failed, given up by Svix",
        "canceled" => "cancelled",
        _ => return None,
    })
}

/// What one call of Svix's to an endpoint came to.
pub fn of_call(status: &str) -> Option<&'static str> {
    Some(match status {
        "success" => "received",
        "pending" => "waiting",
        "sending" => "being sent",
        "fail" => "failed",
        "canceled" => "cancelled",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{DISPATCH_REASONS, DeadReason, NOT_DISPATCHED, NoTaker, PROJECT_PAUSED, PauseReason, Verdict};

    #[test]
    fn every_outcome_and_reason_has_words() {
        for outcome in Verdict::OUTCOMES {
            assert!(of_outcome(outcome).is_some(), "{outcome}");
        }
        let dead = DeadReason::ALL.map(DeadReason::as_str);
        for reason in dead
            .into_iter()
            .chain(PauseReason::ALL.map(PauseReason::as_str))
            .chain([PROJECT_PAUSED])
            .chain(DISPATCH_REASONS)
        {
            assert!(of_reason(reason).is_some(), "{reason}");
        }
        for dispatch in NoTaker::ALL.map(NoTaker::as_str).into_iter().chain([NOT_DISPATCHED]) {
            assert!(of_dispatch(dispatch).is_some(), "{dispatch}");
        }
        assert_eq!((of_outcome("lost"), of_reason("lost"), of_endpoint("lost")), (None, None, None));
    }
}
