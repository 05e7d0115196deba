//! The process that works on one GPU: one order, reports until it is done, and nothing left behind.

mod burn_in;
mod chains;
mod cuda;
mod host_link;
mod memory_pattern;
mod memory_traffic;
mod meter;
mod modules;
mod outlet;
mod peer_link;
mod process;
mod product;
mod prove;
mod pulse;
mod scattered;
mod test;

use std::panic::AssertUnwindSafe;

use rackmark_model::gpu_proof::ProveOrder;
use rackmark_model::gpu_work::{BurnInOrder, BurnInTest, CudaFailure, GpuOrder, GpuReport};

use self::outlet::Outlet;
pub use self::process::end;

/// Exit code where there is no driver (`EX_UNAVAILABLE`).
const EXIT_UNAVAILABLE: i32 = 69;
/// Exit code after a failure of the driver or of this program (`EX_SOFTWARE`).
const EXIT_FAILED: i32 = 70;
/// Exit code where standard input gave no order (`EX_USAGE`).
const EXIT_USAGE: i32 = 64;

/// Takes the order from standard input, works, and gives the exit code.
pub fn run() -> i32 {
    let order = match outlet::frame() {
        Ok(order) => order,
        Err(error) => {
            process::complain(&format!("standard input gives no order: {error}"));
            return EXIT_USAGE;
        }
    };
    let outlet = Outlet::default();
    outlet.send(&GpuReport::Hello { pid: std::process::id() });
    if !cuda::is_there() {
        process::complain("there is no CUDA driver (libcuda.so.1)");
        process::complain(
            "hint: install the driver's package with libcuda.so.1, of the kernel module's version",
        );
        return failed(&outlet, no_driver(), EXIT_UNAVAILABLE);
    }
    let peers = match &order {
        GpuOrder::BurnIn(order) => order.stages.iter().any(|stage| stage.test == BurnInTest::PeerLink),
        GpuOrder::Prove(_) => false,
    };
    if !peers {
        let (GpuOrder::BurnIn(BurnInOrder { gpu_uuid, .. }) | GpuOrder::Prove(ProveOrder { gpu_uuid, .. })) =
            &order;
        cuda::show_only(gpu_uuid);
    }
    // The loader of the driver's functions panics where a function is missing.
    let worked = std::panic::catch_unwind(AssertUnwindSafe(|| match &order {
        GpuOrder::BurnIn(order) => burn_in::run(order, &outlet, &process::watch_for_the_end()),
        GpuOrder::Prove(order) => {
            let (stop, steps) = process::watch_for_steps();
            prove::run(order, &outlet, &stop, &steps).map(|()| true)
        }
    }));
    match worked {
        Ok(Ok(true)) => {
            outlet.send(&GpuReport::Done);
            0
        }
        Ok(Ok(false)) => EXIT_FAILED,
        Ok(Err(error)) => failed(&outlet, error.into(), EXIT_FAILED),
        Err(panic) => failed(&outlet, panicked(&*panic), EXIT_FAILED),
    }
}

fn failed(outlet: &Outlet, failure: CudaFailure, code: i32) -> i32 {
    process::complain(&format!("{}: {}", failure.operation, failure.name));
    outlet.send(&GpuReport::Failed(failure));
    code
}

fn no_driver() -> CudaFailure {
    let (operation, name) = ("load libcuda.so.1".to_owned(), "it is not there".to_owned());
    CudaFailure { operation, code: None, name }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> CudaFailure {
    let words = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    let name = words.unwrap_or("no words").chars().take(256).collect();
    CudaFailure { operation: "work on the GPU".to_owned(), code: None, name }
}
