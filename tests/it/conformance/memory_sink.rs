//! A sink in memory: what it takes is there to look at, and each project's destination fails on demand.

use super::sink::SinkRig;
use bytes::Bytes;
use hookbro::{
    event::{Cause, DeadReason, Dispatch, Event, HaltReason, ProjectId},
    pipeline::sink::{Outcome, Probed, Repeat, Sink, Stored, Terms},
    process::secret::{Generation, Secret},
};
use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

/// What lies behind the sink. Clones share it.
#[derive(Clone, Default)]
pub(super) struct MemoryRig(Arc<Mutex<FarSide>>);

#[derive(Default)]
struct FarSide {
    away: bool,
    failing: HashSet<String>,
    stored: Vec<(String, String, Bytes)>,
}

struct MemorySink {
    far: MemoryRig,
    credentials: Secret,
}

fn cause(detail: &str) -> Cause {
    Cause { status: None, detail: detail.to_owned() }
}

fn away() -> Outcome {
    Outcome::Halt { reason: HaltReason::Unreachable, cause: cause("nobody is there"), wait: None }
}

impl Sink for MemorySink {
    type Destination = ProjectId;

    fn destination(&self, event: &Event) -> ProjectId {
        event.project.clone()
    }

    async fn deliver(&self, event: &Event, to: &ProjectId, _: Terms<'_>) -> Option<Outcome> {
        let mut far = self.far.0.lock().unwrap();
        if far.away {
            return Some(away());
        }
        if far.failing.contains(to.as_str()) {
            return Some(Outcome::Failed { cause: cause("this destination fails"), wait: None });
        }
        let same = |(project, id, _): &&(String, String, Bytes)| project == to.as_str() && id == event.id.as_str();
        Some(match far.stored.iter().find(same) {
            Some((.., body)) if body == event.body() => {
                Outcome::Repeated(Repeat { status: None, message: None, dispatch: Dispatch::Called })
            }
            Some(_) => Outcome::Dead { reason: DeadReason::Conflict, cause: cause("another event has this id") },
            None => {
                far.stored.push((to.to_string(), event.id.to_string(), event.body().clone()));
                Outcome::Accepted(Stored::default())
            }
        })
    }

    async fn probe(&self) -> Result<Probed, Outcome> {
        if self.far.0.lock().unwrap().away { Err(away()) } else { Ok(Probed::Well) }
    }

    fn generation(&self) -> Generation {
        self.credentials.generation()
    }

    async fn credentials_changed(&self, seen: Generation) {
        self.credentials.changed_since(seen).await;
    }
}

impl SinkRig for MemoryRig {
    fn sink(&self) -> impl Sink {
        MemorySink { far: self.clone(), credentials: Secret::fixed("") }
    }

    fn fail(&self, project: &str) {
        self.0.lock().unwrap().failing.insert(project.to_owned());
    }

    async fn go_away(&mut self) {
        self.0.lock().unwrap().away = true;
    }

    fn stored(&self, project: &str) -> Vec<(String, Bytes)> {
        let far = self.0.lock().unwrap();
        let of = far.stored.iter().filter(|(of, ..)| of == project);
        of.map(|(_, id, body)| (id.clone(), body.clone())).collect()
    }
}
