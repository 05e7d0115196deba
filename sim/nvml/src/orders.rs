//! What commands do to a GPU.

use crate::cell::Cell;
use crate::control::{Command, LinkChange};
use crate::dynamics::Change;
use crate::events::{self, Event, Instances};
use crate::fields::Field;
use crate::gpu::{MAX_PROCESSES, State};
use crate::profile::Process;
use crate::world::Gpu;

/// Applies a command to one GPU if it is meant. `deliver` takes events of this GPU.
pub(crate) fn apply(gpu: &Gpu, index: usize, command: &Command, at_ms: u64, deliver: &mut dyn FnMut(Event)) {
    let event = |kind, data| Event { gpu: index, kind, data, instances: Instances::NONE };
    let meant = match command {
        Command::Lost(which)
        | Command::Restore(which)
        | Command::Rule(which, ..)
        | Command::FieldReturn(which, ..)
        | Command::Clear(which, _)
        | Command::Ecc(which, ..)
        | Command::Remap(which, ..)
        | Command::RemapFlag(which, ..)
        | Command::Throttle(which, _)
        | Command::Xid(which, ..)
        | Command::Pcie(which, ..)
        | Command::PcieReplay(which, _)
        | Command::Nvlink(which, ..)
        | Command::Set(which, ..)
        | Command::Recovery(which, _)
        | Command::ProcessAdd(which, ..)
        | Command::ProcessRemove(which, _)
        | Command::Load(which, _) => which.covers(index),
        Command::DriverUnload | Command::DriverLoad(_) => false,
    };
    if !meant {
        return;
    }
    let mut state = gpu.state();
    match command {
        Command::Lost(_) => gpu.faults.set_lost(true),
        Command::Restore(_) => gpu.faults.set_lost(false),
        Command::Rule(_, function, fault) => gpu.faults.add(function, fault.clone()),
        Command::FieldReturn(_, id, code) => {
            state.field_returns.retain(|(known, _)| known != id);
            state.field_returns.push((*id, *code));
        }
        Command::Clear(_, target) => clear(gpu, &mut state, target.as_deref(), at_ms),
        Command::Ecc(_, corrected, by) => {
            let fields = match corrected {
                true => [
                    Field::ECC_CORRECTED_VOLATILE,
                    Field::ECC_CORRECTED_AGGREGATE,
                    Field::ECC_COR_VOL_DRAM,
                    Field::ECC_COR_AGG_DRAM,
                ],
                false => [
                    Field::ECC_UNCORRECTED_VOLATILE,
                    Field::ECC_UNCORRECTED_AGGREGATE,
                    Field::ECC_UNC_VOL_DRAM,
                    Field::ECC_UNC_AGG_DRAM,
                ],
            };
            for field in fields {
                state.offset(field, i64::from(*by));
            }
            deliver(event(if *corrected { events::SINGLE_BIT_ECC } else { events::DOUBLE_BIT_ECC }, 0));
        }
        Command::Remap(_, corrected, by) => {
            let by = i64::from(*by);
            state
                .offset(if *corrected { Field::REMAPPED_CORRECTED } else { Field::REMAPPED_UNCORRECTED }, by);
            // Each remapped row takes a spare row of a bank that had all of them.
            state.offset(Field::REMAP_BANKS_MAX, -by);
            state.offset(Field::REMAP_BANKS_HIGH, by);
        }
        Command::RemapFlag(_, field, on) => state.set(*field, Cell::value(i64::from(*on))),
        Command::Throttle(_, mask) => {
            let reasons = Field::CLOCK_EVENT_REASONS;
            state.motion.order(at_ms, Change::Throttle(*mask));
            state.sets.retain(|(set, _)| *set != reasons);
            if *mask != 0 {
                let own = state.cells[reasons.position()].ok().unwrap_or(0);
                state.set(reasons, Cell::value(own | *mask as i64));
            }
            state.touch();
        }
        Command::Xid(_, code, count, instances) => {
            (0..*count).for_each(|_| deliver(Event { instances: *instances, ..event(events::XID, *code) }));
        }
        Command::Pcie(_, field, value) => state.set(*field, Cell::value(i64::from(*value))),
        Command::PcieReplay(_, by) => state.offset(Field::PCIE_REPLAYS, i64::from(*by)),
        Command::Nvlink(_, link, change) => {
            for (number, at) in state.links.iter_mut().enumerate() {
                if link.is_none_or(|link| link as usize == number) {
                    match change {
                        LinkChange::Up(up) => at.down = !up,
                        LinkChange::Crc(by) => at.errors[0] = at.errors[0].saturating_add(*by),
                        LinkChange::Replay(by) => at.errors[1] = at.errors[1].saturating_add(*by),
                        LinkChange::Recovery(by) => at.errors[2] = at.errors[2].saturating_add(*by),
                    }
                }
            }
        }
        Command::Set(_, field, cell) => {
            if *field == Field::POWER_LIMIT {
                state.motion.order(at_ms, Change::Limit(cell.ok().map(|limit| limit as f64)));
            }
            state.set(*field, *cell);
        }
        Command::Recovery(_, action) => {
            state.set(Field::RECOVERY_ACTION, Cell::value(i64::from(*action)));
            deliver(event(events::RECOVERY_ACTION, u64::from(*action)));
        }
        Command::ProcessAdd(_, pid, name, bytes) => {
            state.processes.retain(|process| process.pid != *pid);
            if state.processes.len() < MAX_PROCESSES {
                state.processes.push(Process {
                    pid: *pid,
                    name: name.clone(),
                    compute: true,
                    graphics: false,
                    memory_bytes: *bytes,
                    gpu_instance: u32::MAX,
                    compute_instance: u32::MAX,
                });
            }
            state.touch();
        }
        Command::ProcessRemove(_, pid) => {
            state.processes.retain(|process| pid.is_some_and(|pid| process.pid != pid));
            state.touch();
        }
        Command::Load(_, percent) => {
            state.motion.order(at_ms, Change::Load(percent.map(|percent| f64::from(percent) / 100.0)));
            state.touch();
        }
        Command::DriverUnload | Command::DriverLoad(_) => {}
    }
}

fn clear(gpu: &Gpu, state: &mut State, target: Option<&str>, at_ms: u64) {
    let field = target.and_then(Field::by_name);
    match (target, field) {
        (None, _) => {
            gpu.faults.clear(None);
            state.sets.clear();
            state.field_returns.clear();
            state.motion.order(at_ms, Change::Throttle(0));
            state.motion.order(at_ms, Change::Limit(None));
        }
        (Some(_), Some(field)) => {
            state.sets.retain(|(set, _)| *set != field);
            if field == Field::POWER_LIMIT {
                state.motion.order(at_ms, Change::Limit(None));
            }
        }
        (Some(target), None) => match target.strip_prefix("field:").map(str::parse::<u32>) {
            Some(id) => state.field_returns.retain(|(known, _)| Ok(*known) != id),
            None => gpu.faults.clear(Some(target)),
        },
    }
    state.touch();
}
