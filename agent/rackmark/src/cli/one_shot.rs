//! What the one-shot commands share: a small runtime, output that survives a
//! closed pipe, and a sampler of their own.

use std::io::Write;
use std::time::Duration;

use rackmark_model::ipc::{SamplePlan, SamplerOrder};
use tokio::time::{Instant, timeout_at};

use crate::clock;
use crate::config::Config;
use crate::exit::{Code, Failure};
use crate::sampling::link::{Link, LinkError};
use crate::sampling::roster::{Roster, Standing};

/// Writes to standard output; a reader that went away is not an error.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// A runtime for one command.
pub fn block_on<T>(task: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Code::Internal, error))?;
    let outcome = runtime.block_on(task);
    runtime.shutdown_background();
    outcome
}

/// What a failing sampler means to a person.
pub fn sampler_failure(error: LinkError) -> Failure {
    let hint = match &error {
        LinkError::Start { .. } => "is rackmark-sampler installed beside rackmark? see sampler.program",
        LinkError::Connect { .. } => "is rackmark-sampler.socket started?",
        _ => "rackmark doctor looks for the cause",
    };
    Failure::new(Code::Unavailable, error).hint(hint)
}

/// Reads every GPU once with a sampler of its own. Two ticks, because some
/// readings are differences of two.
pub async fn sample_once(config: &Config, longest: Duration) -> Result<Roster, Failure> {
    let plan = SamplePlan {
        period_ms: 250,
        slow_every_ticks: 1_000_000,
        pcie_throughput: config.pcie_throughput,
        leave_alone: Vec::new(),
    };
    let mut link = Link::open(config, &SamplerOrder::Sample(plan)).await.map_err(sampler_failure)?;
    let mut roster = Roster::default();
    let deadline = Instant::now() + longest;
    loop {
        match timeout_at(deadline, link.next()).await {
            Ok(Ok(report)) => {
                let _ = roster.take(&report, clock::now());
            }
            Ok(Err(error)) => return Err(sampler_failure(error)),
            Err(_) => break,
        }
        let complete = roster.gpus.iter().all(|gpu| match gpu.standing {
            Standing::Answering => gpu.inventory.is_some() && gpu.slow.is_some(),
            Standing::Slow => false,
            Standing::Unresponsive { .. } | Standing::Absent(_) => true,
        });
        let driver_told = roster.driver.is_some() || roster.driver_cause.is_some();
        if roster.sampler.samples_total >= 2 && driver_told && complete {
            break;
        }
    }
    link.walk_away(|_| {}, |_| {});
    Ok(roster)
}
