//! How fast and how many at once: `svix.rate_limit`, and the adaptive limit of calls in flight.
//!
//! Stands between the halt and the call. Whoever waited here asks again, since a halt may have begun meanwhile.

use super::halt::Denied;
use crate::{
    event::HaltReason,
    observe::metrics::Metrics,
    pipeline::{gradient::Gradient, sink::Outcome},
    process::stop::Stop,
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Semaphore, time::Instant};

/// A call that takes longer gives its permit to another: calls to a destination that hangs must not keep others from theirs. How
/// many of those there may be, its circuit says.
const SLOW: Duration = Duration::from_secs(1);

/// With a rate limit, so much of a second may go out at once after a quiet time.
const BURST: Duration = Duration::from_millis(100);

/// Calls a second that a core makes at best: a call alone takes some 15 µs of it, and an event some 30 (`make bench`), its
/// network and the far side none.
const CALLS_PER_CORE: f64 = 20_000.0;

/// Paces the calls of a process.
#[derive(Debug)]
pub struct Pacer {
    /// One permit per call that may still begin.
    permits: Semaphore,
    /// Who of each lane may ask for a permit next: one at a time, so that the lanes take turns, however many wait in one.
    heads: Vec<Semaphore>,
    state: Mutex<State>,
    /// Time between two events; none without a rate limit.
    interval: Option<Duration>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct State {
    gradient: Gradient,
    /// The limit that permits have been handed out for.
    granted: usize,
    in_flight: usize,
    /// When the next event may go, by the rate limit (the generic cell rate algorithm, ITU-T I.371).
    next: Instant,
}

/// Leave for one event's calls, given back when dropped.
#[must_use]
#[derive(Debug)]
pub struct Turn<'p> {
    pacer: &'p Pacer,
    begun: Instant,
}

impl Pacer {
    /// `rate` in events a second, 0 for none; `most` calls in flight at any time, of all lanes.
    pub fn new(rate: u32, most: usize, lanes: usize, metrics: Arc<Metrics>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let gradient = Gradient::new(most, CALLS_PER_CORE * cores as f64);
        let granted = gradient.limit();
        metrics.svix_in_flight_limit.set(gauge(granted));
        let state = State { gradient, granted, in_flight: 0, next: Instant::now() };
        let interval = (rate > 0).then(|| Duration::from_secs(1) / rate);
        let heads = (0..lanes.max(1)).map(|_| Semaphore::new(1)).collect();
        Self { permits: Semaphore::new(granted), heads, state: Mutex::new(state), interval, metrics }
    }

    /// Waits for the turn of an event on `lane`, at most until `deadline`; none if `wanted` no longer holds when it comes: then
    /// nothing of the rate is spent, and those behind come at once.
    pub async fn turn(
        &self,
        lane: usize,
        wanted: impl Fn() -> bool,
        deadline: Instant,
        stop: &Stop,
    ) -> Result<Option<Turn<'_>>, Denied> {
        if self.interval.is_none()
            && let Ok(permit) = self.permits.try_acquire()
        {
            permit.forget();
            return Ok(Some(self.begin()));
        }
        tokio::select! {
            biased;
            () = stop.requested.cancelled() => Err(Denied::Stopping),
            turn = self.wait(lane, wanted) => Ok(turn),
            () = tokio::time::sleep_until(deadline) => Err(Denied::TooLong),
        }
    }

    async fn wait(&self, lane: usize, wanted: impl Fn() -> bool) -> Option<Turn<'_>> {
        // Neither semaphore is ever closed; both let in by order of asking.
        let _head = match self.heads.get(lane) {
            Some(head) => head.acquire().await.ok(),
            None => None,
        };
        let permit = self.permits.acquire().await;
        if !wanted() {
            return None;
        }
        if let Some(interval) = self.interval {
            let at = self.reserve(interval);
            tokio::time::sleep_until(at).await;
        }
        // From here the turn gives the permit back.
        permit.into_iter().for_each(|permit| permit.forget());
        Some(self.begin())
    }

    fn reserve(&self, interval: Duration) -> Instant {
        let mut state = self.lock();
        let now = Instant::now();
        let at = state.next.max(now.checked_sub(BURST).unwrap_or(now));
        state.next = at + interval;
        at
    }

    fn begin(&self) -> Turn<'_> {
        self.lock().in_flight += 1;
        Turn { pacer: self, begun: Instant::now() }
    }

    /// Grants or withholds permits, so that they match the limit.
    fn adjust(&self, state: &mut State) {
        let limit = state.gradient.limit();
        if limit > state.granted {
            self.permits.add_permits(limit - state.granted);
            state.granted = limit;
        } else {
            // Those in flight keep theirs; the rest is withheld when they come back.
            state.granted -= self.permits.forget_permits(state.granted - limit);
        }
        self.metrics.svix_in_flight_limit.set(gauge(limit));
    }

    fn learn(&self, how: impl FnOnce(&mut Gradient, usize)) {
        let mut state = self.lock();
        let before = state.gradient.limit();
        let in_flight = state.in_flight;
        how(&mut state.gradient, in_flight);
        if state.gradient.limit() != before {
            self.adjust(&mut state);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// Makes the event's calls, and learns from what they come to.
    pub async fn during(self, calls: impl Future<Output = Option<Outcome>>) -> Option<Outcome> {
        let (pacer, mut calls) = (self.pacer, std::pin::pin!(calls));
        tokio::select! {
            biased;
            outcome = &mut calls => {
                if let Some(outcome) = &outcome {
                    self.over(outcome);
                }
                return outcome;
            }
            () = tokio::time::sleep(SLOW) => drop(self),
        }
        let outcome = calls.await?;
        if is_throttled(&outcome) {
            pacer.learn(|gradient, _| gradient.failed());
        }
        Some(outcome)
    }

    /// The calls came to `outcome`.
    pub fn over(self, outcome: &Outcome) {
        match outcome {
            Outcome::Accepted(_) => {
                self.pacer.learn(|gradient, in_flight| gradient.answered(self.begun.elapsed(), in_flight));
            }
            throttled if is_throttled(throttled) => self.pacer.learn(|gradient, _| gradient.failed()),
            // About one event, one destination, of several calls, or about everything: nothing about load.
            _ => {}
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.pacer.lock();
        state.in_flight -= 1;
        if state.granted > state.gradient.limit() {
            state.granted -= 1;
        } else {
            self.pacer.permits.add_permits(1);
        }
    }
}

/// Whether the sink says that it has too much to do.
fn is_throttled(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Halt { reason: HaltReason::RateLimited, .. })
}

fn gauge(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::fake_sink::{accepted, failed, throttled};
    use std::task::Poll;

    fn pacer(rate: u32, most: usize) -> Pacer {
        Pacer::new(rate, most, 2, Arc::new(Metrics::new().unwrap()))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(1_000)
    }

    async fn turn(pacer: &Pacer) -> Turn<'_> {
        pacer.turn(0, || true, soon(), &Stop::default()).await.unwrap().unwrap()
    }

    async fn is_full(pacer: &Pacer) -> bool {
        let stop = Stop::default();
        let mut asking = std::pin::pin!(pacer.turn(0, || true, soon(), &stop));
        std::future::poll_fn(|cx| Poll::Ready(asking.as_mut().poll(cx).is_pending())).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_kept_to_the_event() {
        let pacer = pacer(200, 64);
        let started = Instant::now();
        for _ in 0..1_000 {
            turn(&pacer).await.over(&accepted());
        }
        let took = started.elapsed().as_secs_f64();
        assert!((4.8..=5.1).contains(&took), "1,000 events at 200 a second took {took} s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_that_floods_does_not_make_another_wait_for_all_of_it() {
        let (pacer, stop) = (pacer(10, 64), Stop::default());
        let started = Instant::now();
        // The burst is spent first.
        while started.elapsed() < Duration::from_secs(1) {
            turn(&pacer).await.over(&accepted());
        }
        let flood = async {
            let each = async || pacer.turn(0, || true, soon(), &stop).await.unwrap().unwrap().over(&accepted());
            futures_util::future::join_all((0..50).map(|_| each())).await
        };
        let other = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let asked = Instant::now();
            pacer.turn(1, || true, soon(), &stop).await.unwrap().unwrap().over(&accepted());
            asked.elapsed()
        };
        let (_, waited) = tokio::join!(flood, other);
        assert!(waited <= Duration::from_millis(201), "{waited:?} of a flood of 5 s");
    }

    #[tokio::test(start_paused = true)]
    async fn those_in_line_leave_it_when_the_gate_closes_and_spend_nothing() {
        let (pacer, stop) = (pacer(1, 64), Stop::default());
        let started = Instant::now();
        turn(&pacer).await.over(&accepted());
        let open = std::cell::Cell::new(true);
        let line = futures_util::future::join_all((0..100).map(|_| pacer.turn(0, || open.get(), soon(), &stop)));
        let probe = async {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            open.set(false);
            pacer.turn(0, || true, soon(), &stop).await.unwrap().unwrap().over(&accepted());
            started.elapsed()
        };
        let (line, tried) = tokio::join!(line, probe);
        assert!(tried < Duration::from_secs(5), "{tried:?}: not behind a hundred others at one a second");
        assert!(line.iter().filter(|turn| matches!(turn, Ok(None))).count() > 95);
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_leave_fewer_turns_even_to_those_under_way() {
        let pacer = pacer(0, 10);
        let mut turns = Vec::new();
        for _ in 0..10 {
            turns.push(turn(&pacer).await);
        }
        assert!(is_full(&pacer).await);
        turns.pop().unwrap().over(&failed());
        assert_eq!(pacer.metrics.svix_in_flight_limit.get(), 10, "one destination's failure is nobody else's");
        turns.push(turn(&pacer).await);
        for answer in [throttled(1), throttled(1), throttled(1), throttled(1)] {
            turns.pop().unwrap().over(&answer);
        }
        // 10, 9, 8.1, 7.29, 6.56: six are under way, and six is the limit.
        assert_eq!(pacer.metrics.svix_in_flight_limit.get(), 6);
        assert!(is_full(&pacer).await);
        turns.pop();
        assert!(!is_full(&pacer).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_comes_back_with_acceptances() {
        let pacer = pacer(0, 10);
        for _ in 0..20 {
            turn(&pacer).await.over(&throttled(1));
        }
        assert_eq!(pacer.metrics.svix_in_flight_limit.get(), 4);
        for _ in 0..200 {
            let mut turns = Vec::new();
            while !is_full(&pacer).await {
                turns.push(turn(&pacer).await);
            }
            turns.into_iter().for_each(|turn| turn.over(&accepted()));
        }
        assert_eq!(pacer.metrics.svix_in_flight_limit.get(), 10);
        let mut turns = Vec::new();
        while !is_full(&pacer).await {
            turns.push(turn(&pacer).await);
        }
        assert_eq!(turns.len(), 10, "no permit was lost or made on the way");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_hangs_leaves_its_place_to_others_after_a_second() {
        let pacer = pacer(0, 4);
        let began = Instant::now();
        let hang = async || {
            let call = async {
                tokio::time::sleep(Duration::from_secs(20)).await;
                Some(accepted())
            };
            turn(&pacer).await.during(call).await
        };
        let other = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            turn(&pacer).await.over(&accepted());
            began.elapsed()
        };
        let (_, _, _, _, waited) = tokio::join!(hang(), hang(), hang(), hang(), other);
        assert_eq!(waited, SLOW);
        assert_eq!(pacer.lock().in_flight, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_with_its_deadline_and_with_the_process() {
        let (pacer, stop) = (pacer(0, 1), Stop::default());
        let _only = turn(&pacer).await;
        let denied = pacer.turn(0, || true, Instant::now() + Duration::from_secs(5), &stop).await;
        assert_eq!(denied.map(drop), Err(Denied::TooLong));
        stop.requested.cancel();
        assert_eq!(pacer.turn(0, || true, soon(), &stop).await.map(drop), Err(Denied::Stopping));
    }
}
