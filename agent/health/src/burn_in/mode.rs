use rackmark_model::gpu_work::{BurnInTest, Format, STAGES_MAX, Stage};
use serde::{Deserialize, Serialize};

/// How long and how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// At most 2 s of work and 1 GB: does it compute at all.
    Probe,
    /// 60 s: after a card was put in.
    Quick,
    /// 15 minutes: whether a card is taken or sent back.
    Acceptance,
    /// Hours, one round of every test each; goes on after a restart.
    Soak,
}

/// All modes, shortest first.
pub const MODES: [Mode; 4] = [Mode::Probe, Mode::Quick, Mode::Acceptance, Mode::Soak];

/// Longest soak, in hours: a week.
pub const SOAK_HOURS_MAX: u16 = 168;

/// Memory of a mode that takes as much as it can, in thousandths of what is free.
const MOST_PERMILLE: u16 = 900;
/// Memory of the probe, in bytes.
const PROBE_BYTES_MAX: u64 = 1_000_000_000;
/// Shortest stage that the contract with the GPU process allows, in milliseconds.
const STAGE_MS_MIN: u32 = 20;

/// A test and its share of the time, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Which test.
    pub test: BurnInTest,
    /// Its share.
    pub permille: u32,
}

const fn share(test: BurnInTest, permille: u32) -> Share {
    Share { test, permille }
}

/// The probe: one test of each unit that computes or stores.
const PROBE: &[Share] = &[
    share(BurnInTest::MemoryPattern, 200),
    share(BurnInTest::GemmPortable(Format::Bf16), 300),
    share(BurnInTest::GemmHopper(Format::Bf16), 200),
    share(BurnInTest::Alu, 300),
];

/// All tests. Memory and the strongest product come first and get most; links come last, for they leave the GPU cool.
const WHOLE: &[Share] = &[
    share(BurnInTest::MemoryPattern, 170),
    share(BurnInTest::MemoryRead, 40),
    share(BurnInTest::MemoryWrite, 40),
    share(BurnInTest::MemoryCopy, 50),
    share(BurnInTest::GemmPortable(Format::Bf16), 60),
    share(BurnInTest::GemmPortable(Format::Fp16), 40),
    share(BurnInTest::GemmPortable(Format::Tf32), 40),
    share(BurnInTest::GemmPortable(Format::Int8), 40),
    share(BurnInTest::GemmPortable(Format::Fp64), 40),
    share(BurnInTest::GemmHopper(Format::Bf16), 90),
    share(BurnInTest::GemmHopper(Format::Fp8E4m3), 60),
    share(BurnInTest::GemmHopper(Format::Int8), 40),
    share(BurnInTest::Alu, 70),
    share(BurnInTest::Gather, 40),
    share(BurnInTest::Power, 60),
    share(BurnInTest::Pulse, 50),
    share(BurnInTest::HostLink, 40),
    share(BurnInTest::PeerLink, 30),
];

impl Mode {
    /// The name used on the command line, in JSON and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Quick => "quick",
            Self::Acceptance => "acceptance",
            Self::Soak => "soak",
        }
    }

    /// The mode of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        MODES.into_iter().find(|mode| mode.name() == name)
    }

    /// Time of all its stages, in milliseconds; of one round for a soak. What remains of the mode's time is for opening
    /// the GPU, holding memory and the self-tests.
    pub const fn round_ms(self) -> u32 {
        match self {
            Self::Probe => 1_000,
            Self::Quick => 54_000,
            Self::Acceptance => 850_000,
            Self::Soak => 3_570_000,
        }
    }

    /// Whether a pass in it vouches for a card that was never tested.
    pub fn vouches(self) -> bool {
        self >= Self::Quick
    }

    /// Whether as much memory as possible is to be tested.
    pub fn takes_all_memory(self) -> bool {
        self != Self::Probe
    }

    /// Its tests.
    pub const fn shares(self) -> &'static [Share] {
        match self {
            Self::Probe => PROBE,
            Self::Quick | Self::Acceptance | Self::Soak => WHOLE,
        }
    }
}

/// What one burn-in is to do: every stage of every round, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// In which mode.
    pub mode: Mode,
    /// All stages.
    pub stages: Vec<Stage>,
}

impl Plan {
    /// Of a mode; `hours` are those of a soak, 1 to [`SOAK_HOURS_MAX`], and have no meaning for the others.
    pub fn of(mode: Mode, hours: u16) -> Self {
        let rounds = if mode == Mode::Soak { hours.clamp(1, SOAK_HOURS_MAX) } else { 1 };
        let round = mode.shares().iter().map(|share| Stage {
            test: share.test,
            duration_ms: (mode.round_ms() / 1_000 * share.permille).max(STAGE_MS_MIN),
        });
        let round: Vec<_> = round.collect();
        Self { mode, stages: round.repeat(usize::from(rounds)) }
    }

    /// Stages of one round, and of one order to a GPU process.
    pub fn round(&self) -> usize {
        self.mode.shares().len().min(STAGES_MAX)
    }

    /// How much memory to ask for, in thousandths of what is free.
    pub fn memory_permille(&self, memory_total_bytes: u64) -> u16 {
        if self.mode.takes_all_memory() {
            return MOST_PERMILLE;
        }
        let permille = u128::from(PROBE_BYTES_MAX) * 1_000 / u128::from(memory_total_bytes.max(1));
        u16::try_from(permille).unwrap_or(MOST_PERMILLE).clamp(1, MOST_PERMILLE)
    }

    /// Time of all stages together, in milliseconds.
    pub fn total_ms(&self) -> u64 {
        self.stages.iter().map(|stage| u64::from(stage.duration_ms)).sum()
    }
}
