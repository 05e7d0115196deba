//! What was built of the kernels, and which of it runs where. `kernels/build.py` writes these files; `tests/artefacts.rs`
//! holds them to `kernels.lock`.

/// What can be loaded as a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Artefact {
    /// Its file name, as in `kernels.lock`.
    pub file: &'static str,
    /// The module: its source's name without the ending.
    pub module: &'static str,
    /// What it runs on.
    pub target: Target,
    /// The file. PTX is text without a final zero.
    pub bytes: &'static [u8],
}

impl Artefact {
    /// Its digest, as in `kernels.lock`.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, self.bytes).as_ref());
        sha256
    }
}

/// What an artefact runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Machine code: this compute capability, and higher minor ones of the same major one.
    Cubin(u8, u8),
    /// Machine code with features of this compute capability alone.
    CubinOnly(u8, u8),
    /// PTX: this compute capability and every higher one; the driver compiles it.
    Ptx(u8, u8),
    /// PTX with features of this compute capability alone.
    PtxOnly(u8, u8),
}

impl Target {
    /// Whether a GPU of this compute capability can run it.
    #[must_use]
    pub fn runs_on(self, capability: (u8, u8)) -> bool {
        match self {
            Self::Cubin(major, minor) => capability.0 == major && capability.1 >= minor,
            Self::Ptx(major, minor) => capability >= (major, minor),
            Self::CubinOnly(major, minor) | Self::PtxOnly(major, minor) => capability == (major, minor),
        }
    }

    /// Whether the driver has to compile it.
    #[must_use]
    pub fn is_ptx(self) -> bool {
        matches!(self, Self::Ptx(..) | Self::PtxOnly(..))
    }
}

/// Artefacts of a module that run on this compute capability, in the order to try them: code of the nearest
/// architecture, then PTX. Empty where the module is not for this GPU.
#[must_use]
pub fn of(module: &str, capability: (u8, u8)) -> Vec<&'static Artefact> {
    // Every table goes from lower to higher architectures and begins with its PTX.
    ARTEFACTS
        .iter()
        .rev()
        .filter(|artefact| artefact.module == module && artefact.target.runs_on(capability))
        .collect()
}

macro_rules! artefact {
    ($module:literal, $ending:literal, $target:expr) => {
        Artefact {
            file: concat!($module, ".", $ending),
            module: $module,
            target: $target,
            bytes: include_bytes!(concat!("../kernels/built/", $module, ".", $ending)),
        }
    };
}

macro_rules! artefacts {
    (portable: $($module:literal),*; hopper: $hopper:literal) => {
        &[
            $(
                artefact!($module, "ptx", Target::Ptx(8, 0)),
                artefact!($module, "sm_80.cubin", Target::Cubin(8, 0)),
                artefact!($module, "sm_86.cubin", Target::Cubin(8, 6)),
                artefact!($module, "sm_89.cubin", Target::Cubin(8, 9)),
                artefact!($module, "sm_90.cubin", Target::Cubin(9, 0)),
                artefact!($module, "sm_100.cubin", Target::Cubin(10, 0)),
                artefact!($module, "sm_120.cubin", Target::Cubin(12, 0)),
            )*
            artefact!($hopper, "ptx", Target::PtxOnly(9, 0)),
            artefact!($hopper, "sm_90a.cubin", Target::CubinOnly(9, 0)),
        ]
    };
}

/// Everything that was built.
pub const ARTEFACTS: &[Artefact] = artefacts!(
    portable: "memory_pattern", "memory_traffic", "operands", "tiles", "gemm_portable", "alu", "gather", "proof";
    hopper: "gemm_hopper"
);

#[cfg(test)]
mod tests {
    use super::*;

    fn files(module: &str, capability: (u8, u8)) -> Vec<&'static str> {
        of(module, capability).iter().map(|artefact| artefact.file).collect()
    }

    #[test]
    fn code_of_the_nearest_architecture_comes_before_ptx() {
        assert_eq!(
            files("tiles", (8, 9)),
            ["tiles.sm_89.cubin", "tiles.sm_86.cubin", "tiles.sm_80.cubin", "tiles.ptx"]
        );
        assert_eq!(files("tiles", (9, 0)), ["tiles.sm_90.cubin", "tiles.ptx"]);
        assert_eq!(files("tiles", (10, 3)), ["tiles.sm_100.cubin", "tiles.ptx"]);
        assert_eq!(files("tiles", (11, 0)), ["tiles.ptx"]);
        assert!(files("tiles", (7, 5)).is_empty());
    }

    #[test]
    fn what_only_hopper_has_runs_nowhere_else() {
        assert_eq!(files("gemm_hopper", (9, 0)), ["gemm_hopper.sm_90a.cubin", "gemm_hopper.ptx"]);
        for capability in [(8, 0), (8, 9), (10, 0), (12, 0)] {
            assert!(files("gemm_hopper", capability).is_empty(), "{capability:?}");
        }
    }
}
