//! Word from those who park events to those who take them out again. Bounded by the projects that have a lot.

use crate::event::ProjectId;
use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// Where an event that was parked is announced to the workers.
#[derive(Debug, Default)]
pub struct Announcements {
    projects: Mutex<BTreeSet<ProjectId>>,
    more: Notify,
}

impl Announcements {
    /// An event of `project` is parked now.
    pub fn parked(&self, project: &ProjectId) {
        let mut projects = self.lock();
        if !projects.contains(project) {
            projects.insert(project.detached());
            self.more.notify_one();
        }
    }

    /// Waits until something was announced.
    pub async fn next(&self) {
        self.more.notified().await;
    }

    /// The projects announced since the last call.
    pub fn take(&self) -> BTreeSet<ProjectId> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<ProjectId>> {
        self.projects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
