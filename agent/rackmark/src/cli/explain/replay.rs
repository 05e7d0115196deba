//! Feeds a recording to the judge, on the clock of the recording.

use rackmark_health::trace::{About, TraceItem, What, XidSeen, XidSource};
use rackmark_health::{
    GpuView, Gpus, Input, Instance, NodeView, Now, Standing, State, Transition, Witness, XidReport, step,
};
use rackmark_model::readings::{Fast, Inventory, Slow};
use rackmark_model::{NoData, NvLink};

/// What the clock since boot says at the start of a recording: so late that nothing is still settling after a boot.
const BOOT_MS: u64 = 30 * 24 * 3_600_000;

/// Something that the agent would have said.
pub struct Said {
    /// Milliseconds since the start of the recording.
    pub t_ms: u64,
    /// Wall clock, milliseconds since 1970.
    pub at_unix_ms: u64,
    /// What.
    pub what: Transition,
}

/// A recording that is judged.
pub struct Replay {
    recorded_unix_ms: u64,
    period_ms: u64,
    seen: Vec<Seen>,
    driver_cause: Option<String>,
    sampled_ms: Option<u64>,
    samples: u64,
    state: State,
    said: Vec<Said>,
    t_ms: u64,
    /// Something came since the last look.
    due: bool,
}

/// One GPU as the recording has shown it so far.
struct Seen {
    serial: Option<String>,
    absent: Option<NoData>,
    /// The call it hangs in.
    function: String,
    fast: Fast,
    slow: Option<(Slow, u64)>,
    nvlinks: Vec<NvLink>,
    inventory: Inventory,
}

impl Replay {
    /// Begins; one that is `fast_only`, as those of version 1 are, is judged without slow readings.
    pub fn new(about: &About, fast_only: bool) -> Self {
        let gpu = |inventory: &Inventory| Seen {
            serial: inventory.serial.clone().ok(),
            absent: (!fast_only).then_some(NoData::NotSampled),
            function: String::new(),
            fast: Fast::absent(NoData::NotSampled),
            slow: fast_only.then(|| (Slow::absent(NoData::NotSampled), about.recorded_unix_ms)),
            nvlinks: Vec::new(),
            inventory: inventory.clone(),
        };
        let mut replay = Self {
            recorded_unix_ms: about.recorded_unix_ms,
            period_ms: about.period_ms,
            seen: about.gpus.iter().map(gpu).collect(),
            driver_cause: None,
            sampled_ms: None,
            samples: 0,
            state: State::default(),
            said: Vec::new(),
            t_ms: 0,
            due: false,
        };
        replay.step(Input::Begin { boot_id: "recording" });
        replay
    }

    /// Takes the next item. What bears the same time is looked at together, as it came with one sample.
    pub fn take(&mut self, item: TraceItem) {
        if item.t_ms > self.t_ms {
            self.look();
            self.t_ms = item.t_ms;
        }
        self.due = true;
        let at_unix_ms = self.now().unix_ms;
        match item.what {
            What::Fast { gpu, fast } => {
                if self.sampled_ms != Some(self.t_ms) {
                    self.sampled_ms = Some(self.t_ms);
                    self.samples += 1;
                }
                if let Some(seen) = self.seen.get_mut(usize::from(gpu)) {
                    seen.fast = *fast;
                }
            }
            What::Slow { gpu, slow, nvlinks, .. } => {
                if let Some(seen) = self.seen.get_mut(usize::from(gpu)) {
                    seen.slow = Some((*slow, at_unix_ms));
                    seen.nvlinks = nvlinks;
                }
            }
            What::Inventory { gpu, inventory } => {
                if let Some(seen) = self.seen.get_mut(usize::from(gpu)) {
                    if let Ok(serial) = &inventory.serial {
                        seen.serial = Some(serial.clone());
                    }
                    seen.inventory = *inventory;
                }
            }
            What::Presence { gpu, absent, function } => {
                if let Some(seen) = self.seen.get_mut(usize::from(gpu)) {
                    (seen.absent, seen.function) = (absent, function);
                }
            }
            What::Xid(seen) => {
                let report = report(seen, at_unix_ms);
                // The judge knows its GPUs from the first look on.
                if self.samples == 0 {
                    self.look();
                    self.due = true;
                }
                self.step(Input::Xid(&report));
            }
            What::DriverGone { cause } => self.driver_cause = Some(cause),
            What::DriverBack { .. } => self.driver_cause = None,
        }
    }

    /// Looks at what came last; everything that was said, the judgement, and how long the recording lasted.
    pub fn end(mut self) -> (Vec<Said>, State, u64) {
        self.look();
        (self.said, self.state, self.t_ms)
    }

    fn now(&self) -> Now {
        Now { boot_ms: BOOT_MS + self.t_ms, unix_ms: self.recorded_unix_ms.saturating_add(self.t_ms) }
    }

    fn look(&mut self) {
        if !std::mem::take(&mut self.due) {
            return;
        }
        let seen = std::mem::take(&mut self.seen);
        let cause = self.driver_cause.take();
        let node = NodeView {
            driver_up: Some(cause.is_none()),
            driver_cause: cause.as_deref().unwrap_or(""),
            sampled_boot_ms: self.sampled_ms.map(|sampled| BOOT_MS + sampled),
            period_ms: self.period_ms,
            samples: self.samples,
            paused: false,
            expected_gpus: None,
            lease_source: false,
            host: None,
            kernel_log_trouble: None,
            spool_trouble: "",
            boot_grace_ms: 0,
            ignored: &[],
        };
        self.step(Input::Look { node: &node, gpus: &All(&seen, self.t_ms) });
        self.seen = seen;
        self.driver_cause = cause;
    }

    fn step(&mut self, input: Input<'_>) {
        let (now, t_ms) = (self.now(), self.t_ms);
        let mut out = Vec::new();
        step(&mut self.state, input, now, &mut out);
        self.said.extend(out.into_iter().map(|what| Said { t_ms, at_unix_ms: now.unix_ms, what }));
    }
}

fn report(seen: XidSeen, at_unix_ms: u64) -> XidReport {
    XidReport {
        slot: seen.gpu,
        address: seen.pci,
        address_text: seen.pci.map(|address| address.to_string()).unwrap_or_default(),
        code: seen.code,
        witness: match seen.source {
            XidSource::KernelLog => Witness::KernelLog,
            XidSource::Driver => Witness::Driver,
        },
        instance: seen
            .gpu_instance_id
            .map(|gpu_instance| Instance { gpu_instance, compute_instance: seen.compute_instance_id }),
        pid: None,
        process: None,
        text: seen.text,
        caused_by: None,
        seen_unix_ms: at_unix_ms,
    }
}

/// The GPUs as the judge sees them, at a time.
struct All<'a>(&'a [Seen], u64);

impl Gpus for All<'_> {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn gpu(&self, at: usize) -> GpuView<'_> {
        let seen = &self.0[at];
        GpuView {
            slot: at as u8,
            serial: seen.serial.as_deref(),
            uuid: seen.inventory.uuid.as_deref().ok(),
            standing: match seen.absent {
                None => Standing::Answering,
                // At the start, a call that is out may still come back.
                Some(NoData::Timeout) if seen.function.is_empty() && self.1 == 0 => Standing::Slow,
                Some(NoData::Timeout) => Standing::Unresponsive(&seen.function),
                Some(why) => Standing::Absent(why),
            },
            fast: &seen.fast,
            slow: seen.slow.as_ref().map(|(slow, taken)| (slow, *taken)),
            nvlinks: &seen.nvlinks,
            inventory: Some(&seen.inventory),
        }
    }
}
