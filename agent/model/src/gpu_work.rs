//! The frames between the daemon and a process that works on one GPU. One [`GpuOrder`], first on the stream; then
//! reports until [`GpuReport::Done`] or [`GpuReport::Failed`]. The end of the stream is the order to stop: no further
//! launch, at most [`LAUNCHES_QUEUED_MAX`] queued ones to wait for, then the process ends, which gives the memory back.

use serde::{Deserialize, Serialize};

use crate::gpu_proof::{ProveOrder, ProveReport};

/// Most launches queued on a stream: what a customer who comes may have to wait for.
pub const LAUNCHES_QUEUED_MAX: u32 = 3;

/// Length that a launch aims at, in milliseconds.
pub const LAUNCH_MS: u32 = 30;

/// Time from one [`GpuReport::Progress`] to the next, in milliseconds; it is the heartbeat, too.
pub const PROGRESS_EVERY_MS: u32 = 250;

/// Most [`GpuReport::Miscompare`]s of one run; the counts go on.
pub const MISCOMPARES_MAX: u32 = 64;

/// Most stages of one order.
pub const STAGES_MAX: usize = 32;

/// Daemon to the GPU process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum GpuOrder {
    /// Test this GPU.
    BurnIn(BurnInOrder),
    /// Show what it has; steps follow.
    Prove(ProveOrder),
}

/// One burn-in of one GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BurnInOrder {
    /// Its UUID, `GPU-…`, as NVML and CUDA both give it.
    pub gpu_uuid: String,
    /// What every operand and pattern grows from.
    pub seed: u64,
    /// How much of the memory that is free is to be held and tested, in thousandths (1 to 950).
    pub memory_permille: u16,
    /// The NUMA node that the GPU hangs on, where known: the host's side of link tests is allocated there.
    pub numa_node: Option<u16>,
    /// Stages, one after the other.
    pub stages: Vec<Stage>,
}

/// A test and how long it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// Which test.
    pub test: BurnInTest,
    /// For how long, in milliseconds (20 to 86,400,000). A memory pattern ends its pass, however long that takes.
    pub duration_ms: u32,
}

/// A number format of matrix products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Format {
    /// Brain floating point, 16 bits.
    Bf16,
    /// IEEE half precision.
    Fp16,
    /// 19 significant bits of an FP32 operand.
    Tf32,
    /// 8-bit floating point, 4 bits of exponent.
    Fp8E4m3,
    /// 8-bit integers.
    Int8,
    /// IEEE double precision.
    Fp64,
}

/// A test. What each does, on which GPUs it runs and what its result must be stands on top of its kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum BurnInTest {
    /// Every word of the held memory: address-derived pattern, verified, inverted, verified.
    MemoryPattern,
    /// Reading held memory, 16 bytes at a time, with a checksum.
    MemoryRead,
    /// Writing held memory, verified by reading.
    MemoryWrite,
    /// Copying one half of held memory to the other, verified.
    MemoryCopy,
    /// Matrix product by `mma.sync`, which every architecture from sm_80 has.
    GemmPortable(Format),
    /// Matrix product by `wgmma`, sm_90a only: BF16, FP8 and INT8.
    GemmHopper(Format),
    /// Chains of FP32, FP64 and integer operations, shuffles and shared memory.
    Alu,
    /// Gathered reads, atomic additions and a pointer chase.
    Gather,
    /// The strongest matrix product of this GPU, switched on and off.
    Pulse,
    /// Host to device, device to host, verified at both ends.
    HostLink,
    /// To and from every other GPU of the node that can be reached.
    PeerLink,
    /// The strongest matrix product of this GPU over operands of full entropy, which draw the most power. Its sums are
    /// rounded, so they are compared bit for bit with those of its own first pass.
    Power,
}

/// What a figure measures, and its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FigureKind {
    /// Floating-point or integer operations, 10^9 a second.
    GigaOperationsPerSecond,
    /// 10^6 bytes a second, read and written counted each.
    MegabytesPerSecond,
    /// Dependent reads, nanoseconds each.
    NanosecondsPerRead,
}

/// How fast a stage was, over its windows of [`PROGRESS_EVERY_MS`], those of its first fifth left out (at most 5 s).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figure {
    /// What of the test.
    pub part: FigurePart,
    /// What is measured.
    pub kind: FigureKind,
    /// Sustained median.
    pub median: u64,
    /// Slowest twentieth ends here.
    pub p5: u64,
    /// Last minute against first minute in thousandths (1000: no drift); absent for stages under 3 minutes.
    pub drift_permille: Option<u16>,
}

/// A part of a test that has a figure of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FigurePart {
    /// The whole test.
    Whole,
    /// Host to device.
    ToDevice,
    /// Device to host.
    ToHost,
    /// Both directions at once.
    BothWays,
    /// Chains of FP32.
    Fp32,
    /// Chains of FP64.
    Fp64,
    /// Chains of integers.
    Integer,
    /// Gathered reads.
    Gather,
    /// Atomic additions.
    Atomic,
    /// The pointer chase.
    Chase,
    /// To and from the peer at this position of CUDA's order.
    Peer(u8),
}

/// GPU process to the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum GpuReport {
    /// First frame: the process that speaks.
    Hello {
        /// Its process id.
        pid: u32,
    },
    /// The GPU was opened.
    Device(GpuDevice),
    /// A module was loaded.
    Loaded(Loaded),
    /// Memory is held.
    Held {
        /// So much.
        bytes: u64,
        /// So much was to be held.
        intended_bytes: u64,
    },
    /// A checker was shown one flipped bit before it was relied on. One that did not see it makes the run invalid.
    SelfTest {
        /// Of which test.
        test: BurnInTest,
        /// It saw it, where it was.
        caught: bool,
    },
    /// A stage begins.
    StageBegan {
        /// Its position in the order.
        stage: u16,
    },
    /// A stage does not run on this GPU.
    StageSkipped {
        /// Its position in the order.
        stage: u16,
        /// Why.
        reason: SkipReason,
    },
    /// How far a stage is; sent during set-up as well, as a sign of life.
    Progress(Progress),
    /// A result is wrong.
    Miscompare(Miscompare),
    /// A stage ended.
    StageEnded(StageEnded),
    /// The work cannot go on. Nothing follows; the process ends.
    Failed(CudaFailure),
    /// Every stage ran or was skipped, or the proof was opened. Nothing follows.
    Done,
    /// A step of a proof is done.
    Proof(ProveReport),
}

/// Why a stage does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SkipReason {
    /// This architecture has no such instruction.
    Architecture,
    /// There is no other GPU that can be reached.
    NoPeer,
    /// The memory that is free does not suffice.
    Memory,
    /// No kernel for it would load.
    NoModule,
}

/// A GPU as CUDA shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuDevice {
    /// Its name, at most 256 bytes.
    pub name: String,
    /// Its UUID, `GPU-…`.
    pub uuid: String,
    /// Major and minor compute capability.
    pub compute_capability: (u8, u8),
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// All of its memory, in bytes.
    pub memory_bytes: u64,
    /// Free memory before anything was held, in bytes.
    pub memory_free_bytes: u64,
    /// Level-2 cache, in bytes.
    pub l2_bytes: u32,
    /// CUDA version of the driver: 1000 · major + 10 · minor.
    pub cuda_version: u32,
}

/// A module that was loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    /// Its file name without the ending.
    pub module: String,
    /// From PTX that the driver compiled, not from a cubin of this architecture.
    pub from_ptx: bool,
    /// Time to load it, in microseconds.
    pub took_us: u64,
    /// SHA-256 of what was loaded, as in `kernels.lock`.
    pub sha256: [u8; 32],
}

/// How far a stage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Its position in the order.
    pub stage: u16,
    /// Since it began, in milliseconds.
    pub elapsed_ms: u32,
    /// Launches that ended, since it began.
    pub launches: u64,
    /// What the stage measures.
    pub kind: FigureKind,
    /// Its rate since the progress before, in units of `kind`.
    pub rate: u64,
    /// Wrong results so far.
    pub miscompares: u64,
}

/// The end of a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageEnded {
    /// Its position in the order.
    pub stage: u16,
    /// How long it ran, in milliseconds.
    pub elapsed_ms: u32,
    /// Launches that ended and were verified.
    pub launches: u64,
    /// Work that was verified, in operations or bytes.
    pub work: u64,
    /// Wrong results.
    pub miscompares: u64,
    /// Bytes of distinct memory that it wrote or read.
    pub memory_bytes: u64,
    /// How fast it was; one per part.
    pub figures: Vec<Figure>,
}

/// A wrong result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Miscompare {
    /// Of which stage.
    pub stage: u16,
    /// Of which pass of it, from 0.
    pub pass: u64,
    /// The streaming multiprocessor that computed or read it (`%smid`), where one did.
    pub sm: Option<u32>,
    /// Where.
    pub place: Place,
    /// Bits that should be clear and are set.
    pub rose: u64,
    /// Bits that should be set and are clear. Both are zero where only a checksum differs.
    pub fell: u64,
}

/// Where a result is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// A word of the held memory, by its byte offset in what is held.
    Memory {
        /// Byte offset.
        offset: u64,
    },
    /// A tile of a product.
    Tile {
        /// Its row, in tiles.
        row: u32,
        /// Its column, in tiles.
        column: u32,
    },
    /// A thread of a chain, by its block and its position in it.
    Chain {
        /// Block.
        block: u32,
        /// Thread.
        thread: u32,
    },
    /// A word that crossed a link, by its byte offset in the transfer.
    Link {
        /// Byte offset.
        offset: u64,
    },
}

/// What ended the work early.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CudaFailure {
    /// What was done, and to what: one line.
    pub operation: String,
    /// The driver's code (`CUresult`); absent where the driver was not reached.
    pub code: Option<u32>,
    /// Its name, such as `CUDA_ERROR_ILLEGAL_ADDRESS`, or why there is no code.
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc;

    #[test]
    fn an_order_of_every_stage_fits_a_frame_and_survives_it() {
        let stage = Stage { test: BurnInTest::GemmHopper(Format::Fp8E4m3), duration_ms: 86_400_000 };
        let order = GpuOrder::BurnIn(BurnInOrder {
            gpu_uuid: "GPU-00000000-0000-0000-0000-000000000000".into(),
            seed: u64::MAX,
            memory_permille: 900,
            numa_node: Some(1),
            stages: vec![stage; STAGES_MAX],
        });
        let mut frame = Vec::new();
        ipc::encode(&order, &mut frame).expect("fits");
        assert_eq!(ipc::decode::<GpuOrder>(&frame[ipc::LENGTH_BYTES..]), Ok(order));
    }
}
