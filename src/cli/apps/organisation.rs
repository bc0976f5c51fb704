//! What every `hookbro apps` command works with: the organisation, its applications as rows, and audited changes.

use crate::{
    cli::{
        audit::{self, AuditArgs, CommandAudit},
        exit::Failure,
    },
    config::Settings,
    event::ProjectId,
    operate::{
        audit::Change,
        change::{Made, change},
    },
    sinks::svix::{AdminError, Application, Destination, Origin, Routes, SvixAdmin, projects_of},
    store,
};
use std::sync::Arc;

/// Calls to Svix at once: a Svix server was recorded to gain nothing beyond sixteen, and its plans limit calls.
pub(super) const CALLS: usize = 8;

/// The organisation that svix.token belongs to, and how projects are routed there.
pub(super) struct Organisation {
    pub svix: Arc<SvixAdmin>,
    pub routes: Routes,
    pub journal: store::Settings,
}

/// What is changed at Svix, one audited change after another.
pub(super) struct Changes<'o> {
    pub organisation: &'o Organisation,
    pub audit: Arc<CommandAudit>,
}

impl Changes<'_> {
    /// Makes one change; `make` answers what it came to, and that in one line.
    pub async fn make<T: Send + 'static, F>(
        &self,
        asked: Asked,
        make: impl FnOnce(Arc<SvixAdmin>) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<(T, String), AdminError>> + Send + 'static,
    {
        let Asked { action, project, target, detail } = asked;
        let asked = Change { actor: audit::actor(), action, project, target: Some(target), detail };
        let made = make(Arc::clone(&self.organisation.svix));
        let made = async move { made.await.map(|(value, summary)| Made { value, summary }) };
        change(&self.audit, asked, made).await.map_err(|error| audit::not_made(error, Failure::from))
    }
}

/// A change as the audit has it.
pub(super) struct Asked {
    pub action: &'static str,
    pub project: Option<String>,
    pub target: String,
    pub detail: Option<String>,
}

impl Organisation {
    pub fn new(settings: &Settings) -> Result<Self, Failure> {
        let svix = SvixAdmin::new(&settings.svix).map_err(|error| Failure::Configuration(error.to_string()))?;
        let (routes, journal) = (settings.routing.routes.clone(), settings.journal.clone());
        Ok(Self { svix: Arc::new(svix), routes, journal })
    }

    /// Opens the audit for what is to be changed.
    pub async fn changes(&self, audit: &AuditArgs) -> Result<Changes<'_>, Failure> {
        Ok(Changes { organisation: self, audit: audit.open(&self.journal).await? })
    }

    /// An application with what the settings say about it.
    pub fn row(&self, application: Application) -> Row {
        Row {
            projects: projects_of(&application, &self.routes),
            origin: Origin::of(&application, &self.routes),
            application,
        }
    }

    /// The application that events of `project` go to, if it is there.
    pub async fn find(&self, project: &ProjectId) -> Result<(Destination, Option<Row>), Failure> {
        let to = self.routes.destination(project);
        let found = self.svix.application(to.app()).await?;
        Ok((to, found.map(|application| self.row(application))))
    }
}

/// An application, and whose it is.
pub(super) struct Row {
    pub application: Application,
    pub projects: Vec<ProjectId>,
    pub origin: Origin,
}

impl Row {
    pub fn projects(&self) -> String {
        let names: Vec<_> = self.projects.iter().map(ProjectId::as_str).collect();
        if names.is_empty() { "-".to_owned() } else { names.join(",") }
    }

    /// Its uid, or its id if it has none.
    pub fn name(&self) -> &str {
        self.application.uid.as_deref().unwrap_or(self.application.id.as_str())
    }
}

/// The origins of [`Origin`] as words of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum OriginArg {
    /// Named by `routing.apps`.
    Mapped,
    /// Created and marked by hookbro.
    Created,
    /// Unmarked, and named like a project: perhaps created by hookbro before it marked its own.
    Likely,
    /// None of these.
    Other,
}

impl OriginArg {
    pub fn admits(wanted: &[Self], origin: Origin) -> bool {
        wanted.is_empty()
            || wanted.contains(&match origin {
                Origin::Mapped => Self::Mapped,
                Origin::Created => Self::Created,
                Origin::Likely => Self::Likely,
                Origin::Other => Self::Other,
            })
    }
}
