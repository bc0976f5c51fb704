//! How a command names a project.

use crate::event::ProjectId;

/// A project's id, so that clap can name the argument that has none.
pub(super) fn project(text: &str) -> Result<ProjectId, String> {
    ProjectId::try_new(text.to_owned()).map_err(|error| format!("not a project id: it {error}"))
}
