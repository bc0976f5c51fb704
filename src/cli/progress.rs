//! The progress of a change of many events: drawn on a terminal, quiet in a pipe.

use crate::operate::progress::Progress;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// How often progress is drawn, where it is.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// Runs `work` to its end, with its progress on a terminal.
pub(super) async fn watched<T>(progress: &Progress, work: impl Future<Output = T>) -> T {
    let bar = bar();
    let mut draw = tokio::time::interval(DRAW_EVERY);
    tokio::pin!(work);
    loop {
        tokio::select! {
            made = &mut work => {
                bar.finish_and_clear();
                return made;
            }
            _ = draw.tick() => show(&bar, progress),
        }
    }
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} events, {per_sec}, {eta}");
    ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Nothing until it is known how many there are.
fn show(bar: &ProgressBar, progress: &Progress) {
    if progress.total() > 0 {
        bar.set_length(progress.total());
        bar.set_position(progress.examined());
    }
}
