use std::mem::MaybeUninit;
use std::sync::Arc;

use nvml_wrapper_sys::bindings::{nvmlGpmMetricsGet_t, nvmlGpmSample_t, nvmlGpmSupport_t};
use rackmark_model::{NoData, Permille, Reading};

use super::device::on;
use super::{Device, Library, Status, call};
use crate::watch::CallWatch;

/// `NVML_GPM_METRIC_SM_UTIL`, `…_ANY_TENSOR_UTIL`, `…_DRAM_BW_UTIL`, each in percent.
const METRICS: [u32; 3] = [2, 5, 10];

/// GPU performance monitoring of one GPU: shares between one tick and the next.
///
/// Two samples are allocated once and take turns as the older one.
pub(crate) struct Gpm {
    library: Arc<Library>,
    watch: Arc<CallWatch>,
    samples: [nvmlGpmSample_t; 2],
    newer: usize,
    primed: bool,
}

impl Gpm {
    /// `NOT_SUPPORTED` before Hopper and under some virtualisation.
    pub(crate) fn open(device: &Device) -> Result<Self, Status> {
        let mut support = nvmlGpmSupport_t { version: 1, isSupportedDevice: 0 };
        on!(device, nvmlGpmQueryDeviceSupport(&mut support))?;
        if support.isSupportedDevice == 0 {
            return Err(Status::NOT_SUPPORTED);
        }
        let mut this = Self {
            library: Arc::clone(&device.library),
            watch: Arc::clone(&device.watch),
            samples: [std::ptr::null_mut(); 2],
            newer: 0,
            primed: false,
        };
        for sample in &mut this.samples {
            call!(device.bindings(), device.watch, nvmlGpmSampleAlloc(sample))?;
        }
        Ok(this)
    }

    /// Shares of SM, tensor and DRAM activity since the last call; not sampled
    /// at the first call.
    pub(crate) fn read(&mut self, device: &Device) -> [Reading<Permille>; 3] {
        let older = self.newer;
        self.newer = 1 - older;
        if let Err(status) = on!(device, nvmlGpmSampleGet(self.samples[self.newer])) {
            self.primed = false;
            return [Err(status.into()); 3];
        }
        if !self.primed {
            self.primed = true;
            return [Err(NoData::NotSampled); 3];
        }
        self.compare(older)
    }

    fn compare(&self, older: usize) -> [Reading<Permille>; 3] {
        let mut request = MaybeUninit::<nvmlGpmMetricsGet_t>::uninit();
        let get = request.as_mut_ptr();
        // SAFETY: `get` points to memory of the right size and alignment for
        // the time of this function. Only the members named here are written;
        // NVML reads the head and the first `numMetrics` metrics, all of which
        // are initialised.
        unsafe {
            (&raw mut (*get).version).write(1);
            (&raw mut (*get).numMetrics).write(METRICS.len() as u32);
            (&raw mut (*get).sample1).write(self.samples[older]);
            (&raw mut (*get).sample2).write(self.samples[self.newer]);
            for (position, metric) in METRICS.into_iter().enumerate() {
                let slot = &raw mut (*get).metrics[position];
                slot.write_bytes(0, 1);
                (&raw mut (*slot).metricId).write(metric);
                (&raw mut (*slot).nvmlReturn).write(Status::NOT_SUPPORTED.0);
            }
        }
        if let Err(status) = call!(self.library.bindings(), self.watch, nvmlGpmMetricsGet(get)) {
            return [Err(status.into()); 3];
        }
        [0, 1, 2].map(|position| {
            // SAFETY: the first three metrics were initialised above.
            let (code, percent) = unsafe {
                let metric = &raw const (*get).metrics[position];
                ((*metric).nvmlReturn, (*metric).value)
            };
            Status::check(code)?;
            permille(percent)
        })
    }
}

impl Drop for Gpm {
    fn drop(&mut self) {
        for sample in self.samples {
            if !sample.is_null() {
                // A sample that cannot be freed is lost with the library.
                let _ = call!(self.library.bindings(), self.watch, nvmlGpmSampleFree(sample));
            }
        }
    }
}

/// Percent as NVML computes it; rounding of its own counters may pass 100 a little.
fn permille(percent: f64) -> Reading<Permille> {
    if percent.is_finite() && percent >= 0.0 {
        // A cast from a float saturates; the minimum keeps it in range.
        Ok(Permille(((percent * 10.0).round() as u32).min(1000)))
    } else {
        Err(NoData::NotSupported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_becomes_permille_and_nonsense_is_absent() {
        assert_eq!(permille(97.34), Ok(Permille(973)));
        assert_eq!(permille(100.4), Ok(Permille(1000)));
        assert_eq!(permille(f64::NAN), Err(NoData::NotSupported));
        assert_eq!(permille(-1.0), Err(NoData::NotSupported));
    }
}
