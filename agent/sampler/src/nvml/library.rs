use std::ffi::{OsStr, c_char};
use std::sync::atomic::{AtomicBool, Ordering};

use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::InitFlags;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper_sys::bindings::{
    NvmlLib, nvmlConfComputeSystemState_t, nvmlSystemConfComputeSettings_v1_t,
    nvmlSystemDriverBranchInfo_v1_t,
};
use rackmark_model::{ConfidentialComputing, DriverInfo, PciAddress, Reading};
use thiserror::Error;

use super::{Device, Status, call, text, version_word};
use crate::watch::CallWatch;

/// A symbol that only a simulated library exports.
const SIMULATION_MARKER: &[u8] = b"rackmark_simulated_nvml\0";

/// The library could not be loaded or did not find its driver.
#[derive(Debug, Error)]
#[error("cannot use {library}")]
pub(crate) struct LoadError {
    library: String,
    #[source]
    source: NvmlError,
}

impl LoadError {
    /// The loaded library and the kernel driver are of different versions.
    pub(crate) fn is_version_mismatch(&self) -> bool {
        matches!(self.source, NvmlError::LibRmVersionMismatch)
    }
}

/// The loaded and initialised library. Dropping it shuts NVML down and unloads
/// the library, so that a later `open` meets whatever driver is there then.
pub(crate) struct Library {
    nvml: Nvml,
    gone: AtomicBool,
}

impl Library {
    /// Loads and initialises `library`, attaching no GPU: a GPU that hangs
    /// cannot keep the others from being opened. Asks for the driver's version
    /// too, under the same name in `watch`.
    pub(crate) fn open(library: &OsStr, watch: &CallWatch) -> Result<Self, LoadError> {
        static NAME: &str = "nvmlInitWithFlags";
        watch.enter(&NAME);
        let nvml = Nvml::builder().lib_path(library).flags(InitFlags::NO_GPUS | InitFlags::NO_ATTACH).init();
        watch.leave();
        match nvml {
            Ok(nvml) => Ok(Self { nvml, gone: AtomicBool::new(false) }),
            Err(source) => Err(LoadError { library: library.to_string_lossy().into_owned(), source }),
        }
    }

    pub(super) fn bindings(&self) -> &NvmlLib {
        self.nvml.lib()
    }

    /// Some call said that the driver is gone: nobody should call any more.
    pub(crate) fn mark_gone(&self) {
        self.gone.store(true, Ordering::Release);
    }

    /// Whether [`Self::mark_gone`] was called.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// CUDA 13 update 1 gave the clock event counters (251 to 255) the numbers
    /// 269 to 273; `nvml-wrapper` tells the two schemes apart by driver version.
    pub(crate) fn clock_event_field(&self, cuda_12_id: u32) -> u32 {
        match self.nvml.field_id_scheme() {
            nvml_wrapper::FieldIdScheme::V12 => cuda_12_id,
            nvml_wrapper::FieldIdScheme::V13Update1 => cuda_12_id + 18,
        }
    }

    /// Kernel driver version.
    pub(crate) fn driver_version(&self, watch: &CallWatch) -> Result<String, Status> {
        let mut buffer = [0; 80];
        call!(self.bindings(), watch, nvmlSystemGetDriverVersion(buffer.as_mut_ptr(), 80))?;
        text(&buffer)
    }

    /// The driver as a whole.
    pub(crate) fn driver_info(&self, watch: &CallWatch) -> DriverInfo {
        DriverInfo {
            driver_version: self.driver_version(watch).map_err(Into::into),
            nvml_version: self.nvml_version(watch).map_err(Into::into),
            cuda_driver_version: self.cuda_driver_version(watch).map_err(Into::into),
            driver_branch: self.driver_branch(watch).map_err(Into::into),
            confidential_computing: self.confidential_computing(watch),
            simulated: self.is_simulated(),
        }
    }

    /// Addresses of all GPUs the driver lists. This may attach them, so it is
    /// only for hosts whose sysfs shows no GPU.
    pub(crate) fn list(&self, watch: &CallWatch) -> Result<Vec<PciAddress>, Status> {
        let mut count = 0;
        call!(self.bindings(), watch, nvmlDeviceGetCount_v2(&mut count))?;
        let count = count.min(u32::try_from(rackmark_model::ipc::GPUS_MAX).unwrap_or(u32::MAX));
        Ok((0..count).filter_map(|index| Device::address_by_index(self, index, watch).ok()).collect())
    }

    /// Name of a process on a GPU, cut at 255 bytes.
    pub(crate) fn process_name(&self, pid: u32, watch: &CallWatch) -> Result<String, Status> {
        let mut buffer: [c_char; 256] = [0; 256];
        call!(self.bindings(), watch, nvmlSystemGetProcessName(pid, buffer.as_mut_ptr(), 255))?;
        text(&buffer)
    }

    fn nvml_version(&self, watch: &CallWatch) -> Result<String, Status> {
        let mut buffer = [0; 80];
        call!(self.bindings(), watch, nvmlSystemGetNVMLVersion(buffer.as_mut_ptr(), 80))?;
        text(&buffer)
    }

    fn cuda_driver_version(&self, watch: &CallWatch) -> Result<String, Status> {
        let mut version = 0;
        call!(self.bindings(), watch, nvmlSystemGetCudaDriverVersion_v2(&mut version))?;
        // NVML packs the version as 1000 * major + 10 * minor.
        Ok(format!("{}.{}", version / 1000, version % 1000 / 10))
    }

    fn driver_branch(&self, watch: &CallWatch) -> Result<String, Status> {
        let version = version_word::<nvmlSystemDriverBranchInfo_v1_t>(1);
        let mut info = nvmlSystemDriverBranchInfo_v1_t { version, branch: [0; 80] };
        call!(self.bindings(), watch, nvmlSystemGetDriverBranch(&mut info, 80))?;
        text(&info.branch)
    }

    fn confidential_computing(&self, watch: &CallWatch) -> Reading<ConfidentialComputing> {
        let version = version_word::<nvmlSystemConfComputeSettings_v1_t>(1);
        let mut settings = nvmlSystemConfComputeSettings_v1_t {
            version,
            environment: 0,
            ccFeature: 0,
            devToolsMode: 0,
            multiGpuMode: 0,
        };
        let answer = call!(self.bindings(), watch, nvmlSystemGetConfComputeSettings(&mut settings));
        let (feature, dev_tools) = match answer {
            Ok(()) => (settings.ccFeature, settings.devToolsMode),
            Err(status) if status.wants_older_form() => {
                let mut state =
                    nvmlConfComputeSystemState_t { environment: 0, ccFeature: 0, devToolsMode: 0 };
                call!(self.bindings(), watch, nvmlSystemGetConfComputeState(&mut state))?;
                (state.ccFeature, state.devToolsMode)
            }
            Err(status) => return Err(status.into()),
        };
        Ok(match (feature, dev_tools) {
            (_, 1) => ConfidentialComputing::DevTools,
            (1, _) => ConfidentialComputing::On,
            _ => ConfidentialComputing::Off,
        })
    }

    fn is_simulated(&self) -> bool {
        // SAFETY: only the presence of the symbol is asked for; it is neither
        // called nor read, so its type does not matter.
        unsafe { self.bindings().__library.get::<*const ()>(SIMULATION_MARKER) }.is_ok()
    }
}
