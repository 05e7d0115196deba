//! The main thread: looks at sysfs, collects every tick, and reports it. It
//! never calls the driver, so nothing the driver does can silence it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rackmark_hardware::pci::PciScanner;
use rackmark_model::Sample;
use rackmark_model::ipc::SamplerReport;

use crate::{RETRY, Shared, clock, gpu, outlet};

/// Longest wait for answers after a tick is due; a fifth of a shorter period
/// stays free for what comes after.
const DEADLINE_MAX: Duration = Duration::from_millis(800);

pub(crate) struct Ticker {
    shared: Arc<Shared>,
    scanner: PciScanner,
    scan_due: Instant,
    scan_failed: bool,
}

impl Ticker {
    /// A ticker that has looked at sysfs once.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let scanner = PciScanner::new(&shared.sysfs_root);
        let mut this = Self { shared, scanner, scan_due: Instant::now(), scan_failed: false };
        this.scan();
        this
    }

    /// Reports one sample for every tick, for ever.
    pub(crate) fn run(mut self) -> ! {
        let beat = self.shared.beat;
        let patience = (beat.period() * 4 / 5).min(DEADLINE_MAX);
        let (mut tick, mut seq) = (0, 0);
        loop {
            let due = beat.due(tick);
            let Some(gpus) = self.shared.board.collect(tick, due, due + patience, self.scan_due) else {
                self.scan();
                gpu::staff(&self.shared);
                continue;
            };
            let took = due.elapsed();
            let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            self.shared.outlet.send(&SamplerReport::Sample(Sample {
                seq,
                taken_boot_ms: clock::boot_ms().saturating_sub(took_ms),
                taken_unix_ms: clock::unix_ms().saturating_sub(took_ms),
                took_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                gpus,
            }));
            seq += 1;
            let now = Instant::now();
            if now >= self.scan_due {
                self.scan();
                gpu::staff(&self.shared);
            }
            tick = beat.after(tick, now);
        }
    }

    fn scan(&mut self) {
        self.scan_due = Instant::now() + RETRY;
        match self.scanner.scan() {
            Ok(found) => {
                self.scan_failed = false;
                self.shared.board.apply_scan(&found);
            }
            // Said once; what was known of the GPUs stays as it was.
            Err(error) if !self.scan_failed => {
                self.scan_failed = true;
                outlet::complain(&error.to_string());
            }
            Err(_) => {}
        }
    }
}
