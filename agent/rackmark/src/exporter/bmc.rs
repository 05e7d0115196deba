//! The BMC, as the daemon asks it.

use super::{Decimal, Kind, Sink};
use crate::bmc::{BmcState, REASONS};

/// Hands the figures of the BMC to `sink`.
pub fn bmc(bmc: &BmcState, now_boot_ms: u64, sink: &mut dyn Sink) {
    sink.family("rackmark_bmc_up", Kind::Gauge, "1 where the newest look at the BMC succeeded.");
    sink.point(&[], Decimal::whole(u64::from(bmc.up)));
    sink.family("rackmark_bmc_duration_seconds", Kind::Gauge, "How long the newest look at the BMC took.");
    sink.point(&[], Decimal::scaled(bmc.took_us, 6));
    if let Some(facts) = &bmc.facts {
        sink.family(
            "rackmark_bmc_age_seconds",
            Kind::Gauge,
            "Since the newest look at the BMC that succeeded.",
        );
        sink.point(&[], Decimal::scaled(now_boot_ms.saturating_sub(bmc.taken_boot_ms), 3));
        sink.family("rackmark_bmc_facts", Kind::Gauge, "Facts that the BMC told.");
        sink.point(&[], Decimal::whole(facts.len() as u64));
        sink.family("rackmark_bmc_skipped_documents", Kind::Gauge, "Documents of the BMC that were not had.");
        sink.point(&[], Decimal::whole(bmc.skipped as u64));
    }
    sink.family("rackmark_bmc_failures", Kind::Counter, "Looks at the BMC that failed, by reason.");
    for (reason, count) in REASONS.iter().zip(bmc.failures) {
        sink.point(&[("reason", reason)], Decimal::whole(count));
    }
}
