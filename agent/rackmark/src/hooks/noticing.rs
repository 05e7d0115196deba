//! Notices what the judge says, for the events that come from there.

use rackmark_health::{Transition, Verb};
use rackmark_model::ipc::SamplerReport;

use super::{Content, GpuName, Hooks};
use crate::sampling::roster::{Change, Roster};
use crate::sampling::task::Observer;

/// An observer that tells hooks of verdicts, leases and maintenance, for another one.
#[derive(Clone)]
pub struct Noticing<O> {
    hooks: Hooks,
    next: O,
}

impl<O> Noticing<O> {
    /// Stands before `next`.
    pub const fn new(hooks: Hooks, next: O) -> Self {
        Self { hooks, next }
    }
}

impl<O: Observer> Observer for Noticing<O> {
    fn reported(&mut self, roster: &Roster, report: Option<&SamplerReport>, changes: &[Change]) {
        for content in contents(roster, changes) {
            self.hooks.happened(content);
        }
        self.next.reported(roster, report, changes);
    }
}

/// What there is to tell, in order. A lease that begins or ends on several GPUs at once is one event.
fn contents(roster: &Roster, changes: &[Change]) -> Vec<Content> {
    let mut contents: Vec<Content> = Vec::new();
    let name = |slot: &Option<u8>| slot.map(|slot| GpuName::of(slot, roster));
    for change in changes {
        let Change::Health(transition) = change else { continue };
        match transition {
            Transition::Verdict { slot, from, to, reason } => contents.push(Content::Verdict {
                gpu: name(slot),
                from: *from,
                to: *to,
                reason: reason.clone(),
            }),
            Transition::MaintenanceStarted { slot, until_unix_ms, reason } => {
                let begun = Some((*until_unix_ms, reason.clone()));
                contents.push(Content::Maintenance { gpu: name(slot), begun });
            }
            Transition::MaintenanceEnded { slot } => {
                contents.push(Content::Maintenance { gpu: name(slot), begun: None });
            }
            Transition::LeaseStarted { slot, lease, until_unix_ms } => {
                let gpu = GpuName::of(*slot, roster);
                let occupancy = roster.health.gpus.get(usize::from(*slot)).map(|gpu| &gpu.occupancy);
                let promised = occupancy.and_then(|occupancy| occupancy.lease.as_ref());
                let promised = promised.is_some_and(|lease| lease.reserved);
                let known = contents.iter_mut().find_map(|content| match content {
                    Content::LeaseStart { lease: known, gpus, reserved, until_unix_ms: until } => {
                        (known == lease && *reserved == promised && until == until_unix_ms).then_some(gpus)
                    }
                    _ => None,
                });
                match known {
                    Some(gpus) => gpus.push(gpu),
                    None => contents.push(Content::LeaseStart {
                        lease: lease.clone(),
                        gpus: vec![gpu],
                        reserved: promised,
                        until_unix_ms: *until_unix_ms,
                    }),
                }
            }
            Transition::LeaseEnded { slot, lease } => {
                let gpu = GpuName::of(*slot, roster);
                let known = contents.iter_mut().find_map(|content| match content {
                    Content::LeaseEnd { lease: known, gpus } => (known == lease).then_some(gpus),
                    _ => None,
                });
                match known {
                    Some(gpus) => gpus.push(gpu),
                    None => contents.push(Content::LeaseEnd { lease: lease.clone(), gpus: vec![gpu] }),
                }
            }
            _ => {}
        }
    }
    contents
}

/// What there is to tell of a verb that is about to be carried out for `by`, beyond what the judge says of it.
pub fn of_verb(verb: &Verb<'_>, by: &str, roster: &Roster) -> Option<Content> {
    let is_drained = |slot: u8| {
        roster.health.gpus.get(usize::from(slot)).is_some_and(|gpu| gpu.occupancy.drained.is_some())
    };
    let gpus = |slot: Option<u8>, of: &dyn Fn(u8) -> bool| -> Vec<GpuName> {
        let all = roster.gpus.iter().map(|gpu| gpu.identity.slot);
        let named = all.filter(|one| slot.is_none_or(|slot| slot == *one) && of(*one));
        named.map(|slot| GpuName::of(slot, roster)).collect()
    };
    match verb {
        Verb::Drain { slot, reason } => Some(Content::Quarantine {
            gpus: gpus(*slot, &|_| true),
            reason: (*reason).to_owned(),
            by: by.to_owned(),
        }),
        Verb::Undrain { slot } => {
            Some(Content::Unquarantine { gpus: gpus(*slot, &is_drained), by: by.to_owned() })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_on_several_gpus_is_one_event() {
        let started = |slot, lease: &str| {
            Change::Health(Transition::LeaseStarted { slot, lease: lease.to_owned(), until_unix_ms: None })
        };
        let ended =
            |slot, lease: &str| Change::Health(Transition::LeaseEnded { slot, lease: lease.to_owned() });
        let changes = [ended(0, "old"), ended(1, "old"), started(0, "a"), started(2, "b"), started(1, "a")];
        let told: Vec<_> = contents(&Roster::default(), &changes)
            .iter()
            .map(|content| (content.event().name(), content.slots()))
            .collect();
        assert_eq!(told, [("lease-end", vec![0, 1]), ("lease-start", vec![0, 1]), ("lease-start", vec![2])]);
    }
}
