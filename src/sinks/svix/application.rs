//! Svix applications as operators see them: which projects come to one, and whether hookbro made it.

use super::route::{AppId, Destination, Routes};
use crate::event::ProjectId;

/// Metadata of every application that hookbro makes, so that it can be distinguished from others later.
pub const MARK: (&str, &str) = ("created-by", "hookbro");

/// An application as it is in Svix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// Svix's own id, `app_…`.
    pub id: AppId,
    /// The name that its creator gave it, by which projects find it.
    pub uid: Option<String>,
    pub name: String,
    /// RFC 3339, as Svix writes it.
    pub created_at: Option<String>,
    /// Whether it bears [`MARK`].
    pub marked: bool,
}

/// How an application came to take events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// `routing.apps` names it: its operator's.
    Mapped,
    /// It bears hookbro's mark.
    Created,
    /// A guess: it bears no mark, and its name is its uid, as in all that hookbro made before there was a mark. Others may
    /// do the same.
    Likely,
    /// Made by somebody else.
    Other,
}

impl Origin {
    pub const ALL: [Self; 4] = [Self::Mapped, Self::Created, Self::Likely, Self::Other];

    pub fn of(application: &Application, routes: &Routes) -> Self {
        let uid = application.uid.as_deref();
        if routes.mapped().any(|(_, app)| is_named(application, app)) {
            Self::Mapped
        } else if application.marked {
            Self::Created
        } else if uid == Some(application.name.as_str()) && uid.is_some_and(|uid| own_project(uid, routes).is_some()) {
            Self::Likely
        } else {
            Self::Other
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mapped => "mapped",
            Self::Created => "created",
            Self::Likely => "likely",
            Self::Other => "other",
        }
    }
}

/// The projects whose events come to `application`, in order.
pub fn projects_of(application: &Application, routes: &Routes) -> Vec<ProjectId> {
    let mapped = routes.mapped().filter(|(_, app)| is_named(application, app)).map(|(project, _)| project.clone());
    let own = application.uid.as_deref().and_then(|uid| own_project(uid, routes));
    let mut projects: Vec<_> = mapped.chain(own).collect();
    projects.sort();
    projects.dedup();
    projects
}

/// The project that is called like the application, unless its events are sent elsewhere.
fn own_project(uid: &str, routes: &Routes) -> Option<ProjectId> {
    let project = ProjectId::try_new(uid.to_owned()).ok()?;
    matches!(routes.destination(&project), Destination::OfProject(_)).then_some(project)
}

/// `routing.apps` may name a uid as well as an id.
fn is_named(application: &Application, app: &AppId) -> bool {
    application.id == *app || application.uid.as_deref() == Some(app.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn application(uid: Option<&str>, name: &str, marked: bool) -> Application {
        let uid = uid.map(str::to_owned);
        Application { id: AppId::try_new("app_1").unwrap(), uid, name: name.to_owned(), created_at: None, marked }
    }

    fn routes(mapped: &[(&str, &str)]) -> Routes {
        let pair = |(project, app): &(&str, &str)| {
            (ProjectId::try_new((*project).to_owned()).unwrap(), AppId::try_new((*app).to_owned()).unwrap())
        };
        Routes::new(mapped.iter().map(pair))
    }

    #[test]
    fn whose_an_application_is_follows_from_the_map_then_the_mark_then_its_name() {
        let none = routes(&[]);
        for (application, routes, expected) in [
            (application(Some("gigs"), "gigs", true), &none, Origin::Created),
            (application(Some("gigs"), "gigs", false), &none, Origin::Likely),
            (application(Some("gigs"), "Customer of ours", false), &none, Origin::Other),
            (application(None, "gigs", false), &none, Origin::Other),
            (application(Some(".."), "..", false), &none, Origin::Other),
            (application(Some("gigs"), "gigs", true), &routes(&[("dev", "gigs")]), Origin::Mapped),
            (application(None, "x", false), &routes(&[("dev", "app_1")]), Origin::Mapped),
            (application(Some("dev"), "dev", false), &routes(&[("dev", "elsewhere")]), Origin::Other),
        ] {
            assert_eq!(Origin::of(&application, routes), expected, "{application:?}");
        }
    }

    #[test]
    fn projects_are_those_that_are_sent_there_and_the_one_of_its_own_name() {
        let names = |uid, mapped: &[(&str, &str)]| -> Vec<String> {
            projects_of(&application(uid, "n", false), &routes(mapped)).iter().map(ToString::to_string).collect()
        };
        assert_eq!(names(Some("gigs"), &[]), ["gigs"]);
        assert_eq!(names(Some("gigs"), &[("b", "gigs"), ("a", "app_1"), ("c", "d")]), ["a", "b", "gigs"]);
        assert_eq!(names(Some("gigs"), &[("gigs", "elsewhere")]), [""; 0]);
        assert_eq!(names(None, &[]), [""; 0]);
    }
}
