//! The other door: signed commands that arrive over MQTT.

use std::time::Duration;

use rackmark_feed::{Refusal, Verb as Asked};
use rackmark_health::Code;

use super::{SWAP_DECLARED_SECS, Verb, Verbs};
use crate::publish::inbox::{Carrier, Refused};

impl Carrier for Verbs {
    fn carry_out(&self, asked: &Asked, consumer: &str) -> Result<(), Refused> {
        let not_possible = |why: String| Refused::new(Refusal::NotPossible, why);
        let refused = |why: String| not_possible(format!("is refused: {why}"));
        let verb = of_command(asked)
            .ok_or_else(|| not_possible(format!("asks for {}, which this node does not do", asked.name())))?;
        match verb {
            // The handles are closed soon after; the inbox does not wait for it.
            Verb::Pause { gpu, for_secs } => {
                self.begin_pause(gpu.as_deref(), Duration::from_secs(for_secs)).map(drop).map_err(refused)
            }
            Verb::Resume { gpu } => self.resume(gpu.as_deref()).map(drop).map_err(refused),
            // Whether it may begin is found out soon after, too: by the state of the GPU and the event at its end.
            Verb::BurnInStart { gpu, mode, hours, one_by_one } => self
                .begin_burn_in(gpu.as_deref(), &mode, hours, one_by_one, consumer.to_owned())
                .map(drop)
                .map_err(refused),
            Verb::BurnInStop { gpu } => {
                self.end_burn_in(gpu.as_deref(), consumer.to_owned()).map(drop).map_err(refused)
            }
            verb => self.change(&verb, consumer).map(drop).map_err(refused),
        }
    }
}

/// The twin of a command's verb in the verb table.
fn of_command(asked: &Asked) -> Option<Verb> {
    Some(match asked.clone() {
        Asked::Acknowledge { gpu, code, key } => {
            let condition = Code::by_name(&code).map_or(code, |code| code.id(key));
            Verb::Ack { gpu, condition, note: None }
        }
        Asked::MaintenanceStart { gpu, until_unix_ms, reason } => {
            Verb::MaintenanceStart { gpu, until_unix_ms, reason }
        }
        Asked::MaintenanceEnd { gpu } => Verb::MaintenanceEnd { gpu },
        Asked::LeaseStart { gpu, lease, until_unix_ms } => {
            Verb::LeaseStart { gpu, lease, reserved: false, until_unix_ms }
        }
        Asked::LeaseEnd { lease } => Verb::LeaseEnd { lease },
        Asked::Drain { gpu, reason } => Verb::Drain { gpu, reason },
        Asked::Undrain { gpu } => Verb::Undrain { gpu },
        Asked::Pause { gpu, for_ms } => Verb::Pause { gpu, for_secs: for_ms.div_ceil(1000) },
        Asked::Resume { gpu } => Verb::Resume { gpu },
        Asked::Swap { gpu, ticket, for_ms, tested_by } => {
            let for_secs = for_ms.map_or(SWAP_DECLARED_SECS, |for_ms| for_ms.div_ceil(1000));
            Verb::Swap { gpu, ticket, for_secs, tested_by }
        }
        Asked::BurnInStart { gpu, mode, hours, one_by_one } => {
            Verb::BurnInStart { gpu, mode, hours, one_by_one }
        }
        Asked::BurnInStop { gpu } => Verb::BurnInStop { gpu },
        Asked::Resend { .. }
        | Asked::Attest { .. }
        | Asked::Activate { .. }
        | Asked::Fetch { .. }
        | Asked::Accepted { .. }
        | Asked::Unrecognised { .. } => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_acknowledged_by_code_and_key() {
        let asked = |code: &str, key| Asked::Acknowledge { gpu: None, code: code.to_owned(), key };
        let condition = |asked: &Asked| match of_command(asked) {
            Some(Verb::Ack { condition, .. }) => condition,
            other => panic!("{other:?}"),
        };
        assert_eq!(condition(&asked("xid", 79)), "xid_79");
        assert_eq!(condition(&asked("nvlink_down", 0)), "nvlink_down_0");
        assert_eq!(condition(&asked("gpu_lost", 0)), "gpu_lost");
        assert_eq!(condition(&asked("of_a_later_version", 1)), "of_a_later_version");
    }

    #[test]
    fn a_pause_is_rounded_up_to_seconds() {
        let asked = Asked::Pause { gpu: None, for_ms: 1001 };
        assert_eq!(of_command(&asked), Some(Verb::Pause { gpu: None, for_secs: 2 }));
    }
}
