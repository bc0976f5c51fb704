//! Which Svix application an event goes to.

use crate::event::{AppId, ProjectId};
use std::collections::HashMap;

/// Where an event goes, and whether an operator chose that.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Destination {
    /// `routing.apps` names it; if it is missing, that is the operator's to mend, and never provisioned.
    Mapped(AppId),
    /// The application under the project's own id; provisioned when missing.
    OfProject(AppId),
}

impl Destination {
    pub fn app(&self) -> &AppId {
        match self {
            Self::Mapped(app) | Self::OfProject(app) => app,
        }
    }
}

/// `routing.unknown_project`: what a missing application of an unmapped project means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownProject {
    /// A new project: create its application.
    Provision,
    /// A mistake: the event is dead, `unroutable`.
    DeadLetter,
}

/// `routing.apps`: the projects whose application is not simply called like them.
#[derive(Debug, Clone, Default)]
pub struct Routes(HashMap<ProjectId, AppId>);

impl Routes {
    pub fn new(mapped: impl IntoIterator<Item = (ProjectId, AppId)>) -> Self {
        Self(mapped.into_iter().collect())
    }

    pub fn destination(&self, project: &ProjectId) -> Destination {
        match self.0.get(project) {
            Some(app) => Destination::Mapped(app.clone()),
            None => Destination::OfProject(AppId::from(project)),
        }
    }

    /// Every entry, in no particular order.
    pub fn mapped(&self) -> impl Iterator<Item = (&ProjectId, &AppId)> {
        self.0.iter()
    }

    pub fn projects(&self) -> impl Iterator<Item = &ProjectId> {
        self.0.keys()
    }
}
