//! Whether events wait longer for their turn than they should: then a project that has most of what is in flight gets no more
//! directly, and its events are parked, so that others' are found behind them.

use super::{consume::Pool, sink::Sink};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// A backlog that takes longer than this to be sent, at the rate of now, is worked off out of order. Setting events aside costs
/// a copy each; a shorter backlog is gone before it pays.
const LONG: Duration = Duration::from_secs(10);

/// Follows the depth of the queues that fresh events come from, for as long as the process runs.
pub async fn watch<S: Sink>(pool: Arc<Pool<S>>, queues: Vec<String>) {
    let mut depths = pool.health.queues.subscribe();
    let (mut since, mut ended) = (Instant::now(), pool.handler.metrics.ended());
    while depths.changed().await.is_ok() {
        let ready = {
            let depths = depths.borrow_and_update();
            queues.iter().filter_map(|queue| depths.get(queue)).sum()
        };
        let (now, ended_by_now) = (Instant::now(), pool.handler.metrics.ended());
        let is_long = pool.handler.halt.is_running() && is_long(ready, ended_by_now - ended, now - since);
        (since, ended) = (now, ended_by_now);
        pool.handler.destinations.set_crowded(is_long);
    }
}

/// Whether `ready` events take long at the rate of `ended` in `elapsed`.
fn is_long(ready: u64, ended: u64, elapsed: Duration) -> bool {
    // Where nothing ends, something else is wrong than too many events.
    ended > 0 && u128::from(ready) * elapsed.as_millis() > u128::from(ended) * LONG.as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_is_long_if_it_takes_longer_than_ten_seconds_at_the_rate_of_now() {
        let five = Duration::from_secs(5);
        assert!(!is_long(10_000, 5_000, five), "10 s at 1,000 a second");
        assert!(is_long(10_001, 5_000, five));
        assert!(!is_long(0, 1, five));
        assert!(!is_long(1_000_000, 0, five), "nothing is sent at all");
    }
}
