//! One burn-in of one GPU, from its first order to its last report: what the process says is taken down, what the samples
//! say is taken down beside it, and whoever has a better claim on the GPU gets it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rackmark_health::burn_in::{Ending, Mode, Sampled, judge};
use rackmark_model::gpu_work::{BurnInOrder, FigureKind, GpuOrder, GpuReport};
use rackmark_model::{NoData, PciAddress};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::board::{Board, Running};
use super::fresh;
use super::link::{End, Link, LinkError};
use super::record::{Point, Record};
use super::store::Store;
use crate::clock;
use crate::config::Config;
use crate::exit::chain;
use crate::sampling::roster::{Roster, Standing};
use crate::sampling::task::SharedRoster;

/// Between two looks at what samples say and at who wants the GPU.
const LOOK: Duration = Duration::from_millis(100);
/// Between two points of a record.
const POINT_EVERY_MS: u64 = 1_000;
/// Silence that is allowed until the first stage begins: the driver starts, memory is taken, modules are compiled.
const SETUP: Duration = Duration::from_secs(60);
/// Silence that is allowed once a stage began or ended: goldens are computed, a checker is proved.
const BETWEEN: Duration = Duration::from_secs(30);
/// XID 45: preemptive cleanup after a process ended (NVIDIA's catalogue).
const PREEMPTIVE_CLEANUP: u32 = 45;
/// From the beginning of the first stage on, a sample that counts no process at all says that ours is not shown.
const SETTLED: Duration = Duration::from_secs(2);
/// Silence that is allowed while a stage works: ten times what lies between two reports of progress, and room for a host
/// that is busy.
const WORKING: Duration = Duration::from_secs(10);

/// How long is waited for a sample that was taken after the work.
const SAMPLE_WITHIN: Duration = Duration::from_secs(5);

/// Where a run stands in the daemon.
pub struct Place {
    pub config: watch::Receiver<Arc<Config>>,
    pub roster: SharedRoster,
    pub store: Store,
    pub board: Board,
    /// Set to whoever wants it to end.
    pub stop: watch::Receiver<Option<String>>,
}

/// How a run left the GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// It can be used.
    Free,
    /// A process that cannot be ended is on it; its id, where that is known.
    Wedged(Option<u32>),
}

/// Runs what is left of the record's plan and judges it.
pub async fn run(place: &mut Place, record: &mut Record) -> Left {
    let slot = record.card.slot;
    let config = place.config.borrow().clone();
    let before = Counted::now(&place.roster, slot);
    let Ok(address) = record.card.address.parse::<PciAddress>() else {
        record.worked.ending = Ending::Unavailable("its PCI address is not known".to_owned());
        finish(place, record, &before, (None, false)).await;
        return Left::Free;
    };
    let numa_node = numa_node(&config.sysfs_root, address);
    let (mut left, mut killed) = (Left::Free, false);
    loop {
        let stages = record.worked.begin_order();
        if stages.is_empty() {
            break;
        }
        let total = record
            .worked
            .device
            .as_ref()
            .map_or_else(|| memory_total(&place.roster, slot), |device| device.memory_bytes);
        let order = GpuOrder::BurnIn(BurnInOrder {
            gpu_uuid: record.card.uuid.clone(),
            seed: record.seed,
            memory_permille: record.worked.plan.memory_permille(total),
            numa_node,
            stages: record.worked.plan.stages[stages].to_vec(),
        });
        let mut link = match Link::open(&config.gpu, &order).await {
            Ok(link) => link,
            Err(error) => {
                record.worked.ending = Ending::Unavailable(chain(&error));
                break;
            }
        };
        let mut drive = Drive::new(place, record);
        let ending = drive.until_over(&mut link).await;
        let keeping = drive.keeping.take();
        let closing = Instant::now();
        let end = link.close().await;
        let closed_after = closing.elapsed();
        // What is written late must not come after the end of it.
        if let Some(keeping) = keeping {
            let _ = keeping.await;
        }
        killed |= end != End::Gone;
        match ending {
            None => {}
            Some(Ending::Hung) if matches!(end, End::Stuck(_)) => record.worked.ending = Ending::Wedged,
            Some(ending) => {
                if matches!(ending, Ending::Preempted(_)) {
                    record.gave_back_ms = u64::try_from(closed_after.as_millis()).ok();
                }
                record.worked.ending = ending;
            }
        }
        if let End::Stuck(pid) = end {
            left = Left::Wedged(pid);
        }
        if left != Left::Free || !matches!(record.worked.ending, Ending::Running) {
            break;
        }
    }
    let slow_of = (left == Left::Free).then_some(address);
    finish(place, record, &before, (slow_of, killed)).await;
    left
}

/// Reads what the work did to the card, and judges.
async fn finish(
    place: &Place,
    record: &mut Record,
    before: &Counted,
    (slow_of, killed): (Option<PciAddress>, bool),
) {
    let slot = record.card.slot;
    let config = place.config.borrow().clone();
    let ended_boot_ms = clock::boot_ms();
    // A customer who waits for the GPU does not wait for this.
    let preempted = matches!(record.worked.ending, Ending::Preempted(_));
    let slow = match slow_of.filter(|_| !preempted) {
        Some(address) => {
            let others = {
                let roster = place.roster.read().unwrap_or_else(PoisonError::into_inner);
                roster.gpus.iter().map(|gpu| gpu.address).filter(|other| *other != address).collect()
            };
            fresh::slow(&config, address, others).await
        }
        None => None,
    };
    let sampled = !preempted && sampled_since(&place.roster, ended_boot_ms).await;
    let after = Counted::now(&place.roster, slot);
    for code in after.xids.keys().filter(|code| after.xids.get(code) > before.xids.get(code)) {
        // XID 45 after a process was killed is the driver cleaning up after it, which was our doing.
        if !(killed && *code == PREEMPTIVE_CLEANUP) {
            record.seen.xid(*code);
        }
    }
    for code in after.sxids.keys().filter(|code| after.sxids.get(code) > before.sxids.get(code)) {
        record.seen.sxid(*code);
    }
    {
        let roster = place.roster.read().unwrap_or_else(PoisonError::into_inner);
        if let (Some(gpu), Some(taken), Some(slow)) = (roster.gpu(slot), roster.taken, &slow) {
            record.seen.take(&Sampled {
                boot_ms: taken.boot_ms,
                fast: &gpu.fast,
                slow: Some(&slow.slow),
                inventory: gpu.inventory.as_ref(),
                stage: None,
                own_processes: 1,
            });
            record.seen.slow_after_end = sampled;
        }
    }
    record.ended_unix_ms = Some(clock::unix_ms());
    record.judgement = Some(judge(&record.card.uuid, &record.worked, &record.seen));
}

/// Waits for a sample that was taken after this moment: what happened at the very end is in no earlier one.
async fn sampled_since(roster: &SharedRoster, boot_ms: u64) -> bool {
    let newer = || {
        let roster = roster.read().unwrap_or_else(PoisonError::into_inner);
        roster.taken.is_some_and(|taken| taken.boot_ms >= boot_ms)
    };
    let waited = async {
        while !newer() {
            sleep(LOOK).await;
        }
    };
    timeout(SAMPLE_WITHIN, waited).await.is_ok()
}

/// How often errors were told of so far.
struct Counted {
    /// XIDs of the GPU, by code.
    xids: BTreeMap<u32, u64>,
    /// SXids of all switches of the node, by code.
    sxids: BTreeMap<u32, u64>,
}

impl Counted {
    fn now(roster: &SharedRoster, slot: u8) -> Self {
        let roster = roster.read().unwrap_or_else(PoisonError::into_inner);
        let gpu = roster.health.gpus.get(usize::from(slot));
        let xids =
            gpu.into_iter().flat_map(|gpu| &gpu.incidents.counts).map(|(code, count)| (*code, count.errors));
        let mut sxids = BTreeMap::new();
        for (code, count) in roster.health.sxids.values().flatten() {
            *sxids.entry(*code).or_default() += count;
        }
        Self { xids: xids.collect(), sxids }
    }
}

fn memory_total(roster: &SharedRoster, slot: u8) -> u64 {
    let roster = roster.read().unwrap_or_else(PoisonError::into_inner);
    let inventory = roster.gpu(slot).and_then(|gpu| gpu.inventory.as_ref());
    inventory.and_then(|inventory| inventory.memory_total.ok()).map_or(0, |bytes| bytes.0)
}

fn numa_node(sysfs_root: &Path, address: PciAddress) -> Option<u16> {
    let PciAddress { domain, bus, device, function } = address;
    let name = format!("{domain:04x}:{bus:02x}:{device:02x}.{function:x}");
    fs::read_to_string(sysfs_root.join("bus/pci/devices").join(name).join("numa_node"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// One process at work.
struct Drive<'a> {
    place: &'a mut Place,
    record: &'a mut Record,
    heard: Instant,
    patience: Duration,
    last_sample_ms: Option<u64>,
    rate: Option<(FigureKind, u64)>,
    /// When the first stage began.
    working_since: Option<Instant>,
    /// NVML counts our own process, as far as is known.
    shown: bool,
    /// What is being written of it.
    keeping: Option<JoinHandle<()>>,
}

impl<'a> Drive<'a> {
    fn new(place: &'a mut Place, record: &'a mut Record) -> Self {
        Self {
            place,
            record,
            heard: Instant::now(),
            patience: SETUP,
            last_sample_ms: None,
            rate: None,
            working_since: None,
            shown: true,
            keeping: None,
        }
    }

    /// Until the process said that it is done (none), or for what reason it is to end.
    async fn until_over(&mut self, link: &mut Link) -> Option<Ending> {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                report = link.next() => match report {
                    Ok(report) => {
                        if let Some(over) = self.take(&report) {
                            return over;
                        }
                    }
                    Err(error) => return Some(broken(&error)),
                },
                _ = looks.tick() => {
                    self.look();
                    if let Some(by) = self.preempted() {
                        return Some(Ending::Preempted(by));
                    }
                    if self.heard.elapsed() > self.patience {
                        return Some(Ending::Hung);
                    }
                }
            }
        }
    }

    /// Takes a report; some where the process is not listened to any more.
    fn take(&mut self, report: &GpuReport) -> Option<Option<Ending>> {
        self.heard = Instant::now();
        if let Err(strange) = self.record.worked.take(report) {
            return Some(Some(Ending::Nonsense(strange.to_string())));
        }
        match report {
            GpuReport::StageBegan { .. } | GpuReport::StageSkipped { .. } | GpuReport::SelfTest { .. } => {
                self.patience = BETWEEN;
                self.working_since.get_or_insert_with(Instant::now);
            }
            GpuReport::Progress(progress) => {
                self.patience = WORKING;
                self.rate = Some((progress.kind, progress.rate));
            }
            GpuReport::StageEnded(_) => {
                self.patience = BETWEEN;
                self.rate = None;
                self.keep();
            }
            GpuReport::Done | GpuReport::Failed(_) => return Some(None),
            _ => {}
        }
        None
    }

    /// Keeps what is done so far of a run that goes on after a restart. The disk has a thread of its own; while it is
    /// busy with an earlier state, this one is left out.
    fn keep(&mut self) {
        let busy = self.keeping.as_ref().is_some_and(|keeping| !keeping.is_finished());
        if self.record.mode != Mode::Soak || busy {
            return;
        }
        let (store, record) = (self.place.store.clone(), self.record.clone());
        self.keeping = Some(spawn_blocking(move || {
            if let Err(error) = store.keep_running(&record) {
                tracing::warn!(error = chain(&error), "a burn-in that runs is not kept on disk");
            }
        }));
    }

    /// Takes down what samples say.
    fn look(&mut self) {
        let roster = self.place.roster.read().unwrap_or_else(PoisonError::into_inner);
        let record = &mut *self.record;
        let (Some(gpu), Some(taken)) = (roster.gpu(record.card.slot), roster.taken) else { return };
        let stage = record.worked.running();
        let at_ms = clock::unix_ms().saturating_sub(record.began_unix_ms);
        if self.last_sample_ms != Some(taken.boot_ms) {
            self.last_sample_ms = Some(taken.boot_ms);
            // Some drivers do not show our process to NVML: those of containers, and the simulated one.
            let settled = self.working_since.is_some_and(|since| since.elapsed() >= SETTLED);
            if settled && gpu.fast.processes_compute.is_ok_and(|count| count.0 == 0) {
                self.shown = false;
            }
            record.seen.take(&Sampled {
                boot_ms: taken.boot_ms,
                fast: &gpu.fast,
                slow: gpu.slow.as_ref().map(|slow| &slow.slow),
                inventory: gpu.inventory.as_ref(),
                stage,
                own_processes: u64::from(self.shown),
            });
        }
        let point = Point {
            at_ms,
            stage: stage.and_then(|stage| u32::try_from(stage).ok()),
            celsius: gpu.fast.temperature_gpu.ok().map(|celsius| celsius.0),
            milliwatts: gpu.fast.power_draw.ok().map(|power| power.0),
            clock_mhz: gpu.fast.clock_sm.ok().map(|clock| clock.0),
            rate: self.rate.map(|(_, rate)| rate),
            kind: self.rate.map(|(kind, _)| kind),
        };
        let every = record.point_every_ms(POINT_EVERY_MS);
        if record.points.last().is_none_or(|last| at_ms >= last.at_ms + every) {
            record.point(point);
        }
        self.place.board.show(record.card.slot, running(record, point));
    }

    /// Who wants the GPU, if anybody does.
    fn preempted(&self) -> Option<String> {
        if let Some(by) = self.place.stop.borrow().as_ref() {
            return Some(by.clone());
        }
        let roster = self.place.roster.read().unwrap_or_else(PoisonError::into_inner);
        claimed(&roster, self.record.card.slot, u64::from(self.shown))
    }
}

/// Who has a better claim on the GPU.
fn claimed(roster: &Roster, slot: u8, own_processes: u64) -> Option<String> {
    let occupancy = roster.health.gpus.get(usize::from(slot)).map(|gpu| &gpu.occupancy)?;
    if let Some(lease) = &occupancy.lease {
        return Some(format!("lease {}", lease.id));
    }
    // Our use of the GPU ends when its card leaves.
    if occupancy.burn_in.is_none() {
        return Some("another card is in the slot".to_owned());
    }
    let gpu = roster.gpu(slot)?;
    match gpu.standing {
        Standing::Absent(NoData::Paused) => return Some("a pause".to_owned()),
        Standing::Absent(NoData::HandedOver) => return Some("another driver".to_owned()),
        _ => {}
    }
    let processes = gpu.fast.processes_compute.ok()?;
    let others = processes.0.saturating_sub(own_processes);
    (others > 0).then(|| format!("{others} other processes"))
}

fn broken(error: &LinkError) -> Ending {
    match error {
        LinkError::Malformed(_) => Ending::Nonsense(chain(error)),
        _ => Ending::Broken(chain(error)),
    }
}

/// What people are shown of a run.
fn running(record: &Record, point: Point) -> Running {
    let stages = &record.worked.plan.stages;
    Running {
        mode: record.mode,
        began_unix_ms: record.began_unix_ms,
        total_ms: record.worked.plan.total_ms(),
        phase: "running",
        stage: record.worked.running(),
        test: record.worked.running().map(|stage| stages[stage].test),
        stages: stages.len(),
        miscompares: record.worked.miscompares_total,
        point,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::RwLock;

    use rackmark_health::Verb;
    use rackmark_health::burn_in::Mode;
    use rackmark_model::ipc::SamplerReport;
    use rackmark_model::readings::{Fast, Inventory, Slow};
    use rackmark_model::{Count, GpuInventory, GpuSample, GpuSlow, Presence, Sample};

    use super::*;

    const NOW: rackmark_health::Now = rackmark_health::Now { boot_ms: 9_000, unix_ms: 1_796_119_200_000 };
    const ADDRESS: PciAddress = PciAddress { domain: 0, bus: 3, device: 0, function: 0 };

    fn sample(boot_ms: u64, processes: u64) -> SamplerReport {
        let mut fast = Fast::absent(NoData::NotSupported);
        fast.processes_compute = Ok(Count(processes));
        let gpu = GpuSample { address: ADDRESS, presence: Presence::Open, in_call: None, fast };
        SamplerReport::Sample(Sample {
            seq: boot_ms,
            taken_boot_ms: boot_ms,
            taken_unix_ms: NOW.unix_ms,
            took_us: 1,
            gpus: vec![gpu],
        })
    }

    fn card(serial: &str) -> SamplerReport {
        let mut inventory = Inventory::absent(NoData::NotSupported);
        inventory.serial = Ok(serial.to_owned());
        SamplerReport::Inventory(Box::new(GpuInventory { address: ADDRESS, inventory, mig: Vec::new() }))
    }

    /// A GPU that is tested.
    fn tested() -> Roster {
        let mut roster = Roster::default();
        roster.around.lease_source = true;
        roster.take(&sample(NOW.boot_ms, 0), NOW);
        roster.take(&card("S1"), NOW);
        let slow = Slow::absent(NoData::NotSupported);
        let (address, taken_unix_ms) = (ADDRESS, NOW.unix_ms);
        let slow = GpuSlow { address, taken_unix_ms, slow, nvlinks: Vec::new(), processes: Vec::new() };
        roster.take(&SamplerReport::Slow(Box::new(slow)), NOW);
        roster.take(&sample(NOW.boot_ms, 0), NOW);
        let begin = Verb::BurnInStart { slot: 0, mode: Mode::Quick };
        roster.carry_out(&begin, "root", NOW, &mut Vec::new()).expect("it is free");
        roster
    }

    #[test]
    fn whoever_has_a_better_claim_is_named_and_our_own_process_is_not() {
        let mut roster = tested();
        assert_eq!(claimed(&roster, 0, 1), None);
        roster.take(&sample(NOW.boot_ms + 1_000, 1), NOW);
        assert_eq!(claimed(&roster, 0, 1), None, "that is ours");
        assert_eq!(claimed(&roster, 0, 0).as_deref(), Some("1 other processes"), "ours is not shown");
        roster.take(&sample(NOW.boot_ms + 2_000, 2), NOW);
        assert_eq!(claimed(&roster, 0, 1).as_deref(), Some("1 other processes"));
        let mut roster = tested();
        let lease = Verb::LeaseStart { slot: 0, id: "job", reserved: true, until_unix_ms: None };
        roster.carry_out(&lease, "root", NOW, &mut Vec::new()).expect("a customer comes first");
        assert_eq!(claimed(&roster, 0, 1).as_deref(), Some("lease job"), "a promise is enough");
        let mut roster = tested();
        roster.take(&card("S2"), NOW);
        roster.take(&sample(NOW.boot_ms + 1_000, 0), NOW);
        assert_eq!(claimed(&roster, 0, 1).as_deref(), Some("another card is in the slot"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_is_judged_by_a_sample_that_was_taken_after_it() {
        let roster = Arc::new(RwLock::new(tested()));
        assert!(!sampled_since(&roster, NOW.boot_ms + 1).await, "none came in time");
        let later = roster.clone();
        let comes = async move {
            sleep(Duration::from_secs(2)).await;
            later.write().expect("not poisoned").take(&sample(NOW.boot_ms + 2_000, 0), NOW);
        };
        let (sampled, ()) = tokio::join!(sampled_since(&roster, NOW.boot_ms + 1), comes);
        assert!(sampled);
    }
}
