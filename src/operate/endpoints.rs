//! A project's endpoints as operators work on them, whatever they work with. Each change is written down; a link to the portal
//! is a secret, so that only that it was asked for is.

use super::change::{Made, NotMade, change};
use crate::{
    event::{EndpointId, EventId, EventType, ProjectId},
    operate::{
        audit::{Actor, Audit, Change},
        endpoint_admin::{Endpoint, EndpointAdmin, EndpointAdminError},
    },
};
use jiff::Timestamp;
use std::sync::Arc;

/// Where endpoints are dealt with.
#[derive(Debug)]
pub struct Operations<H, A> {
    admin: Arc<H>,
    audit: Arc<A>,
}

/// A change that Svix makes.
#[derive(Debug, Clone)]
pub enum Order {
    Test { endpoint: EndpointId, kind: EventType },
    Recover { endpoint: EndpointId, since: Timestamp },
    Resend { event: EventId, endpoint: EndpointId },
    Portal,
}

/// What there is to tell of it: Svix's id of what it made, nothing, or the link.
pub type Answer = Option<String>;

impl Order {
    fn described(&self) -> (&'static str, Option<String>, Option<String>) {
        match self {
            Self::Test { endpoint, kind } => {
                ("endpoint.test", Some(endpoint.to_string()), Some(format!("type {kind}")))
            }
            Self::Recover { endpoint, since } => {
                ("endpoint.recover", Some(endpoint.to_string()), Some(format!("since {since}")))
            }
            Self::Resend { event, endpoint } => {
                ("event.resend", Some(event.to_string()), Some(format!("endpoint {endpoint}")))
            }
            Self::Portal => ("portal.link", None, None),
        }
    }

    async fn make(&self, admin: &impl EndpointAdmin, project: &ProjectId) -> Result<Made<Answer>, EndpointAdminError> {
        let made = |value, summary: String| Ok(Made { value, summary });
        match self {
            Self::Test { endpoint, kind } => {
                let id = admin.test(project, endpoint, kind).await?;
                made(Some(id.clone()), format!("message {id}"))
            }
            Self::Recover { endpoint, since } => {
                let id = admin.recover(project, endpoint, *since).await?;
                made(Some(id.clone()), format!("task {id}"))
            }
            Self::Resend { event, endpoint } => {
                admin.resend(project, event, endpoint).await?;
                made(None, "resent".to_owned())
            }
            Self::Portal => made(Some(admin.portal(project).await?), "a link was given".to_owned()),
        }
    }
}

impl<H: EndpointAdmin, A: Audit> Operations<H, A> {
    pub fn new(admin: H, audit: Arc<A>) -> Self {
        Self { admin: Arc::new(admin), audit }
    }

    pub async fn endpoints(&self, project: &ProjectId) -> Result<Vec<Endpoint>, EndpointAdminError> {
        self.admin.endpoints(project).await
    }

    pub async fn order(
        &self,
        actor: Actor,
        project: &ProjectId,
        order: Order,
    ) -> Result<Answer, NotMade<EndpointAdminError>> {
        let (action, target, detail) = order.described();
        let asked = Change { actor, action, project: Some(project.to_string()), target, detail };
        let (admin, project) = (Arc::clone(&self.admin), project.clone());
        change(&self.audit, asked, async move { order.make(&*admin, &project).await }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operate::{audit::Identity, change::tests::Fake};

    /// A Svix with one link, which refuses everything else.
    struct OnlyLinks;

    fn none<T>() -> Result<T, EndpointAdminError> {
        Err(EndpointAdminError::Missing("Svix has no such project or endpoint".to_owned()))
    }

    impl EndpointAdmin for OnlyLinks {
        async fn endpoints(&self, _: &ProjectId) -> Result<Vec<Endpoint>, EndpointAdminError> {
            none()
        }

        async fn test(&self, _: &ProjectId, _: &EndpointId, _: &EventType) -> Result<String, EndpointAdminError> {
            none()
        }

        async fn recover(&self, _: &ProjectId, _: &EndpointId, _: Timestamp) -> Result<String, EndpointAdminError> {
            none()
        }

        async fn resend(&self, _: &ProjectId, _: &EventId, _: &EndpointId) -> Result<(), EndpointAdminError> {
            none()
        }

        async fn portal(&self, project: &ProjectId) -> Result<String, EndpointAdminError> {
            Ok(format!("https://portal.example/{project}#key=hunter2"))
        }
    }

    #[tokio::test]
    async fn a_link_is_given_and_never_written_down_and_refusals_are() {
        let audit = Arc::new(Fake::default());
        let operations = Operations::new(OnlyLinks, Arc::clone(&audit));
        let project = ProjectId::try_new("gigs").unwrap();
        let local = || Actor::new(Identity::Local);
        let link = operations.order(local(), &project, Order::Portal).await.unwrap().unwrap();
        assert!(link.contains("hunter2"));
        let (endpoint, since) = (EndpointId::try_new("ep_1").unwrap(), Timestamp::now());
        assert!(operations.order(local(), &project, Order::Recover { endpoint, since }).await.is_err());
        let rows = audit.rows();
        assert!(rows.iter().all(|row| !row.contains("hunter2")), "{rows:?}");
        let refused = "3 failed: Svix has no such project or endpoint";
        assert_eq!(rows, ["local portal.link", "1 done: a link was given", "local endpoint.recover", refused]);
    }
}
