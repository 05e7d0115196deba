//! What the simulated library costs a process: nanoseconds per call and private memory.
//!
//! `RACKMARK_SIM_DIR=DIR cargo run --release -p rackmark-sim-nvml --example cost -- LIBRARY`
#![allow(unsafe_code, reason = "calls a C library that it loads at run time, as the agent does")]

use std::ffi::{CString, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::time::Instant;

/// Private memory of this process in KiB: written to (dirty), and pages of files that nobody else has mapped (clean).
fn private_kib() -> [u64; 2] {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    ["Private_Dirty:", "Private_Clean:"].map(|key| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    })
}

struct Library(*mut c_void);

impl Library {
    fn symbol(&self, name: &str) -> Result<*mut c_void, String> {
        let name = CString::new(name).map_err(|error| error.to_string())?;
        // SAFETY: a live handle from dlopen and a zero-terminated name.
        let at = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        if at.is_null() { Err(format!("no symbol {name:?}")) } else { Ok(at) }
    }
}

macro_rules! call {
    ($library:expr, $name:literal ( $($argument:expr => $ty:ty),* )) => {{
        // SAFETY: the symbol is NVML's function of that name, whose C signature is the one given here.
        let function: extern "C" fn($($ty),*) -> c_uint = unsafe { std::mem::transmute($library.symbol($name)?) };
        function($($argument),*)
    }};
}

fn main() -> Result<(), String> {
    let path = std::env::args().nth(1).ok_or("the library's path is needed")?;
    let path = CString::new(path).map_err(|error| error.to_string())?;
    let before = private_kib();
    // SAFETY: a zero-terminated path; the library's constructors are none.
    let library = Library(unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) });
    if library.0.is_null() {
        return Err(format!("cannot load {path:?}"));
    }
    let loaded = private_kib();
    let start = Instant::now();
    let code = call!(library, "nvmlInit_v2"());
    if code != 0 {
        return Err(format!("nvmlInit_v2 answers {code}"));
    }
    println!("nvmlInit_v2: {:.2} ms", start.elapsed().as_secs_f64() * 1000.0);
    let mut count: c_uint = 0;
    call!(library, "nvmlDeviceGetCount_v2"(&raw mut count => *mut c_uint));
    let mut devices = Vec::new();
    for index in 0..count {
        let mut device: *mut c_void = std::ptr::null_mut();
        call!(library, "nvmlDeviceGetHandleByIndex_v2"(index => c_uint, &raw mut device => *mut *mut c_void));
        devices.push(device);
    }
    let rounds = 20_000;
    let mut number: c_uint = 0;
    let mut wide: c_ulonglong = 0;
    let mut measure = |name: &str, call: &mut dyn FnMut(*mut c_void, *mut c_uint, *mut c_ulonglong)| {
        let start = Instant::now();
        for _ in 0..rounds {
            for device in &devices {
                call(*device, &raw mut number, &raw mut wide);
            }
        }
        let calls = f64::from(rounds) * f64::from(count.max(1));
        println!("{name:<42} {:>6.0} ns per call", start.elapsed().as_secs_f64() * 1e9 / calls);
    };
    for name in
        ["nvmlDeviceGetPowerUsage", "nvmlDeviceGetPerformanceState", "nvmlDeviceGetEnforcedPowerLimit"]
    {
        // SAFETY: these three have this C signature.
        let function: extern "C" fn(*mut c_void, *mut c_uint) -> c_uint =
            unsafe { std::mem::transmute(library.symbol(name)?) };
        measure(name, &mut |device, number, _| {
            function(device, number);
        });
    }
    // SAFETY: the C signature of this function.
    let energy: extern "C" fn(*mut c_void, *mut c_ulonglong) -> c_uint =
        unsafe { std::mem::transmute(library.symbol("nvmlDeviceGetTotalEnergyConsumption")?) };
    measure("nvmlDeviceGetTotalEnergyConsumption", &mut |device, _, wide| {
        energy(device, wide);
    });
    let mut values = [[0_u64; 5]; 9];
    // SAFETY: the C signature of this function; a field value is 40 bytes.
    let fields: extern "C" fn(*mut c_void, c_int, *mut [u64; 5]) -> c_uint =
        unsafe { std::mem::transmute(library.symbol("nvmlDeviceGetFieldValues")?) };
    measure("nvmlDeviceGetFieldValues (9 fields)", &mut |device, _, _| {
        for (value, id) in values.iter_mut().zip([
            74_u64,
            76,
            82,
            138 | 0xFFFF_FFFF << 32,
            139 | 0xFFFF_FFFF << 32,
            186,
            251,
            252,
            253,
        ]) {
            value[0] = id;
        }
        fields(device, 9, values.as_mut_ptr());
    });
    let mut name = [0 as c_char; 96];
    let room = name.len() as c_uint;
    // SAFETY: the C signature of this function.
    let get_name: extern "C" fn(*mut c_void, *mut c_char, c_uint) -> c_uint =
        unsafe { std::mem::transmute(library.symbol("nvmlDeviceGetName")?) };
    measure("nvmlDeviceGetName", &mut |device, _, _| {
        get_name(device, name.as_mut_ptr(), room);
    });
    let after = private_kib();
    println!(
        "private memory in KiB [dirty, clean]: {before:?} before, {loaded:?} loaded, {after:?} after sampling {count} GPUs"
    );
    println!("the library's share: {} KiB dirty", after[0].saturating_sub(before[0]));
    Ok(())
}
