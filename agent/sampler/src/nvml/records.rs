//! Readings that come as C structs, most of them with a version word.

use std::ffi::c_uint;

use nvml_wrapper_sys::bindings as sys;

use super::device::{Absent, on};
use super::{Device, Status, version_word};

/// Device memory in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) total: Result<u64, Status>,
    /// `None` where only the older form without it is offered.
    pub(crate) reserved: Result<u64, Status>,
    pub(crate) free: Result<u64, Status>,
    pub(crate) used: Result<u64, Status>,
}

/// Three values that belong together, such as total, free and used.
pub(crate) type Three<T> = (T, T, T);

/// Uncorrected SRAM errors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SramErrors {
    pub(crate) volatile_parity: u64,
    pub(crate) volatile_secded: u64,
    pub(crate) aggregate_parity: u64,
    pub(crate) aggregate_secded: u64,
    pub(crate) threshold_exceeded: bool,
    /// L2, SM, PCIe, microcontrollers, other.
    pub(crate) buckets: [u64; 5],
}

/// Rows remapped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RemappedRows {
    pub(crate) corrected: u32,
    pub(crate) uncorrected: u32,
    pub(crate) pending: bool,
    pub(crate) failed: bool,
}

/// Registration with the NVLink fabric.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fabric {
    /// 0 not supported, 1 not started, 2 in progress, 3 completed.
    pub(crate) state: u32,
    pub(crate) status: u32,
    pub(crate) clique: u32,
    pub(crate) cluster_uuid: [u8; 16],
    /// Absent in the first form of the call.
    pub(crate) health: Result<u32, Status>,
}

/// Where in the rack the GPU sits.
#[derive(Debug, Clone)]
pub(crate) struct Platform {
    pub(crate) guid: [u8; 16],
    pub(crate) chassis_serial: Result<String, Status>,
    pub(crate) slot: u8,
    pub(crate) tray: u8,
    pub(crate) host: u8,
    pub(crate) peer_type: u8,
    pub(crate) module: u8,
}

/// What a MIG device was given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes {
    pub(crate) multiprocessors: u32,
    pub(crate) copy_engines: u32,
    pub(crate) decoders: u32,
    pub(crate) encoders: u32,
    pub(crate) jpegs: u32,
    pub(crate) ofas: u32,
}

fn present<T: Absent>(value: T) -> Result<T, Status> {
    if value.is_absent() { Err(Status::NOT_SUPPORTED) } else { Ok(value) }
}

/// The first `size` bytes of a buffer that NVML filled; nothing where it says that there is none.
fn filled(buffer: &[u8], size: c_uint) -> Result<Vec<u8>, Status> {
    match buffer.get(..size as usize) {
        Some(bytes) if !bytes.is_empty() => Ok(bytes.to_vec()),
        _ => Err(Status::NOT_SUPPORTED),
    }
}

impl Device {
    /// `nvmlDeviceGetConfComputeGpuCertificate`: the certificates of the key that signs reports, PEM, leaf first.
    pub(crate) fn attestation_certificates(&self) -> Result<Vec<u8>, Status> {
        let mut certificates = Box::new(sys::nvmlConfComputeGpuCertificate_t {
            certChainSize: 0,
            attestationCertChainSize: 0,
            certChain: [0; 4096],
            attestationCertChain: [0; 5120],
        });
        on!(self, nvmlDeviceGetConfComputeGpuCertificate(&mut *certificates))?;
        filled(&certificates.attestationCertChain, certificates.attestationCertChainSize)
    }

    /// `nvmlDeviceGetConfComputeGpuAttestationReport`: a report over this nonce.
    pub(crate) fn attestation_report(&self, nonce: [u8; 32]) -> Result<Vec<u8>, Status> {
        let mut report = Box::new(sys::nvmlConfComputeGpuAttestationReport_t {
            isCecAttestationReportPresent: 0,
            attestationReportSize: 0,
            cecAttestationReportSize: 0,
            nonce,
            attestationReport: [0; 8192],
            cecAttestationReport: [0; 4096],
        });
        on!(self, nvmlDeviceGetConfComputeGpuAttestationReport(&mut *report))?;
        filled(&report.attestationReport, report.attestationReportSize)
    }

    /// `nvmlDeviceGetUtilizationRates`: GPU and memory, percent.
    pub(crate) fn utilization(&self) -> Result<(u32, u32), Status> {
        let mut rates = sys::nvmlUtilization_st { gpu: 0, memory: 0 };
        on!(self, nvmlDeviceGetUtilizationRates(&mut rates))?;
        Ok((rates.gpu, rates.memory))
    }

    /// `nvmlDeviceGetMemoryInfo_v2`, or the first form, which counts what the
    /// driver keeps for itself as used.
    pub(crate) fn memory(&self) -> Result<Memory, Status> {
        let version = version_word::<sys::nvmlMemory_v2_t>(2);
        let mut info = sys::nvmlMemory_v2_st { version, total: 0, reserved: 0, free: 0, used: 0 };
        let reserved = match on!(self, nvmlDeviceGetMemoryInfo_v2(&mut info)) {
            Ok(()) => present(info.reserved),
            Err(status) if status.wants_older_form() => {
                (info.total, info.free, info.used) =
                    self.memory_of(|memory| on!(self, nvmlDeviceGetMemoryInfo(memory)))?;
                Err(Status::NOT_SUPPORTED)
            }
            Err(status) => return Err(status),
        };
        Ok(Memory {
            total: present(info.total),
            reserved,
            free: present(info.free),
            used: present(info.used),
        })
    }

    /// `nvmlDeviceGetConfComputeProtectedMemoryUsage`: total, free and used bytes.
    pub(crate) fn protected_memory(&self) -> Result<Three<u64>, Status> {
        self.memory_of(|memory| on!(self, nvmlDeviceGetConfComputeProtectedMemoryUsage(memory)))
    }

    fn memory_of(
        &self,
        ask: impl FnOnce(&mut sys::nvmlMemory_st) -> Result<(), Status>,
    ) -> Result<Three<u64>, Status> {
        let mut memory = sys::nvmlMemory_st { total: 0, free: 0, used: 0 };
        ask(&mut memory)?;
        Ok((present(memory.total)?, present(memory.free)?, present(memory.used)?))
    }

    /// `nvmlDeviceGetBAR1MemoryInfo`: total, free and used bytes.
    pub(crate) fn bar1(&self) -> Result<Three<u64>, Status> {
        let mut memory = sys::nvmlBAR1Memory_st { bar1Total: 0, bar1Free: 0, bar1Used: 0 };
        on!(self, nvmlDeviceGetBAR1MemoryInfo(&mut memory))?;
        Ok((present(memory.bar1Total)?, present(memory.bar1Free)?, present(memory.bar1Used)?))
    }

    /// `nvmlDeviceGetMarginTemperature`, degrees Celsius.
    pub(crate) fn margin_temperature(&self) -> Result<i32, Status> {
        let version = version_word::<sys::nvmlMarginTemperature_v1_t>(1);
        let mut margin = sys::nvmlMarginTemperature_v1_t { version, marginTemperature: 0 };
        on!(self, nvmlDeviceGetMarginTemperature(&mut margin))?;
        Ok(margin.marginTemperature)
    }

    /// `nvmlDeviceGetSramEccErrorStatus`.
    pub(crate) fn sram_errors(&self) -> Result<SramErrors, Status> {
        let version = version_word::<sys::nvmlEccSramErrorStatus_v1_t>(1);
        let mut status = sys::nvmlEccSramErrorStatus_v1_t {
            version,
            aggregateUncParity: 0,
            aggregateUncSecDed: 0,
            aggregateCor: 0,
            volatileUncParity: 0,
            volatileUncSecDed: 0,
            volatileCor: 0,
            aggregateUncBucketL2: 0,
            aggregateUncBucketSm: 0,
            aggregateUncBucketPcie: 0,
            aggregateUncBucketMcu: 0,
            aggregateUncBucketOther: 0,
            bThresholdExceeded: 0,
        };
        on!(self, nvmlDeviceGetSramEccErrorStatus(&mut status))?;
        Ok(SramErrors {
            volatile_parity: status.volatileUncParity,
            volatile_secded: status.volatileUncSecDed,
            aggregate_parity: status.aggregateUncParity,
            aggregate_secded: status.aggregateUncSecDed,
            threshold_exceeded: status.bThresholdExceeded != 0,
            buckets: [
                status.aggregateUncBucketL2,
                status.aggregateUncBucketSm,
                status.aggregateUncBucketPcie,
                status.aggregateUncBucketMcu,
                status.aggregateUncBucketOther,
            ],
        })
    }

    /// `nvmlDeviceGetRemappedRows`.
    pub(crate) fn remapped_rows(&self) -> Result<RemappedRows, Status> {
        let (mut corrected, mut uncorrected, mut pending, mut failed) = (0, 0, 0, 0);
        on!(self, nvmlDeviceGetRemappedRows(&mut corrected, &mut uncorrected, &mut pending, &mut failed))?;
        Ok(RemappedRows { corrected, uncorrected, pending: pending != 0, failed: failed != 0 })
    }

    /// `nvmlDeviceGetRowRemapperHistogram`: banks with max, high, partial, low
    /// and no spare rows.
    pub(crate) fn remap_histogram(&self) -> Result<[u32; 5], Status> {
        let mut banks =
            sys::nvmlRowRemapperHistogramValues_st { max: 0, high: 0, partial: 0, low: 0, none: 0 };
        on!(self, nvmlDeviceGetRowRemapperHistogram(&mut banks))?;
        Ok([banks.max, banks.high, banks.partial, banks.low, banks.none])
    }

    /// `nvmlDeviceGetRetiredPages`, the count only: cause 0 is repeated
    /// single-bit errors, 1 is a double-bit error.
    pub(crate) fn retired_pages(&self, cause: u32) -> Result<u32, Status> {
        let mut count: c_uint = 0;
        match on!(self, nvmlDeviceGetRetiredPages(cause, &mut count, std::ptr::null_mut())) {
            Ok(()) | Err(Status::INSUFFICIENT_SIZE) => Ok(count),
            Err(status) => Err(status),
        }
    }

    /// `nvmlDeviceGetRepairStatus`: channel and TPC repair pending.
    pub(crate) fn repair_status(&self) -> Result<(bool, bool), Status> {
        let version = version_word::<sys::nvmlRepairStatus_v1_t>(1);
        let mut status =
            sys::nvmlRepairStatus_v1_t { version, bChannelRepairPending: 0, bTpcRepairPending: 0 };
        on!(self, nvmlDeviceGetRepairStatus(&mut status))?;
        Ok((status.bChannelRepairPending != 0, status.bTpcRepairPending != 0))
    }

    /// `nvmlDeviceGetEncoderStats`: sessions, average fps, average latency in microseconds.
    pub(crate) fn encoder_stats(&self) -> Result<Three<u32>, Status> {
        let (mut sessions, mut fps, mut latency) = (0, 0, 0);
        on!(self, nvmlDeviceGetEncoderStats(&mut sessions, &mut fps, &mut latency))?;
        Ok((sessions, fps, latency))
    }

    /// `nvmlDeviceGetFBCStats`: sessions, average fps, average latency in microseconds.
    pub(crate) fn capture_stats(&self) -> Result<Three<u32>, Status> {
        let mut stats = sys::nvmlFBCStats_st { sessionsCount: 0, averageFPS: 0, averageLatency: 0 };
        on!(self, nvmlDeviceGetFBCStats(&mut stats))?;
        Ok((stats.sessionsCount, stats.averageFPS, stats.averageLatency))
    }

    /// `nvmlDeviceGetViolationStatus`, nanoseconds; `policy` is `nvmlPerfPolicyType_t`.
    pub(crate) fn violation_time(&self, policy: u32) -> Result<u64, Status> {
        let mut time = sys::nvmlViolationTime_st { referenceTime: 0, violationTime: 0 };
        on!(self, nvmlDeviceGetViolationStatus(policy, &mut time))?;
        present(time.violationTime)
    }

    /// `nvmlDeviceGetAddressingMode`: 0 none, 1 HMM, 2 ATS.
    pub(crate) fn addressing_mode(&self) -> Result<u32, Status> {
        let version = version_word::<sys::nvmlDeviceAddressingMode_v1_t>(1);
        let mut mode = sys::nvmlDeviceAddressingMode_v1_t { version, value: 0 };
        on!(self, nvmlDeviceGetAddressingMode(&mut mode))?;
        Ok(mode.value)
    }

    /// `nvmlDeviceGetC2cModeInfoV`.
    pub(crate) fn c2c_enabled(&self) -> Result<bool, Status> {
        let mut info = sys::nvmlC2cModeInfo_v1_t { isC2cEnabled: 0 };
        on!(self, nvmlDeviceGetC2cModeInfoV(&mut info))?;
        Ok(info.isC2cEnabled != 0)
    }

    /// `nvmlDeviceGetGpuFabricInfoV`, newest form first.
    pub(crate) fn fabric(&self) -> Result<Fabric, Status> {
        let mut info = sys::nvmlGpuFabricInfo_v3_t {
            version: version_word::<sys::nvmlGpuFabricInfo_v3_t>(3),
            clusterUuid: [0; 16],
            status: 0,
            cliqueId: 0,
            state: 0,
            healthMask: 0,
            healthSummary: 0,
        };
        let mut answer = on!(self, nvmlDeviceGetGpuFabricInfoV((&raw mut info).cast()));
        if answer == Err(Status::ARGUMENT_VERSION_MISMATCH) {
            // The second form is the third without its last member.
            info.version = version_word::<sys::nvmlGpuFabricInfo_v2_t>(2);
            answer = on!(self, nvmlDeviceGetGpuFabricInfoV((&raw mut info).cast()));
        }
        match answer {
            Ok(()) => Ok(Fabric {
                state: u32::from(info.state),
                status: info.status,
                clique: info.cliqueId,
                cluster_uuid: info.clusterUuid,
                health: Ok(info.healthMask),
            }),
            Err(status) if status.wants_older_form() => self.fabric_first_form(),
            Err(status) => Err(status),
        }
    }

    fn fabric_first_form(&self) -> Result<Fabric, Status> {
        let mut info = sys::nvmlGpuFabricInfo_t { clusterUuid: [0; 16], status: 0, cliqueId: 0, state: 0 };
        on!(self, nvmlDeviceGetGpuFabricInfo(&mut info))?;
        Ok(Fabric {
            state: u32::from(info.state),
            status: info.status,
            clique: info.cliqueId,
            cluster_uuid: info.clusterUuid,
            health: Err(Status::NOT_SUPPORTED),
        })
    }

    /// `nvmlDeviceGetPlatformInfo`, second form first. The first form has the
    /// same layout with other meanings: a rack GUID instead of the chassis
    /// serial number, then slot, compute slot and node.
    pub(crate) fn platform(&self) -> Result<Platform, Status> {
        let mut info = sys::nvmlPlatformInfo_v2_t {
            version: version_word::<sys::nvmlPlatformInfo_v2_t>(2),
            ibGuid: [0; 16],
            chassisSerialNumber: [0; 16],
            slotNumber: 0,
            trayIndex: 0,
            hostId: 0,
            peerType: 0,
            moduleId: 0,
        };
        let mut second_form = true;
        let mut answer = on!(self, nvmlDeviceGetPlatformInfo(&mut info));
        if answer == Err(Status::ARGUMENT_VERSION_MISMATCH) {
            second_form = false;
            info.version = version_word::<sys::nvmlPlatformInfo_v1_t>(1);
            answer = on!(self, nvmlDeviceGetPlatformInfo(&mut info));
        }
        answer?;
        let serial = info.chassisSerialNumber.map(u8::cast_signed);
        Ok(Platform {
            guid: info.ibGuid,
            chassis_serial: if second_form { super::text(&serial) } else { Err(Status::NOT_SUPPORTED) },
            slot: info.slotNumber,
            tray: info.trayIndex,
            host: info.hostId,
            peer_type: info.peerType,
            module: info.moduleId,
        })
    }

    /// `nvmlDeviceGetAttributes_v2`, for a MIG device.
    pub(crate) fn attributes(&self) -> Result<Attributes, Status> {
        let mut attributes = sys::nvmlDeviceAttributes_st {
            multiprocessorCount: 0,
            sharedCopyEngineCount: 0,
            sharedDecoderCount: 0,
            sharedEncoderCount: 0,
            sharedJpegCount: 0,
            sharedOfaCount: 0,
            gpuInstanceSliceCount: 0,
            computeInstanceSliceCount: 0,
            memorySizeMB: 0,
        };
        on!(self, nvmlDeviceGetAttributes_v2(&mut attributes))?;
        Ok(Attributes {
            multiprocessors: attributes.multiprocessorCount,
            copy_engines: attributes.sharedCopyEngineCount,
            decoders: attributes.sharedDecoderCount,
            encoders: attributes.sharedEncoderCount,
            jpegs: attributes.sharedJpegCount,
            ofas: attributes.sharedOfaCount,
        })
    }
}
