//! The exported C functions, by theme. Names, order of arguments and return codes are NVML's.
#![allow(non_snake_case, reason = "the exported names are NVML's own")]

pub mod clocks;
pub mod conf_compute;
pub mod ecc;
pub mod events;
pub mod field_values;
pub mod gpm;
pub mod identity;
pub mod memory;
pub mod mig;
pub mod modes;
pub mod nvlink;
pub mod pcie;
pub mod platform;
pub mod power;
pub mod processes;
pub mod system;
pub mod thermal;
pub mod topology;
pub mod utilization;

use crate::abi::{self, Ret, put};
use crate::fields::Field;
use crate::profile::Mig;
use crate::world::{Here, World, ready};

/// A call about one physical GPU. A MIG device handle answers *not supported*.
macro_rules! device_calls {
    ($($name:ident |$here:ident| ($($arg:ident: $ty:ty),* $(,)?) $body:block)+) => {
        $crate::calls::any_device_calls! {
            $($name |here| ($($arg: $ty),*) {
                let $here = here.physical()?;
                $body
            })+
        }
    };
}

/// A call about a GPU or a MIG device.
macro_rules! any_device_calls {
    ($($name:ident |$here:ident| ($($arg:ident: $ty:ty),* $(,)?) $body:block)+) => {
        $(
            #[doc = concat!("NVML's `", stringify!($name), "`.")]
            #[unsafe(no_mangle)]
            pub extern "C" fn $name(device: $crate::abi::Device $(, $arg: $ty)*) -> $crate::abi::Ret {
                $crate::calls::answer((|| {
                    let $here = $crate::world::enter(stringify!($name), device)?;
                    $body
                })())
            }
        )+
    };
}

/// A call about the whole machine.
macro_rules! system_calls {
    ($($name:ident |$world:ident| ($($arg:ident: $ty:ty),* $(,)?) $body:block)+) => {
        $(
            #[doc = concat!("NVML's `", stringify!($name), "`.")]
            #[unsafe(no_mangle)]
            pub extern "C" fn $name($($arg: $ty),*) -> $crate::abi::Ret {
                $crate::calls::answer((|| {
                    let $world = $crate::calls::ready_for(stringify!($name))?;
                    $body
                })())
            }
        )+
    };
}

pub(crate) use {any_device_calls, device_calls, system_calls};

/// An inner result as NVML's return code.
pub(crate) fn answer(result: Result<(), Ret>) -> Ret {
    match result {
        Ok(()) => abi::SUCCESS,
        Err(code) => code,
    }
}

/// The machine, after rules that name this very function.
pub(crate) fn ready_for(function: &str) -> Result<&'static World, Ret> {
    let world = ready()?;
    for gpu in &world.gpus {
        match gpu.faults.pass(world, function, false) {
            Ok(()) | Err(abi::GPU_IS_LOST) => {}
            Err(code) => return Err(code),
        }
    }
    Ok(world)
}

impl Here {
    /// This call is not for MIG devices.
    pub(crate) fn physical(self) -> Result<Here, Ret> {
        if self.mig.is_none() { Ok(self) } else { Err(abi::NOT_SUPPORTED) }
    }

    /// The MIG device of the handle.
    pub(crate) fn mig(&self) -> Option<&Mig> {
        self.mig.and_then(|mig| self.state.mig.get(mig))
    }

    pub(crate) fn u64(&self, field: Field) -> Result<u64, Ret> {
        self.state.get(field).map(|value| u64::try_from(value).unwrap_or(0))
    }

    pub(crate) fn u32(&self, field: Field) -> Result<u32, Ret> {
        self.state.get(field).map(|value| u32::try_from(value.max(0)).unwrap_or(u32::MAX))
    }

    pub(crate) fn i32(&self, field: Field) -> Result<i32, Ret> {
        self.state.get(field).map(|value| i32::try_from(value).unwrap_or(i32::MAX))
    }

    pub(crate) fn u8(&self, field: Field) -> Result<u8, Ret> {
        self.state.get(field).map(|value| u8::try_from(value.max(0)).unwrap_or(u8::MAX))
    }

    pub(crate) fn put_u32(&self, out: *mut u32, field: Field) -> Result<(), Ret> {
        put(out, self.u32(field)?)
    }

    pub(crate) fn put_u64(&self, out: *mut u64, field: Field) -> Result<(), Ret> {
        put(out, self.u64(field)?)
    }
}
