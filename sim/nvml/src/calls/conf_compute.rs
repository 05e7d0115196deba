//! Confidential computing: present, and on where the folder's GPUs sign.

use super::{device_calls, system_calls};
use crate::abi::{
    self, ConfComputeCaps, ConfComputeCertificate, ConfComputeMemSize, ConfComputeReport,
    ConfComputeSettings, ConfComputeState, Memory, Ret, put, take, take_version, version_word,
};
use crate::attestation;
use crate::fields::Field;
use crate::profile::Text;
use std::ffi::c_uint;

system_calls! {
    nvmlSystemGetConfComputeCapabilities |world| (caps: *mut ConfComputeCaps) {
        // The CPU has no such feature; Hopper (9) and later GPUs could.
        let capable = world.profile.load.cells[Field::ARCHITECTURE.position()].ok().is_some_and(|architecture| architecture >= 9);
        put(caps, ConfComputeCaps { cpu: 0, gpus: c_uint::from(capable) })
    }
    nvmlSystemGetConfComputeState |world| (state: *mut ConfComputeState) {
        let (environment, feature) = mode(&world.dir);
        put(state, ConfComputeState { environment, feature, dev_tools: 0 })
    }
    nvmlSystemGetConfComputeSettings |world| (settings: *mut ConfComputeSettings) {
        let version = take_version(settings)?;
        if version != version_word::<ConfComputeSettings>(1) {
            return Err(abi::ARGUMENT_VERSION_MISMATCH);
        }
        let (environment, feature) = mode(&world.dir);
        put(settings, ConfComputeSettings { version, environment, feature, dev_tools: 0, multi_gpu: 0 })
    }
    nvmlSystemGetConfComputeGpusReadyState |_world| (ready: *mut c_uint) { put(ready, 0) }
}

/// `NVML_CC_SYSTEM_ENVIRONMENT_…` (0 unavailable, 2 production) and `NVML_CC_SYSTEM_FEATURE_…` (0 off, 1 on).
fn mode(dir: &std::path::Path) -> (c_uint, c_uint) {
    if attestation::is_prepared(dir) { (2, 1) } else { (0, 0) }
}

/// Bytes at the beginning of a buffer, and how many.
fn fill<const N: usize>(bytes: &[u8]) -> Result<([u8; N], c_uint), Ret> {
    let mut buffer = [0; N];
    buffer.get_mut(..bytes.len()).ok_or(abi::INSUFFICIENT_SIZE)?.copy_from_slice(bytes);
    Ok((buffer, bytes.len() as c_uint))
}

device_calls! {
    nvmlDeviceGetConfComputeGpuCertificate |here| (certificate: *mut ConfComputeCertificate) {
        let pem = attestation::chain(&here.world.dir, here.index).ok_or(abi::NOT_SUPPORTED)?;
        let (attestation_chain, attestation_chain_size) = fill(&pem)?;
        let (chain, chain_size) = ([0; 4096], 0);
        put(certificate, ConfComputeCertificate { chain_size, attestation_chain_size, chain, attestation_chain })
    }
    nvmlDeviceGetConfComputeGpuAttestationReport |here| (report: *mut ConfComputeReport) {
        let asked = take(report)?;
        let vbios = here.gpu.fixed.text(Text::Vbios)?;
        let driver = here.world.driver_version();
        let signed = attestation::report(&here.world.dir, here.index, asked.nonce, &driver, vbios);
        let (bytes, size) = fill(&signed.ok_or(abi::NOT_SUPPORTED)?)?;
        put(report, ConfComputeReport { cec_present: 0, size, cec_size: 0, report: bytes, ..asked })
    }
    nvmlDeviceGetConfComputeMemSizeInfo |here| (info: *mut ConfComputeMemSize) {
        put(info, ConfComputeMemSize {
            protected_kib: here.u64(Field::PROTECTED_MEMORY_TOTAL)? / 1024,
            unprotected_kib: here.u64(Field::MEMORY_TOTAL)? / 1024,
        })
    }
    nvmlDeviceGetConfComputeProtectedMemoryUsage |here| (memory: *mut Memory) {
        put(memory, Memory {
            total: here.u64(Field::PROTECTED_MEMORY_TOTAL)?,
            free: here.u64(Field::PROTECTED_MEMORY_FREE)?,
            used: here.u64(Field::PROTECTED_MEMORY_USED)?,
        })
    }
}
