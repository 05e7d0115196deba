use serde::{Deserialize, Serialize};

use super::judge::Outcome;

/// What a reason does to the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// It is said and changes nothing.
    Notes,
    /// Somebody should look; the result stays.
    Warns,
    /// Nothing can be said: the result is not pass.
    LeavesOpen,
    /// The GPU fails.
    Fails,
}

impl Weight {
    /// The best result that a burn-in with such a reason can have.
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::Notes | Self::Warns => Outcome::Pass,
            Self::LeavesOpen => Outcome::Inconclusive,
            Self::Fails => Outcome::Fail,
        }
    }

    /// The name used in JSON: how severe it is.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Notes => "info",
            Self::Warns => "warning",
            Self::LeavesOpen => "inconclusive",
            Self::Fails => "fail",
        }
    }
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $code:ident = $name:literal, $weight:ident, $words:literal;)*) => {
        /// Why a result is what it is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum ReasonCode { $($(#[doc = $doc])+ $code,)* }

        impl ReasonCode {
            /// All codes.
            pub const ALL: &'static [Self] = &[$(Self::$code,)*];

            /// The stable name in JSON and on the feed.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$code => $name,)* }
            }

            /// What it does to the result.
            pub const fn weight(self) -> Weight {
                match self { $(Self::$code => Weight::$weight,)* }
            }

            /// A few words for people.
            pub const fn words(self) -> &'static str {
                match self { $(Self::$code => $words,)* }
            }
        }
    };
}

reasons! {
    // --- the GPU fails
    /// A result differs from the one that is known.
    Miscompare = "miscompare", Fails, "a result is wrong";
    /// The driver ended our own fixed kernel with an error that hardware makes.
    CudaError = "cuda_error", Fails, "the driver reported a fault of the GPU";
    /// The driver reported an XID meanwhile.
    Xid = "xid", Fails, "the driver reported an XID";
    /// An NVSwitch reported an error meanwhile.
    Sxid = "sxid", Fails, "an NVSwitch reported an error";
    /// Uncorrected ECC errors were added.
    EccUncorrected = "ecc_uncorrected", Fails, "uncorrected ECC errors were added";
    /// A row remapping waits for a reset.
    RowRemapPending = "row_remap_pending", Fails, "a row remapping waits for a reset";
    /// A row remapping failed.
    RowRemapFailed = "row_remap_failed", Fails, "a row remapping failed";
    /// More PCIe packets were sent again than the link's generation allows.
    PcieReplays = "pcie_replays", Fails, "too many PCIe packets were sent again";
    /// Slower than the floor of this model.
    TooSlow = "too_slow", Fails, "slower than a card of this model may be";
    /// Less work in a cycle than this architecture can do.
    TooSlowPerClock = "too_slow_per_clock", Fails, "does less work in a clock cycle than it may";
    /// The hardware cut the clocks.
    ThrottledByHardware = "throttled_by_hardware", Fails, "the hardware slowed the GPU down";
    /// The power brake signal cut the clocks.
    PowerBrake = "power_brake", Fails, "the server's power brake slowed the GPU down";

    // --- nothing can be said
    /// A stage did no work.
    NoWork = "no_work", LeavesOpen, "no work was done";
    /// Less than half of the planned work was done.
    LittleWork = "little_work", LeavesOpen, "less than half of the planned work was done";
    /// Less than nine tenths of the intended memory was tested.
    LittleMemory = "little_memory", LeavesOpen, "less than 90 % of the intended memory was tested";
    /// A process that is not ours was on the GPU.
    ForeignProcess = "foreign_process", LeavesOpen, "another process was on the GPU";
    /// A customer came, or somebody asked for an end.
    Preempted = "preempted", LeavesOpen, "the GPU was given back before the end";
    /// A power limit below the default one is in force.
    PowerLimitLow = "power_limit_low", LeavesOpen, "the power limit is below the card's default";
    /// The clocks stay low and nothing holds them down: they are locked.
    ClocksLocked = "clocks_locked", LeavesOpen, "the clocks are locked below the card's default";
    /// No kernel would load.
    ModuleNotLoaded = "module_not_loaded", LeavesOpen, "a kernel could not be loaded";
    /// The driver's CUDA library is not there or refuses to start.
    CudaUnavailable = "cuda_unavailable", LeavesOpen, "CUDA cannot be used";
    /// The work ended early for another cause than a fault of the GPU.
    WorkFailed = "work_failed", LeavesOpen, "the work could not go on";
    /// A stage that this GPU can run did not run.
    StageMissing = "stage_missing", LeavesOpen, "a stage did not run";
    /// The checker did not see the bit that was flipped for it.
    SelfTestMissed = "self_test_missed", LeavesOpen, "the check did not see an error that was made for it";
    /// The checker was not tried before it was relied on.
    SelfTestAbsent = "self_test_absent", LeavesOpen, "the check was not proved before it was relied on";
    /// No sign of life: the process was ended.
    Hung = "hung", LeavesOpen, "the work stopped answering";
    /// The process cannot be ended.
    Wedged = "wedged", LeavesOpen, "the process cannot be ended: it hangs in the driver";
    /// The process ended before it was done.
    Broken = "broken", LeavesOpen, "the process ended before it was done";
    /// The process said something that cannot be.
    Nonsense = "nonsense", LeavesOpen, "the process said something that cannot be";
    /// The samples of that time have holes, or a counter could not be compared.
    Unseen = "unseen", LeavesOpen, "the GPU was not watched all the time";
    /// It worked on another GPU than the one that was asked for.
    WrongGpu = "wrong_gpu", LeavesOpen, "the work ran on another GPU";

    // --- somebody should look
    /// Slower than expected, where there is no measured floor, or above the floor.
    Slow = "slow", Warns, "slower than expected";
    /// Less work in a cycle than expected.
    SlowPerClock = "slow_per_clock", Warns, "does less work in a clock cycle than expected";
    /// Slower than the others of the node.
    SlowerThanSiblings = "slower_than_siblings", Warns, "slower than the node's other GPUs";
    /// The driver cut the clocks for heat.
    ThrottledByHeat = "throttled_by_heat", Warns, "the driver slowed the GPU down for heat";
    /// Corrected ECC errors were added.
    EccCorrected = "ecc_corrected", Warns, "corrected ECC errors were added";
    /// Rows were remapped meanwhile.
    RowsRemapped = "rows_remapped", Warns, "memory rows were remapped";
    /// The PCIe link was slower under load than it can be.
    PcieLinkDegraded = "pcie_link_degraded", Warns, "the PCIe link is slower than it can be";
    /// Speed fell from the first minute to the last.
    Drift = "drift", Warns, "it became slower from the first minute to the last";

    // --- said, no more
    /// Held back by the power limit, as a GPU under such load is.
    PowerCapped = "power_capped", Notes, "held back by its power limit, as is usual under such load";
    /// There is no reference for this model.
    NoReference = "no_reference", Notes, "there is no reference for the speed of this model";
    /// The GPU is simulated.
    Simulated = "simulated", Notes, "the GPU is simulated: how fast it is was not judged";
    /// A stage does not apply to this GPU.
    NotApplicable = "not_applicable", Notes, "a stage does not apply to this GPU";
    /// The driver compiled a kernel itself.
    FromPtx = "from_ptx", Notes, "the driver compiled a kernel itself";
    /// The driver does not tell of something on this GPU.
    NotSupported = "not_supported", Notes, "the driver does not tell of it on this GPU";
}

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Which.
    pub code: ReasonCode,
    /// With what figures, of what; empty where the code says it all.
    pub detail: String,
}

impl Reason {
    /// Words and detail in one line.
    pub fn line(&self) -> String {
        if self.detail.is_empty() {
            self.code.words().to_owned()
        } else {
            format!("{}: {}", self.code.words(), self.detail)
        }
    }
}
