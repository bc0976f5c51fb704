//! The operations of a command, on the adapters that the settings name.

use crate::{
    config::Settings,
    operate::{
        audit::Audit,
        dead_letters::{self, Bounds},
        endpoints, parked,
    },
    sinks::svix::{self, Routes, SvixEndpointAdmin},
    sources::rabbitmq::{DeadLetterQueue, ParkedEventQueues, Topology},
    store::{self, AuditLog, Location, OpenError},
};
use std::{path::PathBuf, sync::Arc};
use tokio_util::sync::CancellationToken;

/// The audit of a command, in the configured store. [`None`]: it is off. The error comes with the store's name.
pub async fn audit_log(journal: &store::Settings) -> Result<Option<AuditLog>, (String, OpenError)> {
    let url = journal.url.current();
    match Location::of(&url) {
        Ok(Location::Off) => Ok(None),
        Ok(place) => AuditLog::open(&url).await.map(Some).map_err(|error| (place.to_string(), error)),
        Err(why) => Err(("at journal.url".to_owned(), OpenError::Url(why))),
    }
}

/// The dead letters of the configured queue, for a process that does nothing else. A change ends early once `stop` comes.
pub fn dead_letters<A: Audit>(
    settings: &Settings,
    audit: Arc<A>,
    stop: CancellationToken,
) -> Arc<dead_letters::Operations<DeadLetterQueue, A>> {
    let topology = Topology::new(&settings.broker);
    // Where the shell is, and not where a service keeps its state: whoever discards takes the file along.
    let folder = PathBuf::new();
    let dead = DeadLetterQueue::new(settings.broker.access.clone(), topology, folder, Bounds::ALONE, None, stop);
    Arc::new(dead_letters::Operations::new(dead, audit, settings.redaction.clone()))
}

/// The parked events of the configured queues, for a process that does nothing else. A change ends early once `stop` comes.
pub fn parked<A: Audit>(
    settings: &Settings,
    audit: Arc<A>,
    stop: CancellationToken,
) -> parked::Operations<ParkedEventQueues, A> {
    let topology = Topology::new(&settings.broker);
    parked::Operations::new(ParkedEventQueues::new(settings.broker.access.clone(), topology, stop), audit)
}

/// The endpoints of projects at Svix.
pub fn endpoints<A: Audit>(
    svix: &svix::Settings,
    routes: &Routes,
    audit: Arc<A>,
) -> endpoints::Operations<SvixEndpointAdmin, A> {
    endpoints::Operations::new(SvixEndpointAdmin::new(svix, routes), audit)
}
