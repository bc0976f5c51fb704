//! Which Svix application an event goes to.

use crate::event::{Ident, InvalidIdent, ProjectId, ident};
use bytes::Bytes;
use std::{collections::HashMap, fmt};

ident!(
    /// Uid or id of a Svix application, one path segment of its URL.
    AppId, .and_then(Ident::without_dot_segment)
);

impl From<&ProjectId> for AppId {
    /// The default route: one application per project, under the project's own id.
    fn from(project: &ProjectId) -> Self {
        Self(project.ident().clone())
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_is_named_by_uid_or_by_id() {
        assert!(AppId::try_new("app_2srOrx2ZWZBpBUvZwXKQmoEYga2").is_ok(), "routing.apps may name an id");
        assert_eq!(AppId::try_new("."), Err(InvalidIdent::DotSegment));
        let project = ProjectId::try_new("gigs").unwrap();
        assert_eq!(AppId::from(&project).as_str(), "gigs");
    }
}
