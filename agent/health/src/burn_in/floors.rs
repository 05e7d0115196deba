//! What a card of a model should reach, with where each figure is from.
//!
//! A row fails a card only where its reference is good enough for that: measured with our own kernel, or so far below
//! everything that was published for the card that nothing but a fault explains it. All other rows warn.

use rackmark_model::gpu_work::{BurnInTest, FigureKind, FigurePart, Format};

/// A rate, in the units of [`FigureKind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// 10^9 operations a second.
    GigaOperations(u64),
    /// 10^6 bytes a second.
    Megabytes(u64),
}

impl Rate {
    const fn tera_operations(tera: u64) -> Self {
        Self::GigaOperations(tera * 1_000)
    }

    const fn gigabytes(giga: u64) -> Self {
        Self::Megabytes(giga * 1_000)
    }

    /// What kind of figure it is compared with.
    pub const fn kind(self) -> FigureKind {
        match self {
            Self::GigaOperations(_) => FigureKind::GigaOperationsPerSecond,
            Self::Megabytes(_) => FigureKind::MegabytesPerSecond,
        }
    }

    /// The number.
    pub const fn value(self) -> u64 {
        match self {
            Self::GigaOperations(value) | Self::Megabytes(value) => value,
        }
    }
}

/// What a floor rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// Our own kernel on this model. None yet.
    Measured,
    /// Far below all that was published for this model; our own kernel was not measured.
    FarBelowPublished,
    /// Published by others for this model, or worked out from its datasheet; our own kernel was not measured.
    Published,
}

/// A model with figures of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// H100 SXM, 80 GB.
    H100Sxm,
    /// H200 SXM, 141 GB.
    H200Sxm,
    /// A100 SXM, 40 GB.
    A100Sxm40,
    /// A100 SXM, 80 GB.
    A100Sxm80,
    /// B200.
    B200,
    /// L40S.
    L40S,
    /// RTX PRO 6000 Blackwell Max-Q.
    RtxPro6000MaxQ,
}

impl Class {
    /// The class of a product name as the driver gives it; none for every other model. The whole name decides: a name
    /// that only begins alike, such as that of a PCIe card or of a simulated one, has other figures.
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "NVIDIA H100 80GB HBM3" => Self::H100Sxm,
            "NVIDIA H200" => Self::H200Sxm,
            "NVIDIA A100-SXM4-40GB" => Self::A100Sxm40,
            "NVIDIA A100-SXM4-80GB" => Self::A100Sxm80,
            "NVIDIA B200" => Self::B200,
            "NVIDIA L40S" => Self::L40S,
            "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition" => Self::RtxPro6000MaxQ,
            _ => return None,
        })
    }
}

/// A floor of one figure of one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absolute {
    /// Which model.
    pub class: Class,
    /// Which test.
    pub test: BurnInTest,
    /// What of it.
    pub part: FigurePart,
    /// What the datasheet promises at most.
    pub peak: Rate,
    /// What is reached on a good card.
    pub expected: Rate,
    /// Below this somebody should look.
    pub warn_below: Rate,
    /// Below this the card fails.
    pub fail_below: Option<Rate>,
    /// What the floor rests on.
    pub basis: Basis,
    /// Where `expected` is from.
    pub source: &'static str,
}

use BurnInTest::{Alu, GemmHopper, GemmPortable, MemoryCopy, MemoryRead};
use FigurePart::{Fp32, Whole};
use Format::{Bf16, Fp8E4m3, Fp16, Fp64, Int8, Tf32};

/// A row that only warns.
const fn published(
    class: Class,
    test: BurnInTest,
    peak: Rate,
    expected: Rate,
    warn_below: Rate,
    source: &'static str,
) -> Absolute {
    let (part, fail_below, basis) = (Whole, None, Basis::Published);
    Absolute { class, test, part, peak, expected, warn_below, fail_below, basis, source }
}

const fn hopper_bf16(class: Class, expected: u64, source: &'static str) -> Absolute {
    Absolute {
        class,
        test: GemmHopper(Bf16),
        part: Whole,
        peak: Rate::tera_operations(989),
        expected: Rate::tera_operations(expected),
        warn_below: Rate::tera_operations(650),
        fail_below: Some(Rate::tera_operations(550)),
        basis: Basis::FarBelowPublished,
        source,
    }
}

/// Every absolute floor. `warn_below` is nine tenths of what is expected where nothing else is said.
pub const ABSOLUTE: &[Absolute] = &[
    hopper_bf16(
        Class::H100Sxm,
        762,
        "cuBLAS 8192^3, blackwell-tensorcore-kernels bench.csv; floors: 72 % and 85 % of it",
    ),
    hopper_bf16(
        Class::H200Sxm,
        769,
        "PyTorch 8192^3 on one H200, random data, lower end; floors: 72 % and 85 % of it",
    ),
    published(
        Class::H100Sxm,
        GemmHopper(Fp8E4m3),
        Rate::tera_operations(1979),
        Rate::tera_operations(1530),
        Rate::tera_operations(1377),
        "gpu-fryer README, sustained",
    ),
    published(
        Class::H200Sxm,
        GemmHopper(Fp8E4m3),
        Rate::tera_operations(1979),
        Rate::tera_operations(1523),
        Rate::tera_operations(1370),
        "DeepGEMM, measured by a third party on Hopper",
    ),
    published(
        Class::H100Sxm,
        GemmPortable(Bf16),
        Rate::tera_operations(989),
        Rate::tera_operations(623),
        Rate::tera_operations(460),
        "mma.sync reaches 63 to 65 % of peak on Hopper (arXiv 2501.12084); floor: 60 % of cuBLAS",
    ),
    published(
        Class::H200Sxm,
        GemmPortable(Bf16),
        Rate::tera_operations(989),
        Rate::tera_operations(623),
        Rate::tera_operations(460),
        "mma.sync reaches 63 to 65 % of peak on Hopper (arXiv 2501.12084); floor: 60 % of cuBLAS",
    ),
    published(
        Class::A100Sxm40,
        GemmPortable(Bf16),
        Rate::tera_operations(312),
        Rate::tera_operations(270),
        Rate::tera_operations(243),
        "gpu-fryer README, cuBLAS sustained; mma.sync is the native instruction",
    ),
    published(
        Class::A100Sxm80,
        GemmPortable(Bf16),
        Rate::tera_operations(312),
        Rate::tera_operations(270),
        Rate::tera_operations(243),
        "gpu-fryer README, cuBLAS sustained; mma.sync is the native instruction",
    ),
    published(
        Class::RtxPro6000MaxQ,
        GemmPortable(Fp16),
        Rate::tera_operations(504),
        Rate::tera_operations(243),
        Rate::tera_operations(218),
        "mma.sync 8192^3 FP16, blackwell-tensorcore-kernels",
    ),
    published(
        Class::H100Sxm,
        MemoryRead,
        Rate::gigabytes(3350),
        Rate::gigabytes(3240),
        Rate::gigabytes(2916),
        "sum of 2^30 elements, fast.cu README",
    ),
    published(
        Class::H200Sxm,
        MemoryRead,
        Rate::gigabytes(4800),
        Rate::gigabytes(4416),
        Rate::gigabytes(4080),
        "92 % of the datasheet, floor at 85 % of it",
    ),
    published(
        Class::A100Sxm40,
        MemoryRead,
        Rate::gigabytes(1555),
        Rate::gigabytes(1430),
        Rate::gigabytes(1322),
        "92 % of the datasheet, floor at 85 % of it",
    ),
    published(
        Class::A100Sxm80,
        MemoryRead,
        Rate::gigabytes(2039),
        Rate::gigabytes(1876),
        Rate::gigabytes(1733),
        "92 % of the datasheet, floor at 85 % of it",
    ),
    published(
        Class::L40S,
        MemoryRead,
        Rate::gigabytes(864),
        Rate::gigabytes(795),
        Rate::gigabytes(734),
        "92 % of the datasheet, floor at 85 % of it",
    ),
    published(
        Class::H200Sxm,
        MemoryCopy,
        Rate::gigabytes(4800),
        Rate::gigabytes(4300),
        Rate::gigabytes(3870),
        "device copy on one H200, read and written counted each",
    ),
    published(
        Class::H100Sxm,
        MemoryCopy,
        Rate::gigabytes(3350),
        Rate::gigabytes(2540),
        Rate::gigabytes(1905),
        "DCGM 4.6 diag-skus.yaml, floor at 75 % as there",
    ),
    published(
        Class::B200,
        MemoryCopy,
        Rate::gigabytes(8000),
        Rate::gigabytes(5770),
        Rate::gigabytes(4328),
        "DCGM 4.6 diag-skus.yaml, floor at 75 % as there",
    ),
];

/// A floor of what one SM does in one clock cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerClock {
    /// Compute capability.
    pub capability: (u8, u8),
    /// Which test.
    pub test: BurnInTest,
    /// What of it.
    pub part: FigurePart,
    /// Operations of one SM in a cycle at most.
    pub peak: u64,
    /// Below so many thousandths of the peak somebody should look.
    pub warn_below_permille: u64,
    /// Below so many thousandths of the peak the card fails.
    pub fail_below_permille: Option<u64>,
    /// What the floor rests on.
    pub basis: Basis,
}

const fn per_clock(
    capability: (u8, u8),
    test: BurnInTest,
    part: FigurePart,
    peak: u64,
    warn_below_permille: u64,
) -> PerClock {
    let (fail_below_permille, basis) = (None, Basis::Published);
    PerClock { capability, test, part, peak, warn_below_permille, fail_below_permille, basis }
}

/// Every floor per clock. Peaks are the datasheet's rate over SMs and boost clock: A100 312 TFLOP/s over 108 SMs at
/// 1.41 GHz, H100 989 over 132 at 1.83, L40S 362 over 142 at 2.49, B200 2250 over 148 at 1.85. A third of such a peak went
/// unnoticed by a test that compares clocks and absolute rates of other formats only (DCGM issue 122).
pub const PER_CLOCK: &[PerClock] = &[
    per_clock((8, 0), GemmPortable(Bf16), Whole, 2_048, 650),
    per_clock((8, 0), GemmPortable(Fp16), Whole, 2_048, 650),
    per_clock((8, 0), GemmPortable(Tf32), Whole, 1_024, 500),
    per_clock((8, 0), GemmPortable(Int8), Whole, 4_096, 500),
    per_clock((8, 0), GemmPortable(Fp64), Whole, 128, 500),
    per_clock((8, 0), Alu, Fp32, 128, 500),
    per_clock((8, 9), GemmPortable(Bf16), Whole, 1_024, 500),
    per_clock((8, 9), GemmPortable(Fp16), Whole, 1_024, 500),
    per_clock((8, 9), Alu, Fp32, 256, 500),
    per_clock((9, 0), GemmHopper(Bf16), Whole, 4_096, 650),
    per_clock((9, 0), GemmHopper(Fp8E4m3), Whole, 8_192, 600),
    per_clock((9, 0), GemmHopper(Int8), Whole, 8_192, 500),
    per_clock((9, 0), GemmPortable(Bf16), Whole, 4_096, 450),
    per_clock((9, 0), GemmPortable(Fp16), Whole, 4_096, 450),
    per_clock((9, 0), GemmPortable(Tf32), Whole, 2_048, 350),
    per_clock((9, 0), GemmPortable(Int8), Whole, 8_192, 350),
    per_clock((9, 0), GemmPortable(Fp64), Whole, 256, 350),
    per_clock((9, 0), Alu, Fp32, 256, 500),
    per_clock((10, 0), Alu, Fp32, 256, 500),
    per_clock((12, 0), Alu, Fp32, 256, 500),
];

/// What a link of 16 lanes carries in one direction from pinned memory, in megabytes a second, by PCIe generation.
const LINK_X16: [(u64, u64); 2] = [(4, 25_000), (5, 55_600)];
/// Share of that below which somebody should look, in thousandths.
const LINK_WARN_PERMILLE: u64 = 900;

/// Below how many megabytes a second a host link in one direction is slow (nvbandwidth's README and blog: 55.6 GB/s
/// for generation 5, 25 GB/s for generation 4).
pub(super) fn link_warn_below(generation: u64, lanes: u64) -> Option<u64> {
    let (_, x16) = LINK_X16.iter().find(|(known, _)| *known == generation)?;
    Some(x16 * lanes / 16 * LINK_WARN_PERMILLE / 1_000)
}
