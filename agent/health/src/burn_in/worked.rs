use rackmark_model::gpu_work::{
    BurnInTest, CudaFailure, GpuDevice, GpuReport, Loaded, MISCOMPARES_MAX, Miscompare, Progress, STAGES_MAX,
    SkipReason, StageEnded,
};
use serde::{Deserialize, Serialize};

use super::mode::Plan;

/// Modules remembered: what one process can load, with room.
const MODULES_MAX: usize = 32;

/// How the work ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It has not.
    Running,
    /// Every stage of the plan ran or was skipped.
    Complete,
    /// It was stopped for a customer or a person: who, or for what.
    Preempted(String),
    /// No sign of life; the process was ended.
    Hung,
    /// No sign of life, and the process cannot be ended.
    Wedged,
    /// The process is gone: how.
    Broken(String),
    /// The process said something that cannot be.
    Nonsense(String),
    /// The process said that it cannot go on.
    Failed(CudaFailure),
    /// The process could not be had: why.
    Unavailable(String),
}

/// Whether the checker of a stage was proved in the process that ran it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SelfTest {
    /// It was not tried.
    Absent,
    /// It did not see the flipped bit.
    Missed,
    /// It saw it.
    Caught,
}

/// A stage that ran to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// What the process said at its end.
    pub report: StageEnded,
    /// Whether its checker was proved.
    pub self_test: SelfTest,
    /// Reports of progress while it ran.
    pub windows: u32,
    /// Of them, with a rate of zero.
    pub windows_idle: u32,
}

/// Where a stage is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageState {
    /// Not begun.
    Waiting,
    /// Begun and not ended; what was seen of it.
    Began {
        /// Reports of progress.
        windows: u32,
        /// Of them, with a rate of zero.
        windows_idle: u32,
    },
    /// It does not run on this GPU.
    Skipped(SkipReason),
    /// Ended.
    Ended(Ended),
}

/// What the process said that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strange {
    /// It spoke of a stage that the order does not have.
    NoSuchStage(u16),
    /// A stage ended or was skipped that had ended or been skipped, or ended without a beginning.
    OutOfOrder(u16),
    /// It said that it was done with stages left.
    DoneTooEarly,
    /// It spoke of a proof.
    Proof,
}

impl std::fmt::Display for Strange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoSuchStage(stage) => write!(f, "stage {stage} is not in the order"),
            Self::OutOfOrder(stage) => write!(f, "stage {stage} ended without a beginning, or twice"),
            Self::DoneTooEarly => f.write_str("it said that it was done with stages left"),
            Self::Proof => f.write_str("it spoke of a proof, which is not in the order"),
        }
    }
}

impl std::error::Error for Strange {}

/// What one burn-in did so far, over all its processes. Kept on disk, so that a long one goes on after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worked {
    /// What was to be done.
    pub plan: Plan,
    /// One for each stage of the plan.
    pub stages: Vec<StageState>,
    /// The GPU, once a process opened it.
    pub device: Option<GpuDevice>,
    /// Modules that were loaded.
    pub modules: Vec<Loaded>,
    /// Memory that was held, and that was to be held, in bytes; the process that held the smallest share.
    pub held: Option<(u64, u64)>,
    /// Wrong results, the first of them.
    pub miscompares: Vec<Miscompare>,
    /// All wrong results.
    pub miscompares_total: u64,
    /// How it ended.
    pub ending: Ending,
    /// The GPU is simulated: how fast it is says something about a processor only.
    #[serde(default)]
    pub simulated: bool,
    /// First stage of the order that the present process has.
    first: usize,
    /// Stages of that order.
    ordered: usize,
    /// A test whose checker once did not see its bit: nothing of the whole run is to be relied on.
    pub missed_self_test: Option<BurnInTest>,
    /// Self-tests that the present process told of.
    self_tests: Vec<(BurnInTest, bool)>,
    /// Wrong results of the stage that runs.
    stage_miscompares: u64,
}

impl Worked {
    /// Nothing done yet.
    pub fn new(plan: Plan) -> Self {
        Self {
            stages: vec![StageState::Waiting; plan.stages.len()],
            plan,
            device: None,
            modules: Vec::new(),
            held: None,
            miscompares: Vec::new(),
            miscompares_total: 0,
            ending: Ending::Running,
            simulated: false,
            first: 0,
            ordered: 0,
            missed_self_test: None,
            self_tests: Vec::new(),
            stage_miscompares: 0,
        }
    }

    /// Begins the next order: the range of stages that a new process is to run; empty where none is left. A stage that
    /// was cut short runs again as a whole.
    pub fn begin_order(&mut self) -> std::ops::Range<usize> {
        self.first = self
            .stages
            .iter()
            .position(|stage| matches!(stage, StageState::Waiting | StageState::Began { .. }))
            .unwrap_or(self.stages.len());
        let round = self.plan.round().clamp(1, STAGES_MAX);
        let end = (self.first / round + 1) * round;
        self.ordered = end.min(self.stages.len()).saturating_sub(self.first);
        self.self_tests.clear();
        self.stage_miscompares = 0;
        if self.ordered > 0 {
            self.ending = Ending::Running;
        }
        for stage in &mut self.stages[self.first..self.first + self.ordered] {
            *stage = StageState::Waiting;
        }
        self.first..self.first + self.ordered
    }

    /// Whether every stage ran or was skipped.
    pub fn is_complete(&self) -> bool {
        self.stages.iter().all(|stage| matches!(stage, StageState::Ended(_) | StageState::Skipped(_)))
    }

    /// The stage that runs, by its position in the plan.
    pub fn running(&self) -> Option<usize> {
        self.stages.iter().position(|stage| matches!(stage, StageState::Began { .. }))
    }

    fn at(&self, stage: u16) -> Result<usize, Strange> {
        let at = usize::from(stage);
        if at < self.ordered { Ok(self.first + at) } else { Err(Strange::NoSuchStage(stage)) }
    }

    /// Takes one report.
    ///
    /// # Errors
    /// The report cannot be; nothing changed then, and the process is not to be believed any more.
    pub fn take(&mut self, report: &GpuReport) -> Result<(), Strange> {
        match report {
            GpuReport::Hello { .. } => {}
            GpuReport::Proof(_) => return Err(Strange::Proof),
            GpuReport::Device(device) => self.device = Some(device.clone()),
            GpuReport::Loaded(loaded) => {
                let known = self.modules.iter().any(|module| module.sha256 == loaded.sha256);
                if !known && self.modules.len() < MODULES_MAX {
                    self.modules.push(loaded.clone());
                }
            }
            GpuReport::Held { bytes, intended_bytes } => {
                let less = |(held, intended): (u64, u64)| {
                    u128::from(*bytes) * u128::from(intended) < u128::from(held) * u128::from(*intended_bytes)
                };
                if self.held.is_none_or(less) {
                    self.held = Some((*bytes, *intended_bytes));
                }
            }
            GpuReport::SelfTest { test, caught } => {
                if !caught {
                    self.missed_self_test = Some(*test);
                }
                // One for each stage will do; a process that goes on sending them is not to fill the memory.
                if self.self_tests.len() < STAGES_MAX * 4 {
                    self.self_tests.push((*test, *caught));
                }
            }
            GpuReport::StageBegan { stage } => {
                let at = self.at(*stage)?;
                if self.stages[at] != StageState::Waiting || self.running().is_some() {
                    return Err(Strange::OutOfOrder(*stage));
                }
                self.stages[at] = StageState::Began { windows: 0, windows_idle: 0 };
                self.stage_miscompares = 0;
            }
            GpuReport::StageSkipped { stage, reason } => {
                let at = self.at(*stage)?;
                if !matches!(self.stages[at], StageState::Waiting | StageState::Began { .. }) {
                    return Err(Strange::OutOfOrder(*stage));
                }
                self.stages[at] = StageState::Skipped(*reason);
            }
            GpuReport::Progress(progress) => self.progress(progress)?,
            GpuReport::Miscompare(miscompare) => {
                self.at(miscompare.stage)?;
                if self.miscompares.len() < MISCOMPARES_MAX as usize {
                    self.miscompares.push(*miscompare);
                }
                self.wrong(self.stage_miscompares.max(1));
            }
            GpuReport::StageEnded(ended) => self.ended(ended)?,
            GpuReport::Failed(failure) => self.ending = Ending::Failed(failure.clone()),
            GpuReport::Done => {
                let order = &self.stages[self.first..self.first + self.ordered];
                if order.iter().any(|stage| matches!(stage, StageState::Waiting | StageState::Began { .. })) {
                    return Err(Strange::DoneTooEarly);
                }
                if self.is_complete() {
                    self.ending = Ending::Complete;
                }
            }
        }
        Ok(())
    }

    /// Takes the count of wrong results of the stage that runs; it never falls.
    fn wrong(&mut self, count: u64) {
        let more = count.saturating_sub(self.stage_miscompares);
        self.stage_miscompares = self.stage_miscompares.saturating_add(more);
        self.miscompares_total = self.miscompares_total.saturating_add(more);
    }

    fn progress(&mut self, progress: &Progress) -> Result<(), Strange> {
        let at = self.at(progress.stage)?;
        // A sign of life while the stage is set up says nothing of its work.
        if let StageState::Began { windows, windows_idle } = &mut self.stages[at] {
            *windows = windows.saturating_add(1);
            // A dependent read takes time; its rate is a time, and zero of it is no work as well.
            *windows_idle = windows_idle.saturating_add(u32::from(progress.rate == 0));
            self.wrong(progress.miscompares);
        }
        Ok(())
    }

    fn ended(&mut self, report: &StageEnded) -> Result<(), Strange> {
        let at = self.at(report.stage)?;
        let StageState::Began { windows, windows_idle } = self.stages[at] else {
            return Err(Strange::OutOfOrder(report.stage));
        };
        self.wrong(report.miscompares);
        let test = self.plan.stages[at].test;
        let tried = || self.self_tests.iter().filter(|(tried, _)| *tried == test);
        let self_test = match (tried().next(), tried().all(|(_, caught)| *caught)) {
            (None, _) => SelfTest::Absent,
            (Some(_), true) => SelfTest::Caught,
            (Some(_), false) => SelfTest::Missed,
        };
        let report = report.clone();
        self.stages[at] = StageState::Ended(Ended { report, self_test, windows, windows_idle });
        Ok(())
    }
}
