//! The verbs that change who has a GPU and what is known of its conditions.

use std::sync::PoisonError;

use rackmark_health::{Code, Refusal, WORDS_BYTES_MAX};
use serde_json::{Value as Json, json};

use super::{Verb, Verbs, which};
use crate::clock;
use crate::hooks::of_verb;
use crate::sampling::roster::Roster;

impl Verbs {
    /// Carries out a verb that changes the judgement, for `by`.
    ///
    /// # Errors
    /// Why it is not done, in one sentence; nothing is changed then.
    pub(super) fn change(&self, verb: &Verb, by: &str) -> Result<Json, String> {
        let by = match verb {
            Verb::Ack { note: Some(note), .. } => noted(by, note)?,
            _ => by.to_owned(),
        };
        self.people.clone().announce(|roster, now, changes| {
            let wanted = health_verb(verb, roster)?;
            let told = of_verb(&wanted, &by, roster);
            match roster.carry_out(&wanted, &by, now, changes) {
                Ok(()) => {}
                Err(refusal) => return Err(explained(&refusal, verb, roster)),
            }
            tracing::info!(by, ?verb, "carried out on request");
            told.into_iter().for_each(|content| self.hooks.happened(content));
            Ok(Json::Null)
        })?;
        Ok(match self.slot(verb) {
            None => Json::Null,
            Some(slot) => {
                let roster = self.roster.read().unwrap_or_else(PoisonError::into_inner);
                let gpu = roster.gpu(slot);
                json!({ "slot": slot, "state": gpu.map(|gpu| gpu.state.name()), "verdict": gpu.map(|gpu| gpu.verdict.name()) })
            }
        })
    }

    fn slot(&self, verb: &Verb) -> Option<u8> {
        let roster = self.roster.read().unwrap_or_else(PoisonError::into_inner);
        which(&roster, gpu_of(verb)?).ok().map(|gpu| gpu.identity.slot)
    }
}

/// The one place where a verb of either door becomes one of the judge: names become slots.
fn health_verb<'a>(verb: &'a Verb, roster: &Roster) -> Result<rackmark_health::Verb<'a>, String> {
    use rackmark_health::Verb as Wanted;
    let slot = gpu_of(verb).map(|gpu| which(roster, gpu).map(|gpu| gpu.identity.slot)).transpose()?;
    Ok(match verb {
        Verb::Ack { condition, .. } => Wanted::Acknowledge { slot, condition },
        Verb::MaintenanceStart { until_unix_ms, reason, .. } => {
            Wanted::MaintenanceStart { slot, until_unix_ms: *until_unix_ms, reason }
        }
        Verb::MaintenanceEnd { .. } => Wanted::MaintenanceEnd { slot },
        Verb::Drain { reason, .. } => Wanted::Drain { slot, reason },
        Verb::Undrain { .. } => Wanted::Undrain { slot },
        Verb::LeaseStart { lease, reserved, until_unix_ms, .. } => {
            if !roster.around.lease_source {
                return Err("this node takes no leases; see leases.source in the configuration".to_owned());
            }
            let slot = slot.ok_or("a lease names its GPU")?;
            Wanted::LeaseStart { slot, id: lease, reserved: *reserved, until_unix_ms: *until_unix_ms }
        }
        Verb::LeaseEnd { lease } => Wanted::LeaseEnd { id: lease },
        Verb::Swap { ticket, for_secs, tested_by, .. } => Wanted::Swap {
            slot: slot.ok_or("a swap names its GPU")?,
            ticket,
            until_unix_ms: clock::unix_ms().saturating_add(for_secs.saturating_mul(1000)),
            tested_by: tested_by.as_deref(),
        },
        Verb::Status
        | Verb::Inventory
        | Verb::Check { .. }
        | Verb::History { .. }
        | Verb::BurnInStart { .. }
        | Verb::BurnInStop { .. }
        | Verb::BurnInShow
        | Verb::BurnInRecord { .. }
        | Verb::HookList
        | Verb::HookTest { .. }
        | Verb::Pause { .. }
        | Verb::Resume { .. } => {
            return Err("that changes nothing".to_owned());
        }
    })
}

fn gpu_of(verb: &Verb) -> Option<&str> {
    match verb {
        Verb::Ack { gpu, .. }
        | Verb::MaintenanceStart { gpu, .. }
        | Verb::MaintenanceEnd { gpu }
        | Verb::Drain { gpu, .. }
        | Verb::Undrain { gpu }
        | Verb::Pause { gpu, .. }
        | Verb::Resume { gpu }
        | Verb::History { gpu, .. }
        | Verb::BurnInStart { gpu, .. }
        | Verb::BurnInStop { gpu }
        | Verb::Check { gpu } => gpu.as_deref(),
        Verb::LeaseStart { gpu, .. } | Verb::Swap { gpu, .. } | Verb::BurnInRecord { gpu } => Some(gpu),
        Verb::LeaseEnd { .. }
        | Verb::BurnInShow
        | Verb::HookList
        | Verb::HookTest { .. }
        | Verb::Status
        | Verb::Inventory => None,
    }
}

fn noted(by: &str, note: &str) -> Result<String, String> {
    if (1..=WORDS_BYTES_MAX).contains(&note.len()) {
        Ok(format!("{by}: {note}"))
    } else {
        Err(format!("a note has 1 to {WORDS_BYTES_MAX} bytes"))
    }
}

/// The refusal, and where what was looked for is instead.
fn explained(refusal: &Refusal, verb: &Verb, roster: &Roster) -> String {
    let Verb::Ack { gpu, condition, .. } = verb else { return refusal.to_string() };
    let named = |one: &rackmark_health::Condition| {
        condition == "all" || condition == one.code.name() || *condition == one.id()
    };
    let known = condition == "all"
        || Code::ALL.iter().any(|code| condition.strip_prefix(code.name()).is_some_and(is_key));
    if !known {
        return format!("there is no condition of the name {condition:?}");
    }
    let whom = gpu.as_ref().map_or_else(|| "the node".to_owned(), |gpu| format!("GPU {gpu}"));
    let elsewhere = roster.health.gpus.iter().position(|gpu| gpu.conditions.visible().any(named));
    match (elsewhere, condition.as_str()) {
        (Some(slot), "all") => {
            format!("nothing stands against {whom}; name GPU {slot}, against which something does")
        }
        (Some(slot), _) => format!("{condition} does not stand against {whom}; it does against GPU {slot}"),
        (None, "all") => format!("nothing stands against {whom}"),
        (None, _) => format!("{condition} does not stand against {whom}"),
    }
}

/// What follows a code in the name of a condition: nothing, or `_` and a number.
fn is_key(rest: &str) -> bool {
    rest.is_empty() || rest.strip_prefix('_').is_some_and(|key| key.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use rackmark_health::Now;
    use rackmark_model::ipc::SamplerReport;
    use rackmark_model::readings::{Fast, Inventory, Slow};
    use rackmark_model::{
        Count, GpuEvent, GpuEventKind, GpuInventory, GpuSample, GpuSlow, GpuState, NoData, PciAddress,
        Presence, Sample, Verdict,
    };

    use super::*;

    const NOW: Now = Now { boot_ms: 3_600_000, unix_ms: 1_796_119_200_000 };

    fn address(bus: u8) -> PciAddress {
        PciAddress { domain: 0, bus, device: 0, function: 0 }
    }

    /// Two free GPUs that are judged, and a node that takes leases.
    fn roster() -> Roster {
        let mut roster = Roster::default();
        roster.around.lease_source = true;
        let mut fast = Fast::absent(NoData::NotSupported);
        fast.processes_compute = Ok(Count(0));
        let gpu = |bus| GpuSample {
            address: address(bus),
            presence: Presence::Open,
            in_call: None,
            fast: fast.clone(),
        };
        let gpus = vec![gpu(3), gpu(7)];
        let sample =
            Sample { seq: 1, taken_boot_ms: NOW.boot_ms, taken_unix_ms: NOW.unix_ms, took_us: 1, gpus };
        let sample = SamplerReport::Sample(sample);
        roster.take(&sample, NOW);
        for bus in [3, 7] {
            let mut inventory = Inventory::absent(NoData::NotSupported);
            inventory.uuid = Ok(format!("GPU-{bus}"));
            inventory.serial = Ok(format!("S{bus}"));
            let inventory = GpuInventory { address: address(bus), inventory, mig: Vec::new() };
            roster.take(&SamplerReport::Inventory(Box::new(inventory)), NOW);
            let slow = GpuSlow {
                address: address(bus),
                taken_unix_ms: NOW.unix_ms,
                slow: Slow::absent(NoData::NotSupported),
                nvlinks: Vec::new(),
                processes: Vec::new(),
            };
            roster.take(&SamplerReport::Slow(Box::new(slow)), NOW);
        }
        roster.take(&sample, NOW);
        roster
    }

    fn xid(roster: &mut Roster, bus: u8, code: u32) {
        let kind = GpuEventKind::Xid { code };
        let (address, seen_unix_ms) = (address(bus), NOW.unix_ms);
        let event =
            GpuEvent { address, seen_unix_ms, kind, gpu_instance_id: None, compute_instance_id: None };
        roster.take(&SamplerReport::Event(event), NOW);
    }

    fn carry_out(roster: &mut Roster, verb: &Verb) -> Result<(), String> {
        let wanted = health_verb(verb, roster)?;
        roster
            .carry_out(&wanted, "root", NOW, &mut Vec::new())
            .map_err(|refusal| explained(&refusal, verb, roster))
    }

    fn states(roster: &Roster) -> Vec<(GpuState, Verdict)> {
        roster.gpus.iter().map(|gpu| (gpu.state, gpu.verdict)).collect()
    }

    const FREE: (GpuState, Verdict) = (GpuState::Free, Verdict::Schedulable);

    #[test]
    fn every_name_of_a_gpu_leads_to_it() {
        let mut roster = roster();
        assert_eq!(states(&roster), [FREE, FREE]);
        for name in ["1", "GPU-7", "S7", "0000:07:00.0", "00000000:07:00.0"] {
            let gpu = Some(name.to_owned());
            carry_out(&mut roster, &Verb::Drain { gpu: gpu.clone(), reason: "firmware".to_owned() })
                .expect(name);
            assert_eq!(states(&roster), [FREE, (GpuState::Draining, Verdict::Draining)], "{name}");
            carry_out(&mut roster, &Verb::Undrain { gpu }).expect(name);
            assert_eq!(states(&roster), [FREE, FREE], "{name}");
        }
        let unknown = Verb::Undrain { gpu: Some("GPU-9".to_owned()) };
        let refused = carry_out(&mut roster, &unknown).expect_err("no such GPU");
        assert_eq!(
            refused,
            "no GPU is called \"GPU-9\"; name it by slot, UUID, serial number or PCI address"
        );
        assert_eq!(
            carry_out(&mut roster, &Verb::Undrain { gpu: None }),
            Err("nothing is drained".to_owned())
        );
    }

    #[test]
    fn an_acknowledgement_that_meets_nothing_says_where_to_look() {
        let mut roster = roster();
        xid(&mut roster, 7, 79);
        assert_eq!(roster.gpus[1].verdict, Verdict::Unusable);
        let ack = |gpu: Option<&str>, condition: &str| Verb::Ack {
            gpu: gpu.map(str::to_owned),
            condition: condition.to_owned(),
            note: None,
        };
        for (gpu, condition, said) in [
            (None, "xid_79", "xid_79 does not stand against the node; it does against GPU 1"),
            (None, "all", "nothing stands against the node; name GPU 1, against which something does"),
            (Some("0"), "xid", "xid does not stand against GPU 0; it does against GPU 1"),
            (Some("1"), "xid_48", "xid_48 does not stand against GPU 1"),
            (Some("1"), "xid79", "there is no condition of the name \"xid79\""),
            (Some("1"), "gremlins", "there is no condition of the name \"gremlins\""),
        ] {
            assert_eq!(
                carry_out(&mut roster, &ack(gpu, condition)),
                Err(said.to_owned()),
                "{gpu:?} {condition}"
            );
        }
        carry_out(&mut roster, &ack(Some("S7"), "xid_79")).expect("it stands");
        assert_eq!(states(&roster), [FREE, FREE]);
        let refused = carry_out(&mut roster, &ack(Some("1"), "all"));
        assert_eq!(refused, Err("nothing stands against GPU 1".to_owned()));
    }

    #[test]
    fn maintenance_of_the_node_holds_every_gpu_and_a_fault_refuses_a_lease() {
        let mut roster = roster();
        let start =
            |until_unix_ms| Verb::MaintenanceStart { gpu: None, until_unix_ms, reason: "fans".to_owned() };
        carry_out(&mut roster, &start(NOW.unix_ms + 1000)).expect("ahead");
        assert_eq!(states(&roster), [(GpuState::Maintenance, Verdict::Draining); 2]);
        assert!(carry_out(&mut roster, &start(NOW.unix_ms)).is_err_and(|why| why.contains("past")));
        carry_out(&mut roster, &Verb::MaintenanceEnd { gpu: None }).expect("it stands");
        let lease = |gpu: &str, lease: &str, reserved| Verb::LeaseStart {
            gpu: gpu.to_owned(),
            lease: lease.to_owned(),
            reserved,
            until_unix_ms: None,
        };
        carry_out(&mut roster, &lease("0", "job-1", true)).expect("free");
        assert_eq!(roster.gpus[0].state, GpuState::Reserved);
        carry_out(&mut roster, &lease("0", "job-1", false)).expect("its own reservation");
        assert_eq!(roster.gpus[0].state, GpuState::Leased);
        let refused = carry_out(&mut roster, &lease("0", "job-2", false));
        assert_eq!(refused, Err("lease \"job-1\" has the GPU".to_owned()));
        xid(&mut roster, 7, 79);
        let refused = carry_out(&mut roster, &lease("1", "job-2", false));
        assert_eq!(refused, Err("the GPU is faulted".to_owned()));
        carry_out(&mut roster, &Verb::LeaseEnd { lease: "job-1".to_owned() }).expect("it stands");
        assert_eq!(states(&roster)[0], FREE);
        roster.around.lease_source = false;
        assert!(
            carry_out(&mut roster, &lease("0", "job-3", false))
                .is_err_and(|why| why.contains("leases.source"))
        );
    }

    #[test]
    fn a_note_is_kept_with_the_name() {
        assert_eq!(noted("root", "reseated"), Ok("root: reseated".to_owned()));
        assert!(noted("root", "").is_err());
        assert!(noted("root", &"x".repeat(WORDS_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn names_of_conditions_are_codes_with_or_without_a_key() {
        let verb = |condition: &str| Verb::Ack { gpu: None, condition: condition.to_owned(), note: None };
        let refusal = Refusal::Nothing("");
        let roster = roster();
        for code in Code::ALL {
            for condition in [code.name().to_owned(), code.id(7)] {
                let said = explained(&refusal, &verb(&condition), &roster);
                assert_eq!(said, format!("{condition} does not stand against the node"));
            }
        }
    }
}
