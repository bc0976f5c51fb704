//! An event's way as a picture: one lane for the queue, the attempts, the delays between them, Svix, and each endpoint.
//!
//! The axis of time is compressed, since milliseconds and hours are on one picture: a stretch is as wide as the logarithm of
//! its length. Widths are per cent of whatever room there is, so that it fits a phone.

use super::components::Level;
use crate::operate::{
    api_types::{Attempt, Call, Story},
    describe,
    sanitize::Plain,
};
use jiff::Timestamp;
use maud::{Markup, html};
use std::time::Duration;

/// Deliveries, endpoints and calls of each that are drawn; the steps below tell all.
const ATTEMPTS: usize = 24;
const ENDPOINTS: usize = 8;
const CALLS: usize = 24;
/// Longest label of a lane, in characters: what a phone has room for.
const LABEL: usize = 42;
/// Height of a lane and where its line is, in pixels.
const LANE: usize = 46;
const TRACK: usize = 30;
/// Seconds below which stretches are about equally narrow.
const SHORT: f64 = 0.05;
/// Shortest part of the axis, of all of it, that has room for a word.
const ROOM: f64 = 0.09;

/// A mark on a lane.
struct Mark {
    at: Timestamp,
    kind: Kind,
    says: String,
}

#[derive(Clone, Copy)]
enum Kind {
    Taken,
    Ended(Level),
    ToCome,
}

/// A stretch on a lane.
struct Span {
    from: Timestamp,
    until: Timestamp,
    class: &'static str,
    says: Option<String>,
}

#[derive(Default)]
struct Lane {
    label: String,
    spans: Vec<Span>,
    marks: Vec<Mark>,
}

impl Lane {
    fn new(label: impl Into<String>) -> Self {
        let label: String = label.into();
        let label = match label.chars().count() {
            ..=LABEL => label,
            _ => label.chars().take(LABEL - 1).chain(['…']).collect(),
        };
        Self { label, ..Self::default() }
    }

    fn moments(&self) -> impl Iterator<Item = Timestamp> {
        self.spans.iter().flat_map(|span| [span.from, span.until]).chain(self.marks.iter().map(|mark| mark.at))
    }
}

/// Where on the axis a moment is, from 0 to 1.
struct Axis(Vec<(Timestamp, f64)>);

impl Axis {
    fn of(mut moments: Vec<Timestamp>) -> Self {
        moments.sort();
        moments.dedup();
        let mut far = 0.0;
        let mut stops = Vec::with_capacity(moments.len());
        for (n, at) in moments.iter().enumerate() {
            if n > 0 {
                far += (1.0 + at.duration_since(moments[n - 1]).as_secs_f64() / SHORT).ln();
            }
            stops.push((*at, far));
        }
        let whole = if far > 0.0 { far } else { 1.0 };
        Self(stops.into_iter().map(|(at, far)| (at, far / whole)).collect())
    }

    fn at(&self, at: Timestamp) -> f64 {
        self.0.binary_search_by_key(&at, |(at, _)| *at).map_or(0.0, |n| self.0[n].1)
    }

    /// In per cent, with a margin for the marks at both ends.
    fn x(&self, at: Timestamp) -> String {
        format!("{:.2}%", 3.0 + 94.0 * self.at(at))
    }
}

/// The picture. Whoever cannot see it reads the steps, which say the same.
pub(super) fn picture(story: &Story, now: Timestamp) -> Markup {
    let lanes = lanes(story);
    let moments: Vec<_> = lanes.iter().flat_map(Lane::moments).collect();
    let (Some(first), Some(last)) = (moments.iter().min().copied(), moments.iter().max().copied()) else {
        return html! {};
    };
    // Where something is to come, how far it is until then.
    let now = (now < last && now > first).then_some(now);
    let axis = Axis::of(moments.into_iter().chain(now).collect());
    let height = lanes.len() * LANE;
    html! {
        svg.swim-lanes width="100%" height=(height + 24) role="img" aria-label="Swim lanes of the event; the timeline below says the same" {
            @for (n, lane) in lanes.iter().enumerate() { (draw(lane, n * LANE, &axis)) }
            @if let Some(now) = now {
                line.now x1=(axis.x(now)) x2=(axis.x(now)) y1="0" y2=(height) {}
                text.tick x=(axis.x(now)) y=(height + 16) text-anchor="middle" { "now" }
            }
            text.tick x="0" y=(height + 16) { (clock(first, first)) }
            text.tick x="100%" y=(height + 16) text-anchor="end" { (clock(last, first)) }
        }
        p.faint.legend { "Long waits are compressed. Outlined marks are scheduled." }
    }
}

fn clock(at: Timestamp, first: Timestamp) -> String {
    let same_day = at.strftime("%F").to_string() == first.strftime("%F").to_string();
    at.strftime(if same_day { "%H:%M:%S" } else { "%m-%d %H:%M:%S" }).to_string()
}

fn lanes(story: &Story) -> Vec<Lane> {
    let drawn = &story.attempts[story.attempts.len().saturating_sub(ATTEMPTS)..];
    let (mut queue, mut attempts, mut delays) = (Lane::new("Queue"), Lane::new("Attempt"), Lane::new("Delay"));
    for (n, attempt) in drawn.iter().enumerate() {
        let taken = attempt.at - Duration::from_secs_f64((attempt.processing_ms / 1000.0).clamp(0.0, 86_400.0));
        let name = attempt.queue.as_str();
        queue.marks.push(Mark {
            at: taken,
            kind: Kind::Taken,
            says: format!("taken from {name}, {}", describe::time(taken)),
        });
        attempts.spans.push(Span { from: taken, until: attempt.at, class: "hand", says: None });
        attempts.marks.push(Mark {
            at: attempt.at,
            kind: Kind::Ended(Level::of_outcome(attempt.outcome.as_str())),
            says: format!("attempt {}: {}, {}", attempt.attempt, attempt.outcome, describe::time(attempt.at)),
        });
        if let Some(due) = attempt.next_at.filter(|due| *due > attempt.at) {
            delays.spans.push(delay(attempt, due, drawn.get(n + 1)));
        }
    }
    if let Some(retry) = &story.next_retry {
        let says = format!("attempt {} is due, {}", retry.attempt, describe::time(retry.due_at));
        attempts.marks.push(Mark { at: retry.due_at, kind: Kind::ToCome, says });
    }
    let mut lanes = vec![queue, attempts];
    lanes.extend((!delays.spans.is_empty()).then_some(delays));
    lanes.extend(svix(story));
    lanes
}

/// From a delivery to the next one, or to when that is due.
fn delay(attempt: &Attempt, due: Timestamp, next: Option<&Attempt>) -> Span {
    let until = next.map_or(due, |next| due.min(next.at));
    let says = describe::wait(due.duration_since(attempt.at).as_secs_f64().round());
    Span { from: attempt.at, until: until.max(attempt.at), class: "delay", says: Some(says) }
}

fn svix(story: &Story) -> Vec<Lane> {
    let Some(message) = &story.svix.message else { return Vec::new() };
    let mut lane = Lane::new("Svix");
    if let Some(at) = message.created_at.as_ref().and_then(moment) {
        let says = format!("message {}, {}", message.id, describe::time(at));
        lane.marks.push(Mark { at, kind: Kind::Ended(Level::Good), says });
    }
    let endpoints = story.svix.endpoints.iter().take(ENDPOINTS).map(|endpoint| {
        let mut lane = Lane::new(format!("→ {}", endpoint.url));
        let calls = story.svix.attempts.iter().filter(|call| call.endpoint_id == endpoint.id).take(CALLS);
        lane.marks.extend(calls.filter_map(called));
        if let Some(at) = endpoint.next_attempt_at.as_ref().and_then(moment) {
            lane.marks.push(Mark { at, kind: Kind::ToCome, says: format!("next attempt, {}", describe::time(at)) });
        }
        lane
    });
    std::iter::once(lane).chain(endpoints).collect()
}

fn called(call: &Call) -> Option<Mark> {
    let at = moment(&call.at)?;
    let answered = if call.response_status == 0 { "no answer".to_owned() } else { call.response_status.to_string() };
    let says = format!("{answered}, {}", describe::time(at));
    Some(Mark { at, kind: Kind::Ended(Level::of_svix(call.status.as_str())), says })
}

fn moment(text: &Plain) -> Option<Timestamp> {
    text.as_str().parse().ok()
}

fn draw(lane: &Lane, top: usize, axis: &Axis) -> Markup {
    let y = top + TRACK;
    html! {
        text.label x="0" y=(top + 13) { (lane.label) }
        line.track x1="0" x2="100%" y1=(y) y2=(y) {}
        @for span in &lane.spans {
            line class=(span.class) x1=(axis.x(span.from)) x2=(axis.x(span.until)) y1=(y) y2=(y) {}
            @if let Some(says) = &span.says {
                @let (from, until) = (axis.at(span.from), axis.at(span.until));
                @if until - from > ROOM {
                    text.tick x={(format!("{:.2}", 3.0 + 47.0 * (from + until))) "%"} y=(y + 14) text-anchor="middle" { (says) }
                }
            }
        }
        @for mark in &lane.marks { (drawn(mark, y, axis)) }
    }
}

/// A shape of its own for each meaning, since not everybody sees the colours.
fn drawn(mark: &Mark, y: usize, axis: &Axis) -> Markup {
    let (class, shape) = match mark.kind {
        Kind::Taken => ("taken", html! { circle r="4" {} }),
        Kind::ToCome => ("to-come", html! { path d="M0-8 8 0 0 8-8 0z" {} }),
        Kind::Ended(Level::Good) => ("good", html! { circle r="8" {} path.cut d="M-3.5 0-1 2.8 3.8-2.6" {} }),
        Kind::Ended(Level::Bad) => ("bad", html! { circle r="8" {} path.cut d="M-3-3 3 3M3-3-3 3" {} }),
        Kind::Ended(Level::Watch) => {
            ("watch", html! { path d="M0-8.5 8.5 6.5-8.5 6.5z" {} path.cut d="M0-3V1.5M0 4V4.4" {} })
        }
        Kind::Ended(Level::Unknown) => ("unknown", html! { circle r="7" {} }),
    };
    html! {
        svg class={"mark " (class)} x=(axis.x(mark.at)) y=(y) overflow="visible" { title { (mark.says) } (shape) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_keeps_order_and_gives_hours_more_room_than_milliseconds() {
        let start: Timestamp = "2026-08-03T06:00:00Z".parse().unwrap();
        let later = |ms| start + Duration::from_millis(ms);
        let axis = Axis::of(vec![later(3_600_000), start, later(20), start, later(5_020)]);
        let at = [0, 20, 5_020, 3_600_000].map(|ms| axis.at(later(ms)));
        assert!(at[0] == 0.0 && (at[3] - 1.0).abs() < 1e-9, "{at:?}");
        assert!(at.is_sorted() && at[1] < 0.1 && at[2] - at[1] < at[3] - at[2], "{at:?}");
        assert_eq!(Axis::of(vec![start]).x(start), "3.00%");
    }
}
