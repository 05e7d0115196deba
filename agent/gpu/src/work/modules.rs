//! Modules, loaded when the first of their kernels is wanted.

use std::collections::BTreeMap;

use rackmark_model::gpu_work::{GpuReport, Loaded};

use super::cuda::{CudaError, Function, Gpu, Module};
use super::outlet::Outlet;
use crate::abi::Kernel;
use crate::artefacts;

/// What was loaded.
pub struct Modules<'a> {
    gpu: &'a Gpu,
    outlet: &'a Outlet,
    loaded: BTreeMap<&'static str, Module>,
}

impl<'a> Modules<'a> {
    /// Nothing yet.
    pub fn new(gpu: &'a Gpu, outlet: &'a Outlet) -> Self {
        Self { gpu, outlet, loaded: BTreeMap::new() }
    }

    /// A kernel; none where nothing that was built of its module runs on this GPU.
    ///
    /// # Errors
    /// [`CudaError`] of the last artefact, where some should run and none loads.
    pub fn kernel(&mut self, kernel: Kernel) -> Result<Option<Function>, CudaError> {
        let module = match self.loaded.get(kernel.module) {
            Some(module) => *module,
            None => match self.load(kernel.module)? {
                Some(module) => module,
                None => return Ok(None),
            },
        };
        self.gpu.function(module, kernel).map(Some)
    }

    fn load(&mut self, name: &'static str) -> Result<Option<Module>, CudaError> {
        let mut trouble = None;
        for artefact in artefacts::of(name, self.gpu.about.compute_capability) {
            match self.gpu.load(artefact) {
                Ok((module, took)) => {
                    self.outlet.send(&GpuReport::Loaded(Loaded {
                        module: name.to_owned(),
                        from_ptx: artefact.target.is_ptx(),
                        took_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                        sha256: artefact.sha256(),
                    }));
                    self.loaded.insert(name, module);
                    return Ok(Some(module));
                }
                // PTX may load where machine code does not.
                Err(error) => trouble = Some(error),
            }
        }
        trouble.map_or(Ok(None), Err)
    }
}
