//! What stands before a session: the topology, declared on its connection, as far as the session needs it.

use crate::{
    pipeline::source::Occasion,
    sources::rabbitmq::{
        connect::{ConnectError, Connector, is_of_a_channel},
        topology::{
            Topology,
            changeover::{ApplyError, Stranded, apply},
            declare::{DeclareError, queue_object},
        },
    },
};
use lapin::Connection;
use std::time::Duration;

/// Declaring a full ladder takes a fraction of a second; a broker that is forming its cluster may take many.
pub(super) const OPEN_TIMEOUT: Duration = Duration::from_secs(60);

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("cannot open a channel: {0}")]
    Channel(lapin::Error),
    #[error("the broker did not declare everything within {OPEN_TIMEOUT:?}")]
    Silent,
}

/// Applies the topology. A retry queue that the broker refuses is left out: consuming fails as well, and then it is tried again
/// alone.
pub(super) async fn apply_without_spare(
    connector: &Connector,
    connection: &Connection,
    topology: &Topology,
    occasion: Occasion,
) -> Result<Vec<Stranded>, ApplyError> {
    let mut rest = topology.clone();
    loop {
        let refused = match apply(connector, connection, &rest, occasion).await {
            Err(ApplyError::Declare(DeclareError::Refused { object, source })) => (object, source),
            other => return other,
        };
        let (object, source) = refused;
        // Each round leaves out one more.
        let spare = rest.spare().find(|queue| object == queue_object(queue)).map(str::to_owned);
        match spare {
            Some(queue) if is_of_a_channel(&source) => {
                tracing::warn!(queue, error = %source, "retry queue cannot be declared; the others are");
                rest = rest.without(&queue);
            }
            _ => return Err(DeclareError::Refused { object, source }.into()),
        }
    }
}
