//! The door to CUDA: everything unsafe is in here, and every error names what was done.
//!
//! Nothing is freed: the process ends when its work does, and with it goes all that it held on the GPU.
#![allow(unsafe_code, reason = "CUDA's driver interface has no safe form of what is needed here")]

use std::ffi::{CString, c_void};
use std::time::{Duration, Instant};

use cudarc::driver::{DriverError, result, sys};
use rackmark_model::gpu_work::{CudaFailure, GpuDevice};
use thiserror::Error;

use crate::abi::{DevicePointer, Grid, HOPPER_BOX_BYTES, HOPPER_BOX_ROWS, Kernel, TensorMap};
use crate::artefacts::Artefact;

/// Size of a NUL-terminated image is not told to the driver, so that of PTX is ended here.
const END_OF_TEXT: u8 = 0;

/// A call of the driver that failed.
#[derive(Debug, Clone, Error)]
#[error("{operation}: {name}")]
pub struct CudaError {
    /// What was done, and to what.
    pub operation: String,
    /// The driver's code; absent where the driver was not reached.
    pub code: Option<u32>,
    /// The code's name.
    pub name: String,
}

impl CudaError {
    fn new(operation: impl Into<String>, error: DriverError) -> Self {
        let code = error.0 as u32;
        let name = error
            .error_name()
            .map_or_else(|_| format!("CUDA error {code}"), |name| name.to_string_lossy().into_owned());
        Self { operation: operation.into(), code: Some(code), name }
    }

    /// There is too little free memory.
    pub fn is_out_of_memory(&self) -> bool {
        self.code == Some(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY as u32)
    }
}

impl From<CudaError> for CudaFailure {
    fn from(error: CudaError) -> Self {
        Self { operation: error.operation, code: error.code, name: error.name }
    }
}

trait Named<T> {
    fn named(self, operation: &str) -> Result<T, CudaError>;
}

impl<T> Named<T> for Result<T, DriverError> {
    fn named(self, operation: &str) -> Result<T, CudaError> {
        self.map_err(|error| CudaError::new(operation, error))
    }
}

/// Whether there is a driver to load. Everything else in here panics where there is none.
pub fn is_there() -> bool {
    // SAFETY: it loads the library and closes it; what the library does when loaded is the driver's own.
    unsafe { sys::is_culib_present() }
}

/// Shows this process one GPU alone. Before the driver is started, and before there is another thread.
#[expect(
    clippy::disallowed_methods,
    reason = "the driver reads it in this process, and there is no other thread yet"
)]
pub fn show_only(gpu_uuid: &str) {
    // SAFETY: no other thread exists yet that could read the environment meanwhile.
    unsafe { std::env::set_var("CUDA_VISIBLE_DEVICES", gpu_uuid) };
}

/// A GPU that was opened.
pub struct Gpu {
    device: sys::CUdevice,
    context: sys::CUcontext,
    stream: sys::CUstream,
    /// What it is.
    pub about: GpuDevice,
}

/// A stretch of device memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Where it begins.
    pub at: DevicePointer,
    /// Its length, in bytes.
    pub bytes: u64,
}

impl Stretch {
    /// Its first part, 256-byte aligned, and the rest; none where it is too short.
    pub fn split(self, bytes: u64) -> Option<(Self, Self)> {
        let aligned = bytes.next_multiple_of(256);
        let rest = self.bytes.checked_sub(aligned)?;
        Some((Self { at: self.at, bytes }, Self { at: self.at + aligned, bytes: rest }))
    }
}

/// Page-locked memory of the host, which the device reads and writes by itself.
pub struct Pinned {
    at: *mut u8,
    bytes: usize,
}

impl Pinned {
    /// What it holds. Nothing may be on its way into it.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the driver allocated so many bytes here and they are never freed; whoever queued a copy into them waits
        // for its event before it reads.
        unsafe { std::slice::from_raw_parts(self.at, self.bytes) }
    }

    /// The same, to be written. Nothing may be on its way into or out of it.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.at, self.bytes) }
    }
}

/// A kernel of a loaded module.
#[derive(Clone, Copy)]
pub struct Function {
    handle: sys::CUfunction,
    kernel: Kernel,
}

/// A loaded module.
#[derive(Clone, Copy)]
pub struct Module(sys::CUmodule);

/// A mark in the stream.
#[derive(Clone, Copy)]
pub struct Mark(sys::CUevent);

/// A second stream.
pub struct OtherWay {
    stream: sys::CUstream,
    /// What was queued on it is done.
    joined: Mark,
}

fn uuid_text(uuid: sys::CUuuid) -> String {
    let hex: String = uuid.bytes.iter().map(|byte| format!("{:02x}", byte.cast_unsigned())).collect();
    format!("GPU-{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

impl Gpu {
    /// Starts the driver and opens the GPU of this UUID.
    ///
    /// # Errors
    /// [`CudaError`]; one without a code where the driver shows no such GPU.
    pub fn open(gpu_uuid: &str) -> Result<Self, CudaError> {
        result::init().named("start the CUDA driver")?;
        let device = find(gpu_uuid)?;
        // SAFETY: the device is one that the driver gave.
        let context = unsafe { result::primary_ctx::retain(device) }.named("open the GPU")?;
        // SAFETY: the context was just made.
        unsafe { result::ctx::set_current(context) }.named("open the GPU")?;
        let stream =
            result::stream::create(result::stream::StreamKind::NonBlocking).named("make a stream")?;
        let about = describe(device)?;
        Ok(Self { device, context, stream, about })
    }

    /// Takes memory, so much of it at most; less where the driver has less, down to a sixteenth.
    ///
    /// # Errors
    /// [`CudaError`].
    pub fn hold(&self, bytes: u64) -> Result<Stretch, CudaError> {
        let step = bytes / 16;
        let mut wanted = bytes;
        loop {
            match self.allocate(wanted) {
                Err(error) if error.is_out_of_memory() && wanted > step => wanted -= step,
                held => return held,
            }
        }
    }

    /// Takes memory, exactly so much.
    ///
    /// # Errors
    /// [`CudaError`].
    pub fn allocate(&self, bytes: u64) -> Result<Stretch, CudaError> {
        let wanted = usize::try_from(bytes).unwrap_or(usize::MAX);
        // SAFETY: the context is current; the memory is used through its address alone.
        let at =
            unsafe { result::malloc_sync(wanted) }.named(&format!("allocate {bytes} bytes on the GPU"))?;
        Ok(Stretch { at, bytes })
    }

    /// Takes page-locked memory of the host, zeroed.
    ///
    /// # Errors
    /// [`CudaError`].
    pub fn pin(&self, bytes: usize) -> Result<Pinned, CudaError> {
        // SAFETY: the context is current. Flags 0: not write-combined, which would be slow to read.
        let at =
            unsafe { result::malloc_host(bytes, 0) }.named(&format!("pin {bytes} bytes of memory"))?.cast();
        let mut pinned = Pinned { at, bytes };
        pinned.bytes_mut().fill(0);
        Ok(pinned)
    }

    /// Loads what was built; says how long it took.
    ///
    /// # Errors
    /// [`CudaError`].
    pub fn load(&self, artefact: &Artefact) -> Result<(Module, Duration), CudaError> {
        let mut image = artefact.bytes.to_vec();
        image.push(END_OF_TEXT);
        let began = Instant::now();
        // SAFETY: the image is a whole cubin, which states its own size, or text that is ended by a zero.
        let module = unsafe { result::module::load_data(image.as_ptr().cast()) };
        Ok((Module(module.named(&format!("load {}", artefact.file))?), began.elapsed()))
    }

    /// Finds a kernel in its module.
    ///
    /// # Errors
    /// [`CudaError`].
    pub fn function(&self, module: Module, kernel: Kernel) -> Result<Function, CudaError> {
        let operation = format!("find the kernel {}", kernel.entry);
        let Ok(name) = CString::new(kernel.entry) else {
            return Err(CudaError { operation, code: None, name: "its name has a zero".to_owned() });
        };
        // SAFETY: modules are never unloaded.
        let handle = unsafe { result::module::get_function(module.0, name) }.named(&operation)?;
        let shared = i32::try_from(kernel.shared_bytes).unwrap_or(i32::MAX);
        let attribute = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        if shared > 0 {
            // SAFETY: the function was just found.
            unsafe { result::function::set_function_attribute(handle, attribute, shared) }
                .named(&operation)?;
        }
        Ok(Function { handle, kernel })
    }

    /// Blocks of a launch of this kernel; `tiles` of the product, where it has one.
    pub fn blocks(&self, kernel: Kernel, tiles: u32) -> u32 {
        match kernel.grid {
            Grid::PerMultiprocessor(each) => self.about.multiprocessors.max(1) * each,
            Grid::PerTile => tiles,
        }
    }

    /// Queues a launch. What `parameter` points to must be memory that is held.
    ///
    /// # Errors
    /// [`CudaError`]; those of earlier work may show here.
    pub fn launch<P: Copy>(&self, function: Function, blocks: u32, parameter: &P) -> Result<(), CudaError> {
        let Kernel { entry, parameter_bytes, threads, shared_bytes, .. } = function.kernel;
        assert_eq!(parameter_bytes, size_of::<P>(), "{entry} is launched with its own parameter");
        let mut parameters = [std::ptr::from_ref(parameter).cast_mut().cast::<c_void>()];
        // SAFETY: the function has one parameter by value of this size (held to the PTX by a test), which the driver
        // copies before it returns; addresses in it are of memory that lives as long as the process.
        unsafe {
            result::launch_kernel(
                function.handle,
                (blocks, 1, 1),
                (threads, 1, 1),
                shared_bytes,
                self.stream,
                &mut parameters,
            )
        }
        .named(&format!("launch {entry}"))
    }

    /// Queues zeros.
    ///
    /// # Errors
    /// [`CudaError`].
    pub fn clear(&self, stretch: Stretch) -> Result<(), CudaError> {
        let bytes = usize::try_from(stretch.bytes).unwrap_or(usize::MAX);
        // SAFETY: the stretch is part of memory that is held.
        unsafe { result::memset_d8_async(stretch.at, 0, bytes, self.stream) }.named("clear memory")
    }

    /// Queues a copy of the beginning of `from` that fills `to`, which is not read before a later mark is reached.
    ///
    /// # Errors
    /// [`CudaError`].
    pub fn fetch(&self, to: &mut Pinned, from: DevicePointer) -> Result<(), CudaError> {
        // SAFETY: the pinned memory lives as long as the process; `from` has as many bytes, as the caller laid it out.
        unsafe { result::memcpy_dtoh_async(to.bytes_mut(), from, self.stream) }.named("copy from the GPU")
    }

    /// Queues a copy of all of `from`, which is not written before a later mark is reached.
    ///
    /// # Errors
    /// [`CudaError`].
    pub fn send(&self, to: DevicePointer, from: &Pinned) -> Result<(), CudaError> {
        // SAFETY: as in `fetch`, the other way.
        unsafe { result::memcpy_htod_async(to, from.bytes(), self.stream) }.named("copy to the GPU")
    }

    /// Makes a second stream, for copies the other way.
    ///
    /// # Errors
    /// [`CudaError`].
    pub fn other_way(&self) -> Result<OtherWay, CudaError> {
        let stream =
            result::stream::create(result::stream::StreamKind::NonBlocking).named("make a second stream")?;
        Ok(OtherWay { stream, joined: self.mark()? })
    }

    /// Queues a copy of all of `sent`, and at the same time one that fills `came`; both begin after the mark `begin`, which
    /// was set, and whatever is queued next begins after both.
    ///
    /// # Errors
    /// [`CudaError`].
    pub fn both_ways(
        &self,
        other: &OtherWay,
        begin: Mark,
        (to, sent): (DevicePointer, &Pinned),
        (came, from): (&mut Pinned, DevicePointer),
    ) -> Result<(), CudaError> {
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: streams and events are never destroyed; memory as in `fetch` and `send`, and no byte is in both copies.
        unsafe {
            result::stream::wait_event(other.stream, begin.0, flags).named("join streams")?;
            result::memcpy_htod_async(to, sent.bytes(), self.stream).named("copy to the GPU")?;
            result::memcpy_dtoh_async(came.bytes_mut(), from, other.stream).named("copy from the GPU")?;
            result::event::record(other.joined.0, other.stream).named("queue an event")?;
            result::stream::wait_event(self.stream, other.joined.0, flags).named("join streams")
        }
    }

    /// Makes a mark that can be set again and again.
    ///
    /// # Errors
    /// [`CudaError`].
    pub fn mark(&self) -> Result<Mark, CudaError> {
        // Who waits for it sleeps.
        let flags = sys::CUevent_flags::CU_EVENT_BLOCKING_SYNC;
        result::event::create(flags).map(Mark).named("make an event")
    }

    /// Queues the mark.
    ///
    /// # Errors
    /// [`CudaError`].
    pub fn set(&self, mark: Mark) -> Result<(), CudaError> {
        // SAFETY: events and the stream are never destroyed.
        unsafe { result::event::record(mark.0, self.stream) }.named("queue an event")
    }

    /// Waits until the mark is reached.
    ///
    /// # Errors
    /// [`CudaError`]: whatever the work before it ended with.
    pub fn wait(&self, mark: Mark) -> Result<(), CudaError> {
        // SAFETY: as in `set`.
        unsafe { result::event::synchronize(mark.0) }.named("wait for the GPU")
    }

    /// Time on the GPU from one mark that was reached to another.
    ///
    /// # Errors
    /// [`CudaError`].
    pub fn between(&self, from: Mark, to: Mark) -> Result<Duration, CudaError> {
        // SAFETY: as in `set`; both are on one stream.
        let milliseconds =
            unsafe { result::event::elapsed(from.0, to.0) }.named("read the time of events")?;
        Ok(Duration::from_secs_f64(f64::from(milliseconds.max(0.0)) / 1e3))
    }

    /// Describes a matrix of `rows` rows of `depth` elements to TMA, in boxes as Hopper's products want them.
    ///
    /// # Errors
    /// [`CudaError`].
    pub fn tensor_map(
        &self,
        matrix: DevicePointer,
        rows: u32,
        depth: u32,
        element_bytes: u32,
    ) -> Result<TensorMap, CudaError> {
        let mut map = TensorMap([0; 16]);
        let kind = if element_bytes == 2 {
            sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
        } else {
            sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_UINT8
        };
        let extent = [u64::from(depth), u64::from(rows)];
        let pitch = [u64::from(depth * element_bytes)];
        let boxes = [HOPPER_BOX_BYTES / element_bytes, HOPPER_BOX_ROWS];
        let every = [1_u32, 1];
        // SAFETY: the map has CUDA's size and alignment (128 and 64 bytes, asserted in `abi`); every array has as many
        // entries as two dimensions need; the matrix is memory that is held.
        unsafe {
            sys::cuTensorMapEncodeTiled(
                (&raw mut map).cast(),
                kind,
                2,
                matrix as *mut c_void,
                extent.as_ptr(),
                pitch.as_ptr(),
                boxes.as_ptr(),
                every.as_ptr(),
                sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
                sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
                sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            )
        }
        .result()
        .named("describe a matrix")?;
        Ok(map)
    }

    /// Opens every other GPU that this process sees and that this one can reach, with memory on each.
    ///
    /// # Errors
    /// [`CudaError`].
    pub fn peers(&self, bytes: u64) -> Result<Vec<Peer>, CudaError> {
        let mut peers = Vec::new();
        for ordinal in 0..result::device::get_count().named("count GPUs")? {
            let device = result::device::get(ordinal).named("look at a GPU")?;
            let mut reached = 0;
            // SAFETY: both devices are ones that the driver gave.
            unsafe { sys::cuDeviceCanAccessPeer(&raw mut reached, self.device, device) }
                .result()
                .named("ask whether GPUs reach each other")?;
            if device == self.device || reached == 0 {
                continue;
            }
            // SAFETY: the device is one that the driver gave.
            let context = unsafe { result::primary_ctx::retain(device) }.named("open another GPU")?;
            // SAFETY: the context was just made; this one's is made current again below.
            unsafe { result::ctx::set_current(context) }.named("open another GPU")?;
            let held = self.allocate(bytes);
            // SAFETY: the context is this GPU's own.
            unsafe { result::ctx::set_current(self.context) }.named("go back to the GPU")?;
            peers.push(Peer { context, memory: held?.at });
        }
        Ok(peers)
    }

    /// Queues a copy to another GPU's memory.
    ///
    /// # Errors
    /// [`CudaError`].
    pub fn to_peer(&self, peer: &Peer, from: Stretch) -> Result<(), CudaError> {
        let bytes = usize::try_from(from.bytes).unwrap_or(usize::MAX);
        // SAFETY: both sides have so many bytes, which live as long as the process.
        unsafe {
            let (to, own) = ((peer.context, peer.memory), self.context);
            result::memcpy_peer_async(to.0, to.1, own, from.at, bytes, self.stream)
        }
        .named("copy to another GPU")
    }

    /// Queues a copy from another GPU's memory.
    ///
    /// # Errors
    /// [`CudaError`].
    pub fn back_from(&self, peer: &Peer, to: Stretch) -> Result<(), CudaError> {
        let bytes = usize::try_from(to.bytes).unwrap_or(usize::MAX);
        // SAFETY: as in `to_peer`.
        unsafe {
            result::memcpy_peer_async(self.context, to.at, peer.context, peer.memory, bytes, self.stream)
        }
        .named("copy from another GPU")
    }
}

/// Another GPU that can be reached.
pub struct Peer {
    context: sys::CUcontext,
    memory: DevicePointer,
}

fn find(gpu_uuid: &str) -> Result<sys::CUdevice, CudaError> {
    for ordinal in 0..result::device::get_count().named("count GPUs")? {
        let device = result::device::get(ordinal).named("look at a GPU")?;
        if uuid_text(result::device::get_uuid(device).named("read the UUID of a GPU")?) == gpu_uuid {
            return Ok(device);
        }
    }
    let operation = format!("open {gpu_uuid}");
    Err(CudaError { operation, code: None, name: "CUDA shows no such GPU".to_owned() })
}

fn describe(device: sys::CUdevice) -> Result<GpuDevice, CudaError> {
    use sys::CUdevice_attribute as Attribute;
    let attribute = |which| {
        // SAFETY: the device is one that the driver gave.
        let value = unsafe { result::device::get_attribute(device, which) }.named("read what the GPU is")?;
        Ok::<_, CudaError>(u32::try_from(value).unwrap_or(0))
    };
    let small = |value: u32| u8::try_from(value).unwrap_or(u8::MAX);
    let (free, total) = result::mem_get_info().named("ask for free memory")?;
    let mut version = 0;
    // SAFETY: it writes one number.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }.result().named("ask for the driver's version")?;
    Ok(GpuDevice {
        name: result::device::get_name(device).named("read the GPU's name")?,
        uuid: uuid_text(result::device::get_uuid(device).named("read the UUID of a GPU")?),
        compute_capability: (
            small(attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?),
            small(attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?),
        ),
        multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        memory_bytes: total as u64,
        memory_free_bytes: free as u64,
        l2_bytes: attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?,
        cuda_version: u32::try_from(version).unwrap_or(0),
    })
}
