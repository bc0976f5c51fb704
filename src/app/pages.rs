//! What is served at `admin.listen`, put together from what each group of pages needs.

use super::error::AppError;
use crate::operate::{
    dead_letters::{self, Bounds},
    endpoints, parked, project_pauses,
};
use crate::{
    config::Settings,
    http,
    observe::{health::Health, metrics::Metrics},
    pipeline::pauses::Pauses,
    process::state::state_folder,
    sinks::svix::{SvixEndpointAdmin, SvixView},
    sources::rabbitmq::{DeadLetterQueue, ParkedEventQueues, PauseRecord, Topology},
    store::{AuditLog, Reader},
};
use axum::Router;
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Longest wait for a change that is under way when the process ends: it has confirms to wait for.
const OPERATIONS_GRACE: Duration = Duration::from_secs(2);

/// What is under way behind the pages, and has to end before the process does.
pub(super) struct Operating {
    dead: Arc<dead_letters::Operations<DeadLetterQueue, AuditLog>>,
}

impl Operating {
    /// The pages beside it. What changes many things ends early once `stop` comes.
    pub fn open(
        settings: &Settings,
        reader: Reader,
        pauses: &Arc<Pauses<PauseRecord>>,
        metrics: &Arc<Metrics>,
        health: &Arc<Health>,
        stop: CancellationToken,
    ) -> Result<(Self, Router), AppError> {
        let routes = &settings.routing.routes;
        let view = SvixView::new(&settings.svix, routes).map_err(|error| AppError::Configuration(error.to_string()))?;
        let topology = Topology::new(&settings.broker);
        let queues: Vec<_> = topology.queues.iter().map(|queue| &queue.name).collect();
        let ops = http::Ops {
            metrics: Arc::clone(metrics),
            health: Arc::clone(health),
            topology: json!({"exchange": topology.topic_exchange, "queues": queues}),
            queues: http::Queues {
                consumed: topology.rungs.iter().map(|rung| rung.queue.clone()).collect(),
                dead: topology.dead().to_owned(),
            },
        };
        let tokens = &settings.admin.tokens;
        let audit = Arc::new(AuditLog::beside(&reader));
        let parked = ParkedEventQueues::new(settings.broker.access.clone(), topology.clone(), stop.clone());
        let parked = Arc::new(parked::Operations::new(parked, Arc::clone(&audit)));
        let dead = DeadLetterQueue::new(
            settings.broker.access.clone(),
            topology,
            state_folder(),
            Bounds::BESIDE_DELIVERIES,
            Some(Arc::clone(health)),
            stop,
        );
        let operations = Arc::new(dead_letters::Operations::new(dead, Arc::clone(&audit), settings.redaction.clone()));
        let endpoints = SvixEndpointAdmin::new(&settings.svix, routes);
        let endpoints = Arc::new(endpoints::Operations::new(endpoints, Arc::clone(&audit)));
        let api = Arc::new(http::Api {
            tokens: tokens.clone(),
            timeline: reader,
            messages: view,
            board: Arc::clone(pauses.board()),
        });
        let pausing = Arc::new(project_pauses::Operations::new(Arc::clone(pauses), Arc::clone(&audit)));
        let forms = http::Forms::default();
        let router = http::router(ops.clone())
            .merge(http::audit_router(Arc::clone(&audit), tokens.clone()))
            .merge(http::pauses_router(Arc::clone(&pausing), tokens.clone()))
            .merge(http::pausing_router(http::Pausing {
                operations: pausing,
                tokens: tokens.clone(),
                forms: forms.clone(),
            }))
            .merge(http::endpoints_router(Arc::clone(&endpoints), tokens.clone()))
            .merge(http::endpoint_pages_router(http::Endpoints {
                operations: endpoints,
                tokens: tokens.clone(),
                forms: forms.clone(),
            }))
            .merge(http::parked_router(Arc::clone(&parked), tokens.clone()))
            .merge(http::parked_pages_router(http::ParkedPages {
                operations: parked,
                tokens: tokens.clone(),
                forms: forms.clone(),
            }))
            .merge(http::dead_router(Arc::clone(&operations), tokens.clone()))
            .merge(http::api_router(Arc::clone(&api)))
            .merge(http::console_router(http::Console::new(api, ops, forms.clone())))
            .merge(http::changes_router(http::Changes {
                operations: Arc::clone(&operations),
                audit,
                tokens: tokens.clone(),
                forms: forms.clone(),
            }));
        Ok((Self { dead: operations }, router))
    }

    /// Waits for what is under way to end early.
    pub async fn close(self) {
        if tokio::time::timeout(OPERATIONS_GRACE, self.dead.idle()).await.is_err() {
            tracing::warn!("operation on dead letters did not end in time; the broker takes its messages back");
        }
    }
}
