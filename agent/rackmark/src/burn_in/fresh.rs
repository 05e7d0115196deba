//! Slow readings of one GPU now, by a sampler of its own that touches no other GPU: the regular ones are up to a minute
//! old, and what a burn-in did to memory is told by them.

use std::time::Duration;

use rackmark_model::ipc::{SamplePlan, SamplerOrder, SamplerReport};
use rackmark_model::{GpuSlow, NoData, PciAddress};
use tokio::time::timeout;

use crate::config::Config;
use crate::sampling::link::Link;

/// How long it may take.
const WITHIN: Duration = Duration::from_secs(15);

/// Reads them; none where they cannot be had in time.
pub async fn slow(config: &Config, address: PciAddress, others: Vec<PciAddress>) -> Option<GpuSlow> {
    let plan = SamplePlan {
        period_ms: 250,
        slow_every_ticks: 1,
        pcie_throughput: false,
        leave_alone: others.into_iter().map(|other| (other, NoData::NotSampled)).collect(),
    };
    let mut link = Link::open(config, &SamplerOrder::Sample(plan)).await.ok()?;
    let read = async {
        loop {
            match link.next().await {
                Ok(SamplerReport::Slow(slow)) if slow.address == address => return Some(*slow),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    };
    let read = timeout(WITHIN, read).await.ok().flatten();
    link.walk_away(|_| {}, |_| {});
    read
}
