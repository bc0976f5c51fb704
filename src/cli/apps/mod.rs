//! `hookbro apps`: the Svix applications that events go to. What deletes something only says what it would do, until
//! it is confirmed.

mod delete;
mod list;
mod portal;
mod provision;

use super::{
    audit::{self, AuditArgs, CommandAudit},
    exit::{Failure, runtime},
};
use crate::{
    config::Settings,
    event::ProjectId,
    observe as telemetry,
    operate::{
        audit::Change,
        change::{Made, change},
    },
    pipeline::route::{Destination, Routes},
    sinks::svix::{Application, ManageError, Management, Origin, projects_of},
    store,
};
use std::{io::IsTerminal as _, sync::Arc};

/// Calls to Svix at once: a Svix server was recorded to gain nothing beyond sixteen, and its plans limit calls.
const CALLS: usize = 8;

#[derive(Debug, clap::Args)]
pub(super) struct AppsArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List the organisation's applications: which projects come to them, their endpoints, and who made them.
    List(list::ListArgs),
    /// Make the applications of projects before their first event, with an endpoint if one is given. Twice is once.
    Provision(provision::ProvisionArgs),
    /// Delete applications with their endpoints and messages.
    Delete(delete::DeleteArgs),
    /// Print a link that logs its bearer into Svix's own customer portal of a project. Treat it as a secret.
    Portal(portal::PortalArgs),
}

/// Svix, and where projects go there.
struct Place {
    svix: Arc<Management>,
    routes: Routes,
    journal: store::Settings,
}

/// What is changed at Svix, one audited change after another.
struct Changes<'p> {
    place: &'p Place,
    audit: Arc<CommandAudit>,
}

impl Changes<'_> {
    /// Makes one change; `make` answers what it came to, and that in one line.
    async fn make<T: Send + 'static, F>(
        &self,
        asked: Asked,
        make: impl FnOnce(Arc<Management>) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<(T, String), ManageError>> + Send + 'static,
    {
        let Asked { action, project, target, detail } = asked;
        let asked = Change { actor: audit::actor(), action, project, target: Some(target), detail };
        let made = make(Arc::clone(&self.place.svix));
        let made = async move { made.await.map(|(value, summary)| Made { value, summary }) };
        change(&self.audit, asked, made).await.map_err(|error| audit::not_made(error, Failure::from))
    }
}

/// A change as the audit has it.
struct Asked {
    action: &'static str,
    project: Option<String>,
    target: String,
    detail: Option<String>,
}

impl Place {
    /// Opens the audit for what is to be changed.
    async fn changes(&self, audit: &AuditArgs) -> Result<Changes<'_>, Failure> {
        Ok(Changes { place: self, audit: audit.open(&self.journal).await? })
    }

    /// An application with what the settings say about it.
    fn row(&self, application: Application) -> Row {
        Row {
            projects: projects_of(&application, &self.routes),
            origin: Origin::of(&application, &self.routes),
            application,
        }
    }

    /// The application that events of `project` go to, if it is there.
    async fn find(&self, project: &ProjectId) -> Result<(Destination, Option<Row>), Failure> {
        let to = self.routes.destination(project);
        let found = self.svix.application(to.app()).await?;
        Ok((to, found.map(|application| self.row(application))))
    }
}

/// An application, and whose it is.
struct Row {
    application: Application,
    projects: Vec<ProjectId>,
    origin: Origin,
}

impl Row {
    fn projects(&self) -> String {
        let names: Vec<_> = self.projects.iter().map(ProjectId::as_str).collect();
        if names.is_empty() { "-".to_owned() } else { names.join(",") }
    }

    /// Its uid, or its id if it has none.
    fn name(&self) -> &str {
        self.application.uid.as_deref().unwrap_or(self.application.id.as_str())
    }
}

/// The origins of [`Origin`] as words of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum OriginArg {
    /// Named by `routing.apps`.
    Mapped,
    /// Marked by hookbro as made by it.
    Created,
    /// Unmarked, and called like a project: perhaps made by hookbro before it marked its own.
    Likely,
    /// None of these.
    Other,
}

impl OriginArg {
    fn admits(wanted: &[Self], origin: Origin) -> bool {
        wanted.is_empty()
            || wanted.contains(&match origin {
                Origin::Mapped => Self::Mapped,
                Origin::Created => Self::Created,
                Origin::Likely => Self::Likely,
                Origin::Other => Self::Other,
            })
    }
}

fn project(text: &str) -> Result<ProjectId, String> {
    ProjectId::try_new(text.to_owned()).map_err(|error| format!("no project is called so: it {error}"))
}

pub(super) fn run(args: AppsArgs, settings: Settings) -> Result<(), Failure> {
    telemetry::init(settings.log.format, &settings.log.level, std::io::stderr().is_terminal())?;
    let svix = Management::new(&settings.svix).map_err(|error| Failure::Configuration(error.to_string()))?;
    let place = Place { svix: Arc::new(svix), routes: settings.routing.routes, journal: settings.journal };
    let svix = settings.svix;
    runtime()?.block_on(async {
        tokio::spawn(settings.secret_files.watch());
        match args.action {
            Action::List(args) => list::list(&args, &place).await,
            Action::Provision(args) => provision::provision(&args, &place).await,
            Action::Delete(args) => delete::delete(&args, &place).await,
            Action::Portal(args) => portal::portal(&args, &place, &svix).await,
        }
    })
}
