//! The faults scripted so far, and which of them meets a call. No chance is involved: the same calls in the same
//! order meet the same faults.

use serde::Serialize;

use super::fault::{Fault, FaultKind, InvalidFault};
use super::route::RequestKind;

/// Every call is compared with every fault, so they have to stay few.
const MAX_FAULTS: usize = 1000;
/// Shares are counted in millionths, so that a tenth of 100 calls is 10 and not 9.999.
const WHOLE: u64 = 1_000_000;

/// Names a fault until the sandbox ends; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct FaultId(pub u64);

/// A scripted fault and what it did so far.
#[derive(Clone, Debug, Serialize)]
pub struct FaultState {
    pub id: FaultId,
    /// Calls that met its conditions.
    pub met: u64,
    /// Calls it was applied to.
    pub fired: u64,
    pub fault: Fault,
}

/// What a fault may ask of a call.
#[derive(Debug)]
pub(super) struct Traits<'a> {
    pub(super) kind: RequestKind,
    pub(super) app: Option<&'a str>,
    pub(super) event_id: Option<&'a str>,
    pub(super) event_type: Option<&'a str>,
}

#[derive(Debug, Default)]
pub(super) struct FaultRegistry {
    faults: Vec<FaultState>,
    last: u64,
}

impl FaultRegistry {
    pub(super) fn add(&mut self, fault: Fault) -> Result<FaultId, InvalidFault> {
        fault.check()?;
        if self.faults.len() >= MAX_FAULTS {
            self.faults.retain(|state| !state.spent());
        }
        if self.faults.len() >= MAX_FAULTS {
            return Err(InvalidFault::TooMany(MAX_FAULTS));
        }
        self.last += 1;
        let id = FaultId(self.last);
        self.faults.push(FaultState { id, met: 0, fired: 0, fault });
        Ok(id)
    }

    pub(super) fn remove(&mut self, id: FaultId) -> bool {
        let before = self.faults.len();
        self.faults.retain(|state| state.id != id);
        self.faults.len() < before
    }

    pub(super) fn clear(&mut self) {
        self.faults.clear();
    }

    pub(super) fn list(&self) -> &[FaultState] {
        &self.faults
    }

    /// The first fault, oldest first, that fires for this call.
    pub(super) fn fire(&mut self, call: &Traits<'_>) -> Option<(FaultId, Fault)> {
        let mut meeting = self.faults.iter_mut().filter(|state| !state.spent() && state.meets(call));
        meeting.find_map(|state| state.fires().then(|| (state.id, state.fault.clone())))
    }
}

impl FaultState {
    fn spent(&self) -> bool {
        self.fault.times.is_some_and(|times| self.fired >= times)
    }

    fn meets(&self, call: &Traits<'_>) -> bool {
        let is = |wanted: &Option<String>, actual: Option<&str>| wanted.is_none() || wanted.as_deref() == actual;
        let kind = match self.fault.kind {
            FaultKind::Any => true,
            FaultKind::Message => call.kind == RequestKind::MessageCreate,
            FaultKind::Proof => matches!(
                call.kind,
                RequestKind::MessageGet | RequestKind::Attempts | RequestKind::Endpoint | RequestKind::Resend
            ),
        };
        kind && is(&self.fault.app, call.app)
            && is(&self.fault.event_id, call.event_id)
            && is(&self.fault.event_type, call.event_type)
    }

    fn fires(&mut self) -> bool {
        let share = (self.fault.share.unwrap_or(1.0) * WHOLE as f64).round().clamp(1.0, WHOLE as f64) as u64;
        let due = |met: u64| met.saturating_mul(share) / WHOLE;
        let fires = due(self.met + 1) > due(self.met);
        self.met += 1;
        self.fired += u64::from(fires);
        fires
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, FaultRegistry, RequestKind, Traits};

    #[test]
    fn a_share_fires_evenly_and_exactly() {
        for share in [0.1, 0.29, 1.0 / 3.0, 0.5, 0.9, 1.0] {
            let mut registry = FaultRegistry::default();
            let fault = Fault { share: Some(share), drop: true, ..Fault::default() };
            registry.add(fault).unwrap();
            let call = Traits { kind: RequestKind::MessageCreate, app: None, event_id: None, event_type: None };
            let fired = (0..1000).filter(|_| registry.fire(&call).is_some()).count();
            assert_eq!(fired, (share * 1000.0).round() as usize);
        }
    }
}
