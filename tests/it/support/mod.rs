//! What the tests on a real broker share: a world of its own for each test, and patience that ends.

pub mod broker;
pub mod collector;
pub mod events;
pub mod freeze;
pub mod hookbro;
pub mod ledger;
pub mod node;
pub mod proxy;
pub mod raw_amqp;
pub mod settings_page;
pub mod store;
pub mod svix;
pub mod swallow;
pub mod tls;
pub mod world;

use std::time::{Duration, Instant};

/// How often a state is read.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Waits for a state instead of sleeping; panics with `what` if it does not come about in time.
#[track_caller]
pub fn until<'a, T>(
    what: &'a str,
    at_most: Duration,
    mut check: impl AsyncFnMut() -> Option<T> + 'a,
) -> impl Future<Output = T> + 'a {
    let place = std::panic::Location::caller();
    let started = Instant::now();
    async move {
        loop {
            if let Some(seen) = check().await {
                return seen;
            }
            assert!(started.elapsed() < at_most, "{place}: not within {at_most:?}: {what}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Longest wait for anything that should happen soon, on a machine that runs other tests too.
pub const SOON: Duration = Duration::from_secs(60);
