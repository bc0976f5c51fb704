//! What is said at the end, and whether it passed.

use crate::{
    broker::Node,
    judge::Judged,
    samples::{Course, Samples},
};
use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, time::Duration};

/// Examples named of each mistake.
const NAMED: usize = 20;
/// Lines of the course over time.
const LINES: usize = 15;

pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) rate: u64,
    /// From the first event to the last confirm.
    pub(crate) loaded: Duration,
    /// The quiet phase came to its end.
    pub(crate) settled: bool,
    pub(crate) repeats: u64,
    pub(crate) counters: Vec<(&'static str, f64)>,
    pub(crate) samples: Samples,
    /// How often each fault happened.
    pub(crate) thrown: BTreeMap<String, u64>,
    pub(crate) judged: Judged,
    pub(crate) node: Arc<Node>,
}

impl Report {
    pub(crate) fn passed(&self) -> bool {
        self.verdicts().iter().all(|(_, held)| *held)
    }

    fn verdicts(&self) -> Vec<(String, bool)> {
        let Judged { lost, wrong, .. } = &self.judged;
        let dropped = self.counters.iter().any(|(series, value)| series.contains("dropped") && *value > 0.0);
        let mut verdicts = vec![
            (format!("{} events lost", lost.len()), lost.is_empty()),
            (format!("{} events twice, changed, misplaced or dead without need", wrong.len()), wrong.is_empty()),
            ("every queue empty and nothing in flight after the quiet phase".to_owned(), self.settled),
            ("no delivery dropped without a verdict".to_owned(), !dropped),
        ];
        match self.samples.courses() {
            None => verdicts.push(("too few samples to judge memory and descriptors".to_owned(), false)),
            Some(courses) => verdicts.extend(courses.map(|Course { words, is_flat }| (words, is_flat))),
        }
        verdicts
    }

    pub(crate) fn text(&self) -> String {
        let Judged { published, delivered, exhausted, both, dead_twice, by_the_broker, lost, wrong } = &self.judged;
        let seconds = self.loaded.as_secs_f64();
        let mut text = format!(
            "soak: {}\n\n\
             seed           {}\n\
             RabbitMQ       {}\n\
             load           {published} events in {seconds:.0} s, {:.0} a second of {} asked for\n\
             delivered      {delivered}\n\
             exhausted      {exhausted} in the dead-letter queue alone, after five attempts each\n\
             both           {both} in the dead-letter queue and stored by Svix, which took a call that it never answered\n\
             dead again     {dead_twice} further copies in the dead-letter queue\n\
             by the broker  {by_the_broker} in the dead-letter queue past the delivery limit\n\
             repeats        {} calls answered 409\n\n",
            if self.passed() { "passed" } else { "FAILED" },
            self.seed,
            self.node.version,
            *published as f64 / seconds,
            self.rate,
            self.repeats,
        );
        for (verdict, held) in self.verdicts() {
            let _infallible = writeln!(text, "{}  {verdict}", if held { "ok    " } else { "FAILED" });
        }
        text.push_str("\nfaults\n");
        for (fault, times) in &self.thrown {
            let _infallible = writeln!(text, "{times:6}  {fault}");
        }
        text.push_str("\nthe steady hookbro's counters\n");
        for (series, value) in &self.counters {
            let _infallible = writeln!(text, "{value:8}  {series}");
        }
        text.push_str("\nthe steady hookbro over time\n     s   MiB  descriptors\n");
        let every = self.samples.taken.len().div_ceil(LINES).max(1);
        for sample in self.samples.taken.iter().step_by(every).chain(&self.samples.last) {
            let [memory, descriptors] = sample.levels;
            let _infallible = writeln!(text, "{:6} {memory:5.0} {descriptors:12}", sample.at.as_secs());
        }
        for number in lost.iter().take(NAMED) {
            let _infallible = writeln!(text, "lost: {}", crate::load::id(*number));
        }
        for what in wrong.iter().take(NAMED) {
            let _infallible = writeln!(text, "wrong: {what}");
        }
        text
    }
}
