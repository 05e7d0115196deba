//! A burn-in: stage after stage, each proven by a spoiled bit before it is relied on.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rackmark_model::gpu_work::{
    BurnInOrder, BurnInTest, FigureKind, GpuReport, MISCOMPARES_MAX, Miscompare, PROGRESS_EVERY_MS, Progress,
    SkipReason, Stage, StageEnded,
};

use super::chains::Chains;
use super::cuda::{CudaError, Gpu, Stretch};
use super::host_link::HostLink;
use super::memory_pattern::MemoryPattern;
use super::memory_traffic::{Direction, MemoryTraffic};
use super::meter::{Meter, Work};
use super::modules::Modules;
use super::outlet::Outlet;
use super::peer_link::PeerLink;
use super::process::{self, Stop};
use super::product::Product;
use super::pulse::Pulse;
use super::scattered::Scattered;
use super::test::{Judged, Slot, Test, Wrong};
use crate::golden::mix64;

const PROGRESS_EVERY: Duration = Duration::from_millis(PROGRESS_EVERY_MS as u64);

/// A launch that took so many thousandths of what it aims at is left as it is.
const AIMED: std::ops::RangeInclusive<u64> = 700..=1_400;
/// A launch becomes longer or shorter by so many thousandths at a time.
const SCALE: (u64, u64) = (250, 8_000);

/// Memory that records and other small things take, beside what is held for tests: so much, or a sixteenth of what is
/// free where that is less.
const RESERVE_BYTES: u64 = 64 << 20;

/// CUDA's codes that say that a module cannot be loaded here and leave the context as it was: invalid image, no binary
/// for the GPU, invalid PTX, unsupported PTX version, no JIT compiler.
const NOT_LOADED: [u32; 5] = [200, 209, 218, 221, 222];

/// Works through the order; false where a checker missed its spoiled bit, so that nothing it says can be relied on.
///
/// # Errors
/// The first [`CudaError`]; none of them is tried again in this process.
pub fn run(order: &BurnInOrder, outlet: &Outlet, stop: &Stop) -> Result<bool, CudaError> {
    if let Some(node) = order.numa_node {
        process::stay_near(node);
    }
    let gpu = Gpu::open(&order.gpu_uuid)?;
    outlet.send(&GpuReport::Device(gpu.about.clone()));
    let intended = share(gpu.about.memory_free_bytes, order.memory_permille);
    let held = gpu.hold(intended)?;
    outlet.send(&GpuReport::Held { bytes: held.bytes, intended_bytes: intended });
    let mut burn_in =
        BurnIn { modules: Modules::new(&gpu, outlet), gpu: &gpu, outlet, stop, held, reported: 0 };
    for (number, stage) in (0_u16..).zip(&order.stages) {
        outlet.send(&GpuReport::StageBegan { stage: number });
        let made = burn_in.make(stage.test, mix64(order.seed ^ u64::from(number)));
        let skipped = match made {
            Ok(Ok(mut test)) => {
                if !burn_in.stage(number, *stage, &mut *test)? {
                    return Ok(false);
                }
                continue;
            }
            Ok(Err(reason)) => reason,
            Err(error) if error.code.is_some_and(|code| NOT_LOADED.contains(&code)) => {
                process::complain(&error.to_string());
                SkipReason::NoModule
            }
            Err(error) => return Err(error),
        };
        outlet.send(&GpuReport::StageSkipped { stage: number, reason: skipped });
    }
    Ok(true)
}

/// So many thousandths of what is free, whole pages of 2 MiB, with something left for the driver.
fn share(free_bytes: u64, permille: u16) -> u64 {
    let share = u128::from(free_bytes) * u128::from(permille.min(950)) / 1_000;
    let share = u64::try_from(share).unwrap_or(u64::MAX).min(free_bytes - RESERVE_BYTES.min(free_bytes / 16));
    (share >> 21 << 21).max(2 << 20)
}

struct BurnIn<'a> {
    modules: Modules<'a>,
    gpu: &'a Gpu,
    outlet: &'a Outlet,
    stop: &'a Stop,
    held: Stretch,
    /// Miscompares that were told one by one.
    reported: u32,
}

type Made = Result<Box<dyn Test>, SkipReason>;

fn boxed<T: Test + 'static>(test: Option<T>, otherwise: SkipReason) -> Made {
    test.map(|test| Box::new(test) as Box<dyn Test>).ok_or(otherwise)
}

impl BurnIn<'_> {
    fn make(&mut self, test: BurnInTest, seed: u64) -> Result<Made, CudaError> {
        use SkipReason::{Architecture, Memory, NoPeer};
        let (gpu, modules, held) = (self.gpu, &mut self.modules, self.held);
        let traffic =
            |modules: &mut Modules<'_>, direction| MemoryTraffic::new(gpu, modules, direction, held, seed);
        Ok(match test {
            BurnInTest::MemoryPattern => boxed(MemoryPattern::new(gpu, modules, held, seed)?, Architecture),
            BurnInTest::MemoryRead => boxed(traffic(modules, Direction::Read)?, Architecture),
            BurnInTest::MemoryWrite => boxed(traffic(modules, Direction::Write)?, Architecture),
            BurnInTest::MemoryCopy => boxed(traffic(modules, Direction::Copy)?, Architecture),
            BurnInTest::GemmPortable(format) => {
                boxed(Product::new(gpu, modules, (format, false), held, seed)?, Architecture)
            }
            BurnInTest::GemmHopper(format) => {
                boxed(Product::new(gpu, modules, (format, true), held, seed)?, Architecture)
            }
            BurnInTest::Alu => boxed(Chains::new(gpu, modules, seed)?, Architecture),
            BurnInTest::Gather => boxed(Scattered::new(gpu, modules, held, seed)?, Memory),
            BurnInTest::Pulse => boxed(Pulse::new(gpu, modules, held, seed)?, Architecture),
            BurnInTest::Power => boxed(Product::of_power(gpu, modules, held, seed)?, Architecture),
            BurnInTest::HostLink => boxed(HostLink::new(gpu, modules, held, seed)?, Memory),
            BurnInTest::PeerLink => boxed(PeerLink::new(gpu, modules, held, seed)?, NoPeer),
        })
    }

    /// Runs one stage; false where the run is not to go on.
    fn stage(&mut self, number: u16, stage: Stage, test: &mut dyn Test) -> Result<bool, CudaError> {
        let mut slots = VecDeque::new();
        for _ in 0..test.depth().max(1) {
            slots.push_back(self.slot(test.record_bytes())?);
        }
        let found = self.self_test(test, &mut slots)?;
        self.outlet.send(&GpuReport::SelfTest { test: stage.test, caught: found.is_some() });
        let Some(found) = found else { return Ok(false) };
        self.tell(number, &found.first);
        let running = Running::new(number, test, self, found.count);
        running.until(Duration::from_millis(u64::from(stage.duration_ms)), slots)?;
        Ok(true)
    }

    fn slot(&self, bytes: u64) -> Result<Slot, CudaError> {
        Ok(Slot {
            record: self.gpu.allocate(bytes)?,
            fetched: self.gpu.pin(usize::try_from(bytes).unwrap_or(usize::MAX))?,
            begin: self.gpu.mark()?,
            end: self.gpu.mark()?,
            done: self.gpu.mark()?,
        })
    }

    /// Shows each checker one spoiled bit. What they found beside it is the GPU's; none where one did not see its bit.
    fn self_test(
        &mut self,
        test: &mut dyn Test,
        slots: &mut VecDeque<Slot>,
    ) -> Result<Option<Judged>, CudaError> {
        let Some(slot) = slots.front_mut() else { return Ok(None) };
        let mut beside = Judged::default();
        for number in 0..test.self_tests() {
            queue(self.gpu, test, slot, number, true)?;
            self.gpu.wait(slot.done)?;
            let mut judged = test.judge(number, slot.fetched.bytes());
            let named = judged.first.len() as u64;
            judged.first.retain(|wrong| !test.is_spoiled(wrong));
            // Where more is wrong than is named, the bit may be among the rest: such a GPU fails in any case.
            let seen = (judged.first.len() as u64) < named || judged.count > named;
            if !judged.verified || !seen {
                return Ok(None);
            }
            beside.count += judged.count.saturating_sub(1);
            beside.first.append(&mut judged.first);
        }
        Ok(Some(beside))
    }

    /// Tells wrong results, the first ones of the run one by one.
    fn tell(&mut self, stage: u16, first: &[Wrong]) {
        for wrong in first {
            if self.reported >= MISCOMPARES_MAX {
                return;
            }
            self.reported += 1;
            let Wrong { pass, sm, place, rose, fell } = *wrong;
            self.outlet.send(&GpuReport::Miscompare(Miscompare { stage, pass, sm, place, rose, fell }));
        }
    }
}

/// Queues a launch, from its zeroed record to its fetched one.
fn queue(
    gpu: &Gpu,
    test: &mut dyn Test,
    slot: &mut Slot,
    number: u64,
    flip: bool,
) -> Result<Work, CudaError> {
    gpu.clear(slot.record)?;
    let work = test.launch(gpu, slot, number, flip)?;
    gpu.fetch(&mut slot.fetched, slot.record.at)?;
    gpu.set(slot.done)?;
    Ok(work)
}

/// A stage while it runs.
struct Running<'a, 'b> {
    number: u16,
    test: &'a mut dyn Test,
    burn_in: &'a mut BurnIn<'b>,
    began: Instant,
    told: Instant,
    meter: Meter,
    /// Launches that were queued.
    queued: u64,
    /// The first launch since the length of launches changed: earlier ones say nothing of it.
    scaled_at: u64,
    /// Launches that ended, and those of them whose work was looked at.
    launches: u64,
    verified: u64,
    work: u64,
    miscompares: u64,
}

impl<'a, 'b> Running<'a, 'b> {
    fn new(number: u16, test: &'a mut dyn Test, burn_in: &'a mut BurnIn<'b>, miscompares: u64) -> Self {
        let now = Instant::now();
        let meter = Meter::default();
        Self {
            number,
            test,
            burn_in,
            began: now,
            told: now,
            meter,
            queued: 0,
            scaled_at: 0,
            launches: 0,
            verified: 0,
            work: 0,
            miscompares,
        }
    }

    /// Keeps the queue full until the time is over.
    fn until(mut self, duration: Duration, mut free: VecDeque<Slot>) -> Result<(), CudaError> {
        let gpu = self.burn_in.gpu;
        let mut queued: VecDeque<(Slot, u64, Work)> = VecDeque::new();
        loop {
            let over = self.began.elapsed() >= duration && self.test.may_end();
            if self.burn_in.stop.is_set() {
                process::end(0);
            }
            let rest = if over { None } else { self.test.rest(self.began.elapsed()) };
            if !over
                && rest.is_none()
                && let Some(mut slot) = free.pop_front()
            {
                let work = queue(gpu, self.test, &mut slot, self.queued, false)?;
                queued.push_back((slot, self.queued, work));
                self.queued += 1;
                continue;
            }
            // A pause begins when nothing is under way.
            while let Some((slot, launch, work)) = queued.pop_front() {
                gpu.wait(slot.done)?;
                self.ended(&slot, launch, work)?;
                free.push_back(slot);
                if rest.is_none() && !over {
                    break;
                }
            }
            if over && queued.is_empty() && self.test.may_end() {
                break;
            }
            if let Some(rest) = rest {
                std::thread::sleep(rest);
            }
        }
        self.end();
        Ok(())
    }

    fn ended(&mut self, slot: &Slot, launch: u64, work: Work) -> Result<(), CudaError> {
        let took = self.burn_in.gpu.between(slot.begin, slot.end)?;
        let Judged { verified, count, first } = self.test.judge(launch, slot.fetched.bytes());
        self.launches += 1;
        if verified {
            self.verified += 1;
            self.work += work.amount;
            self.meter.add(work, took);
        }
        self.miscompares += count;
        self.burn_in.tell(self.number, &first);
        let aim = self.test.aim().as_nanos().max(1);
        let permille = u64::try_from(took.as_nanos() * 1_000 / aim).unwrap_or(u64::MAX);
        if verified && launch >= self.scaled_at && !AIMED.contains(&permille) {
            self.scaled_at = self.queued;
            let (least, most) = SCALE;
            self.test.scale((1_000_000 / permille.max(1)).clamp(least, most));
        }
        if self.told.elapsed() >= PROGRESS_EVERY {
            self.tell_progress();
        }
        Ok(())
    }

    fn elapsed_ms(&self) -> u32 {
        u32::try_from(self.began.elapsed().as_millis()).unwrap_or(u32::MAX)
    }

    fn tell_progress(&mut self) {
        self.told = Instant::now();
        let (kind, rate): (FigureKind, u64) = self.meter.end_window();
        self.burn_in.outlet.send(&GpuReport::Progress(Progress {
            stage: self.number,
            elapsed_ms: self.elapsed_ms(),
            launches: self.launches,
            kind,
            rate,
            miscompares: self.miscompares,
        }));
    }

    fn end(self) {
        let elapsed_ms = self.elapsed_ms();
        self.burn_in.outlet.send(&GpuReport::StageEnded(StageEnded {
            stage: self.number,
            elapsed_ms,
            launches: self.verified,
            work: self.work,
            miscompares: self.miscompares,
            memory_bytes: self.test.memory_bytes(),
            figures: self.meter.figures(),
        }));
    }
}
