//! How the deliveries of each project ended. Only projects that the configuration lists have series of their own, so the
//! labels are bounded; the others share one.

use super::metrics::Metrics;
use crate::event::{ProjectId, Verdict};
use prometheus::IntCounter;
use std::collections::HashMap;

/// The label of what no listed project can be charged with, events without a readable project included.
const OTHER: &str = "other";

/// One counter for each of [`Verdict::OUTCOMES`], in that order.
type Outcomes = [IntCounter; Verdict::OUTCOMES.len()];

#[derive(Debug)]
pub struct ProjectCounts {
    listed: HashMap<ProjectId, Outcomes>,
    other: Outcomes,
}

impl ProjectCounts {
    /// Shows every series from the start: an alert on a rate must not wait for the first event of its kind.
    pub fn new(projects: impl IntoIterator<Item = ProjectId>, metrics: &Metrics) -> Self {
        let outcomes = |project: &str| {
            Verdict::OUTCOMES.map(|outcome| metrics.project_events_settled.with_label_values(&[project, outcome]))
        };
        let listed = projects.into_iter().map(|project| (project.clone(), outcomes(project.as_str()))).collect();
        Self { listed, other: outcomes(OTHER) }
    }

    /// Counts a verdict that has reached the broker.
    pub fn settled(&self, project: Option<&ProjectId>, verdict: &Verdict) {
        let outcomes = project.and_then(|project| self.listed.get(project)).unwrap_or(&self.other);
        if let Some(nth) = Verdict::OUTCOMES.iter().position(|outcome| *outcome == verdict.outcome()) {
            outcomes[nth].inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_projects_have_series_of_their_own_and_all_others_share_one() {
        let metrics = Metrics::new().unwrap();
        let [gigs, dev] = ["gigs", "dev"].map(|id| ProjectId::try_new(id).unwrap());
        let counts = ProjectCounts::new([gigs.clone()], &metrics);
        counts.settled(Some(&gigs), &Verdict::Delivered);
        counts.settled(Some(&dev), &Verdict::Duplicate);
        counts.settled(None, &Verdict::Duplicate);
        let text = metrics.text().unwrap();
        for line in ["gigs\"} 1", "gigs\"} 0", "other\"} 2"] {
            assert!(text.contains(&format!("project=\"{line}")), "{line}\n{text}");
        }
        assert!(!text.contains("project=\"dev\""));
    }
}
