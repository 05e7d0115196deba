use rackmark_model::NoData;

/// An NVML return code that is not success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status(pub(crate) u32);

/// NVML return codes (`nvmlReturn_t`) that are told apart here.
impl Status {
    pub(crate) const UNINITIALIZED: Self = Self(1);
    pub(crate) const INVALID_ARGUMENT: Self = Self(2);
    pub(crate) const NOT_SUPPORTED: Self = Self(3);
    pub(crate) const NO_PERMISSION: Self = Self(4);
    pub(crate) const NOT_FOUND: Self = Self(6);
    pub(crate) const INSUFFICIENT_SIZE: Self = Self(7);
    pub(crate) const DRIVER_NOT_LOADED: Self = Self(9);
    pub(crate) const TIMEOUT: Self = Self(10);
    pub(crate) const LIBRARY_NOT_FOUND: Self = Self(12);
    pub(crate) const FUNCTION_NOT_FOUND: Self = Self(13);
    pub(crate) const CORRUPTED_INFOROM: Self = Self(14);
    pub(crate) const GPU_IS_LOST: Self = Self(15);
    pub(crate) const LIB_RM_VERSION_MISMATCH: Self = Self(18);
    pub(crate) const VGPU_ECC_NOT_SUPPORTED: Self = Self(22);
    pub(crate) const ARGUMENT_VERSION_MISMATCH: Self = Self(25);
    pub(crate) const DEPRECATED: Self = Self(26);
    pub(crate) const GPU_NOT_FOUND: Self = Self(28);

    /// `Ok` for `NVML_SUCCESS`.
    pub(crate) fn check(code: u32) -> Result<(), Self> {
        if code == 0 { Ok(()) } else { Err(Self(code)) }
    }

    /// No further call to this GPU makes sense.
    pub(crate) fn is_fatal(self) -> bool {
        matches!(NoData::from(self), NoData::GpuLost | NoData::DriverGone)
    }

    /// A driver that does not know this function or this version of its struct;
    /// an older form may work.
    pub(crate) fn wants_older_form(self) -> bool {
        matches!(self, Self::FUNCTION_NOT_FOUND | Self::ARGUMENT_VERSION_MISMATCH | Self::DEPRECATED)
    }
}

/// The one place where NVML codes become reasons.
///
/// `INVALID_ARGUMENT` is how NVML answers for a clock, link, field or threshold
/// that this GPU does not have: every other argument is made by this crate.
impl From<Status> for NoData {
    fn from(status: Status) -> Self {
        match status {
            Status::NOT_SUPPORTED
            | Status::FUNCTION_NOT_FOUND
            | Status::DEPRECATED
            | Status::INVALID_ARGUMENT
            | Status::ARGUMENT_VERSION_MISMATCH
            | Status::VGPU_ECC_NOT_SUPPORTED => Self::NotSupported,
            Status::NO_PERMISSION => Self::NoPermission,
            Status::TIMEOUT => Self::Timeout,
            Status::GPU_IS_LOST | Status::GPU_NOT_FOUND => Self::GpuLost,
            Status::UNINITIALIZED
            | Status::DRIVER_NOT_LOADED
            | Status::LIBRARY_NOT_FOUND
            | Status::LIB_RM_VERSION_MISMATCH => Self::DriverGone,
            Status(code) => Self::Error(i32::try_from(code).unwrap_or(i32::MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_reason_and_unknown_ones_keep_their_number() {
        assert_eq!(Status::check(0), Ok(()));
        assert_eq!(NoData::from(Status(3)), NoData::NotSupported);
        assert_eq!(NoData::from(Status(15)), NoData::GpuLost);
        assert_eq!(NoData::from(Status(28)), NoData::GpuLost);
        assert_eq!(NoData::from(Status(18)), NoData::DriverGone);
        assert_eq!(NoData::from(Status(16)), NoData::Error(16));
        assert_eq!(NoData::from(Status(999)), NoData::Error(999));
        assert_eq!(NoData::from(Status(u32::MAX)), NoData::Error(i32::MAX));
    }
}
