//! What every source, every sink and every parking must do, whatever lies behind it: one suite for each seam, run against
//! each of its implementations.

mod memory;
mod memory_sink;
mod parking;
mod rabbitmq;
mod sink;
mod source;

use crate::support::events::Sample;
use hookbro::pipeline::{parking::Parking, source::Connect};
use std::time::Duration;

/// Waits before the second and the third attempt; there is no fourth.
const DELAYS: [Duration; 2] = [Duration::from_millis(300), Duration::from_millis(400)];
/// Deliveries of the first queue that may be unsettled.
const PREFETCH: u16 = 16;

/// A source under test, with the outside that it needs.
trait Rig {
    fn connect(&self) -> impl Connect;

    fn parking(&self) -> impl Parking;

    /// Publishes these, one after another; returns once they are safe.
    async fn publish(&self, samples: &[Sample]);

    /// Takes out the dead letters: each one's body and reason.
    async fn take_dead(&self) -> Vec<(Vec<u8>, String)>;

    async fn end(self);
}

/// Runs a suite against every source that there is.
macro_rules! conforms {
    ($($check:ident)*) => {
        mod in_memory {
            $(#[tokio::test(start_paused = true)]
            async fn $check() {
                super::$check(super::super::memory::MemoryRig::new()).await;
            })*
        }

        mod on_rabbitmq {
            $(#[tokio::test]
            async fn $check() {
                super::$check(super::super::rabbitmq::RabbitRig::new(concat!("conforms-", stringify!($check))).await).await;
            })*
        }
    };
}
use conforms;
