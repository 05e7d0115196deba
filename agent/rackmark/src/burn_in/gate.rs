//! Whether work may begin on a GPU: nobody has it, nothing runs on it, and it was idle for a while.

use std::time::Duration;

use rackmark_health::Code;
use rackmark_model::{GpuState, NoData};
use tokio::time::{Instant, sleep};

use crate::sampling::roster::{Gpu, Standing};
use crate::sampling::task::SharedRoster;

/// How long a GPU must have been idle.
const IDLE_FOR: Duration = Duration::from_secs(5);
/// How long is waited for that at most.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// How long is waited for a first judgement, which an agent that just started does not have yet. An untested card, which is
/// unknown until it was tested, is not waited for.
const JUDGED_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// Why the GPU is not idle now; none where it is.
fn busy(gpu: &Gpu) -> Option<String> {
    if gpu.standing != Standing::Answering {
        return Some("it is not sampled at present".to_owned());
    }
    match gpu.fast.processes_compute {
        Ok(processes) if processes.0 > 0 => return Some(format!("{} processes compute on it", processes.0)),
        Ok(_) => {}
        Err(why) => return Some(format!("its processes cannot be counted ({why})")),
    }
    match gpu.fast.utilization_gpu {
        Ok(share) if share.0 > 0 => Some(format!("its utilisation is {} %", share.0)),
        Ok(_) | Err(NoData::NotSupported) => None,
        Err(why) => Some(format!("its utilisation cannot be read ({why})")),
    }
}

/// Waits until the GPU in a slot is judged, or was not for [`JUDGED_WITHIN`].
pub async fn judged(roster: &SharedRoster, slot: u8) {
    let unknown = || {
        let roster = roster.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let gpu = roster.health.gpus.get(usize::from(slot));
        gpu.is_some_and(|gpu| {
            let untested = gpu.conditions.all().iter().any(|one| one.code == Code::CardUntested);
            gpu.state.0.state == GpuState::Unknown && !untested
        })
    };
    let began = Instant::now();
    while unknown() && began.elapsed() < JUDGED_WITHIN {
        sleep(LOOK).await;
    }
}

/// Waits until the GPU in a slot was idle for [`IDLE_FOR`].
///
/// # Errors
/// Why it is not, in one sentence.
pub async fn idle(roster: &SharedRoster, slot: u8) -> Result<(), String> {
    let began = Instant::now();
    let mut idle_since = began;
    let mut why;
    loop {
        {
            let roster = roster.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            let gpu = roster.gpu(slot).ok_or_else(|| format!("there is no GPU {slot}"))?;
            why = busy(gpu);
        }
        let now = Instant::now();
        if why.is_some() {
            idle_since = now;
        } else if now - idle_since >= IDLE_FOR {
            return Ok(());
        }
        if now - began >= WAIT_MAX {
            let why = why.unwrap_or_else(|| "it was not idle for 5 s".to_owned());
            return Err(format!("GPU {slot} is not idle: {why}"));
        }
        sleep(LOOK).await;
    }
}
