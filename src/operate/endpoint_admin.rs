//! What operators ask of Svix about a project's endpoints: what there are, a test, a message again, what failed again, a link.

use crate::event::{EndpointId, EventId, EventType, ProjectId};
use jiff::Timestamp;
use serde::Serialize;

/// Where the open-source server sends everybody who asks for a portal link.
pub const NO_PORTAL: &str = "https://docs.svix.com/app-portal/oss";
/// The event type that every Svix has an example of.
pub const PING: &str = "svix.ping";

/// Where a project's messages are delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    pub id: String,
    pub url: String,
    pub disabled: bool,
    /// The event types that it wants; `None`: all.
    pub event_types: Option<Vec<String>>,
}

/// Why Svix did not do as it was asked. One line in hookbro's words; no secret, no body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointAdminError {
    /// What it is about is not there.
    #[error("{0}")]
    Missing(String),
    /// The settings give no way in; it was not asked.
    #[error("{0}")]
    Access(String),
    /// It never will, asked like this.
    #[error("{0}")]
    Refused(String),
    /// It may, asked again.
    #[error("{0}")]
    Away(String),
}

/// Whoever can ask Svix. Each answer is bounded in time; nothing is repeated that may have taken effect.
pub trait EndpointAdmin: Send + Sync + 'static {
    fn endpoints(&self, project: &ProjectId) -> impl Future<Output = Result<Vec<Endpoint>, EndpointAdminError>> + Send;

    /// Sends an example of an event type to one endpoint; answers the message's id.
    fn test(
        &self,
        project: &ProjectId,
        endpoint: &EndpointId,
        kind: &EventType,
    ) -> impl Future<Output = Result<String, EndpointAdminError>> + Send;

    /// Has everything delivered again that failed at an endpoint since then; answers the id of the task.
    fn recover(
        &self,
        project: &ProjectId,
        endpoint: &EndpointId,
        since: Timestamp,
    ) -> impl Future<Output = Result<String, EndpointAdminError>> + Send;

    /// Has one message delivered again, once, to one endpoint.
    fn resend(
        &self,
        project: &ProjectId,
        event: &EventId,
        endpoint: &EndpointId,
    ) -> impl Future<Output = Result<(), EndpointAdminError>> + Send;

    /// A link that logs its bearer into the customer portal: a secret.
    fn portal(&self, project: &ProjectId) -> impl Future<Output = Result<String, EndpointAdminError>> + Send;
}
