//! From the figures of all repetitions to medians, ratios, verdicts, the table and `results.json`.

use crate::drain::Figures;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// A ratio may miss its goal by so much before the run fails: machines are noisy, regressions are larger.
const TOLERANCE: f64 = 0.15;

/// Median, smallest and largest of the repetitions.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = match (values.get(middle), values.len() % 2) {
            (Some(upper), 0) => f64::midpoint(values[middle - 1], *upper),
            (Some(middle), _) => *middle,
            (None, _) => f64::NAN,
        };
        let end = |value: Option<&f64>| value.copied().unwrap_or(f64::NAN);
        Self { median, min: end(values.first()), max: end(values.last()) }
    }

    fn show(self, digits: usize) -> String {
        format!("{:.digits$} ({:.digits$}–{:.digits$})", self.median, self.min, self.max)
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.show(2))
    }
}

/// One line of the table.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) repetitions: Vec<Figures>,
}

impl Row {
    pub(crate) fn spread(&self, figure: impl Fn(&Figures) -> f64) -> Spread {
        Spread::of(self.repetitions.iter().map(figure))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    AtMost,
    AtLeast,
}

/// A ratio and what it should be.
#[derive(Debug, Serialize)]
pub(crate) struct Ratio {
    pub(crate) name: &'static str,
    pub(crate) measured: Spread,
    pub(crate) bound: Bound,
    pub(crate) goal: f64,
    /// Whether a run fails over it.
    pub(crate) gated: bool,
}

impl Ratio {
    pub(crate) fn met(&self) -> bool {
        self.within(0.0)
    }

    /// Whether it misses by more than noise explains.
    pub(crate) fn regressed(&self) -> bool {
        self.gated && !self.within(TOLERANCE)
    }

    fn within(&self, tolerance: f64) -> bool {
        match self.bound {
            Bound::AtMost => self.measured.median <= self.goal * (1.0 + tolerance),
            Bound::AtLeast => self.measured.median >= self.goal * (1.0 - tolerance),
        }
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.bound {
            Bound::AtMost => "≤",
            Bound::AtLeast => "≥",
        };
        let verdict = if self.met() { "met" } else { "MISSED" };
        write!(f, "| {} | {} | {sign} {} | {verdict} |", self.name, self.measured, self.goal)
    }
}

#[expect(clippy::cast_precision_loss, reason = "KiB of a process")]
pub(crate) fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

pub(crate) fn table(rows: &[Row], ratios: &[Ratio], single: &BTreeMap<String, serde_json::Value>) -> String {
    let mut text =
        String::from("| | events/s | CPU µs/event | broker CPU µs/event | peak RSS MiB |\n|---|---|---|---|---|\n");
    for row in rows {
        let _infallible = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            row.name,
            row.spread(|f| f.events_per_s).show(0),
            row.spread(|f| f.cpu_us).show(1),
            row.spread(|f| f.broker_cpu_us).show(1),
            row.spread(|f| mib(f.peak_rss_kib)).show(1),
        );
    }
    text.push_str("\n| ratio | measured | goal | |\n|---|---|---|---|\n");
    for ratio in ratios {
        let _infallible = writeln!(text, "{ratio}");
    }
    if !single.is_empty() {
        text.push_str("\n| | |\n|---|---|\n");
        for (name, value) in single {
            let _infallible = writeln!(text, "| {name} | {} |", plain(value));
        }
    }
    text
}

fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Number(number) => {
            let number = number.as_f64().unwrap_or_default();
            if number.abs() < 100.0 { format!("{number:.2}") } else { format!("{number:.0}") }
        }
        serde_json::Value::Object(object) => {
            object.iter().map(|(key, value)| format!("{key} {}", plain(value))).collect::<Vec<_>>().join(", ")
        }
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
