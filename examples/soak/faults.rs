//! What breaks, when and for how long: all of it drawn from one seed.

use crate::{Error, broker::Node, replicas::Replica, svix::Svix};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};
use svix_sandbox::Fault;
use tokio::{sync::Mutex, time::Instant};

/// Seconds between two faults of the near side (broker, hookbro), and of the far side (Svix).
const NEAR_GAP: Range<u64> = 5..20;
const FAR_GAP: Range<u64> = 4..15;

#[derive(Debug, Clone, Copy)]
enum Near {
    BrokerKill,
    BrokerFrozen,
    MemoryAlarm,
    SlowDisk,
    HookbroKill,
    HookbroTerm,
}

#[derive(Debug, Clone, Copy)]
enum Far {
    SomeServerErrors,
    AllServerErrors,
    TooManyRequests,
    Hang,
    HangAfterCommit,
    Reset,
    ResetAfterCommit,
}

const NEAR: [Near; 6] =
    [Near::BrokerKill, Near::BrokerFrozen, Near::MemoryAlarm, Near::SlowDisk, Near::HookbroKill, Near::HookbroTerm];
const FAR: [Far; 7] = [
    Far::SomeServerErrors,
    Far::AllServerErrors,
    Far::TooManyRequests,
    Far::Hang,
    Far::HangAfterCommit,
    Far::Reset,
    Far::ResetAfterCommit,
];

pub(crate) struct Faults {
    near: StdRng,
    far: StdRng,
    node: Arc<Node>,
    svix: Svix,
    restless: Arc<Mutex<Replica>>,
    thrown: BTreeMap<String, u64>,
}

impl Faults {
    pub(crate) fn new(seed: u64, node: Arc<Node>, svix: Svix, restless: Arc<Mutex<Replica>>) -> Self {
        // Two streams, since the two sides break independently of each other.
        let (near, far) = (StdRng::seed_from_u64(seed), StdRng::seed_from_u64(seed ^ u64::MAX));
        Self { near, far, node, svix, restless, thrown: BTreeMap::new() }
    }

    /// How often each happened; what cannot be had on this machine stands there with that word.
    pub(crate) fn end(self) -> BTreeMap<String, u64> {
        self.thrown
    }

    /// Breaks things until `end`; everything is whole again when it returns.
    pub(crate) async fn throw(&mut self, end: Instant) -> Result<(), Error> {
        let Self { near, far, node, svix, restless, thrown } = self;
        let (mut near_thrown, mut far_thrown) = (BTreeMap::new(), BTreeMap::new());
        let near_side = async {
            let mut deck = Vec::new();
            while pause(near, NEAR_GAP, end).await {
                let (fault, seconds) = (draw(&mut deck, &NEAR, near), near.random_range(0..100));
                let done = fault.happen(seconds, end, node, restless).await?;
                let name = if done { format!("{fault:?}") } else { format!("{fault:?} (not possible here)") };
                *near_thrown.entry(name).or_default() += 1;
            }
            Ok::<_, Error>(())
        };
        let far_side = async {
            let mut deck = Vec::new();
            while pause(far, FAR_GAP, end).await {
                let (fault, seconds) = (draw(&mut deck, &FAR, far), far.random_range(2..9));
                svix.fail(fault.script(), until_end(seconds, end)).await?;
                *far_thrown.entry(format!("Svix{fault:?}")).or_default() += 1;
            }
            Ok(())
        };
        tokio::try_join!(near_side, far_side)?;
        thrown.extend(near_thrown.into_iter().chain(far_thrown));
        Ok(())
    }
}

/// Waits for the next fault; false if the end comes first.
async fn pause(rng: &mut StdRng, gap: Range<u64>, end: Instant) -> bool {
    let next = Instant::now() + Duration::from_secs(rng.random_range(gap));
    tokio::time::sleep_until(next.min(end)).await;
    next < end
}

/// The next of `kinds` in random order, so that a short run meets each of them too.
fn draw<T: Copy>(deck: &mut Vec<T>, kinds: &[T], rng: &mut StdRng) -> T {
    if deck.is_empty() {
        deck.extend_from_slice(kinds);
        deck.shuffle(rng);
    }
    deck.pop().unwrap_or(kinds[0])
}

fn until_end(seconds: u64, end: Instant) -> Duration {
    Duration::from_secs(seconds).min(end.saturating_duration_since(Instant::now()))
}

impl Near {
    /// `chance` is 0 to 99. False where this machine cannot do it.
    async fn happen(self, chance: u64, end: Instant, node: &Node, hookbro: &Mutex<Replica>) -> Result<bool, Error> {
        match self {
            Self::BrokerKill => {
                node.kill().await?;
                node.restart().await?;
            }
            // Over the 20 s after which hookbro's heartbeat gives up, every fourth time.
            Self::BrokerFrozen => node.freeze(until_end(1 + chance / 4, end)).await?,
            // Over the 30 s that a confirm is waited for, every seventh time.
            Self::MemoryAlarm => node.alarm(until_end(3 + chance / 3, end)).await?,
            Self::SlowDisk => return node.slow_disk(until_end(5 + chance / 10, end)).await,
            Self::HookbroKill => hookbro.lock().await.crash().await?,
            Self::HookbroTerm => hookbro.lock().await.restart().await?,
        }
        Ok(true)
    }
}

impl Far {
    fn script(self) -> Fault {
        // Longer than hookbro waits for an answer.
        let hang = Duration::from_secs(5);
        match self {
            Self::SomeServerErrors => Fault { status: Some(503), share: Some(0.6), ..Fault::default() },
            Self::AllServerErrors => Fault { status: Some(500), ..Fault::default() },
            Self::TooManyRequests => {
                Fault { status: Some(429), share: Some(0.2), retry_after: Some("1".into()), ..Fault::default() }
            }
            Self::Hang => Fault { delay: hang, share: Some(0.2), ..Fault::default() },
            Self::HangAfterCommit => Fault { delay: hang, share: Some(0.2), after_commit: true, ..Fault::default() },
            Self::Reset => Fault { reset: true, share: Some(0.3), ..Fault::default() },
            Self::ResetAfterCommit => Fault { reset: true, share: Some(0.3), after_commit: true, ..Fault::default() },
        }
    }
}
