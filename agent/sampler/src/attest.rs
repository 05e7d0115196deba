//! The other thing that a sampler may be ordered: to have GPUs sign, each once.
//!
//! The process is one of its own, beside the one that samples. GPUs sign at the same time, each on a thread; what one
//! signed goes out when it is there, and one that hangs holds nobody up. The process ends when all have answered, or
//! with the stream.

use std::ffi::OsStr;
use std::sync::Arc;
use std::thread;

use rackmark_model::ipc::{GpuQuestion, GpuSigned, SamplerReport};

use crate::nvml::{Device, Library};
use crate::outlet::{Outlet, complain};
use crate::watch::CallWatch;
use crate::{EXIT_INTERNAL, driver, process};

/// Has the GPUs sign. Does not return: the process ends with 0, or with
/// [`EXIT_INTERNAL`] where a thread could not be started.
pub(crate) fn run(nvml_library: &OsStr, questions: &[GpuQuestion]) -> ! {
    let outlet = Outlet::default();
    outlet.send(&SamplerReport::Hello { pid: std::process::id() });
    if let Err(error) = crate::end_with_the_stream() {
        complain(&format!("cannot start a thread: {error}"));
        process::end(EXIT_INTERNAL);
    }
    match Library::open(nvml_library, &CallWatch::default()) {
        Ok(library) => {
            let library = Arc::new(library);
            let answer = |question: GpuQuestion| {
                let outcome = sign(Arc::clone(&library), question);
                outlet.send(&SamplerReport::Signed { address: question.address, outcome });
            };
            thread::scope(|scope| {
                for question in questions {
                    scope.spawn(move || answer(*question));
                }
            });
        }
        Err(error) => {
            let cause = driver::cause(&error);
            outlet.send(&SamplerReport::NoDriver { cause });
        }
    }
    process::end(0)
}

fn sign(library: Arc<Library>, question: GpuQuestion) -> Result<GpuSigned, String> {
    let device = Device::open(library, Arc::new(CallWatch::default()), question.address)
        .map_err(|why| format!("the GPU cannot be opened: {why}"))?;
    let refused = |what: &str| {
        let what = what.to_owned();
        move |status| format!("the driver gives no {what}: {}", rackmark_model::NoData::from(status))
    };
    let chain = device.attestation_certificates().map_err(refused("certificates"))?;
    let report = device.attestation_report(question.nonce).map_err(refused("report"))?;
    Ok(GpuSigned { report, chain })
}
