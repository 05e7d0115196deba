//! Runs the sampler for some seconds, prints what it reports, and what it used.
//!
//! `print_reports SAMPLER SECONDS PERIOD_MS [ARGUMENT…]`: the binary, for how
//! long, its period, and arguments for it. Reports go to standard output, one a
//! line; what the process used comes last, without its first five seconds.

use std::error::Error;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, io::Write};

use rackmark_hardware::process::ProcessUsage;
use rackmark_model::ipc::{self, LENGTH_BYTES, SamplePlan, SamplerOrder, SamplerReport};

/// Opening GPUs and the first slow readings are over by then.
const WARM_UP: Duration = Duration::from_secs(5);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let mut next = |what: &str| arguments.next().ok_or(format!("{what} is missing"));
    let binary = next("SAMPLER")?;
    let seconds: u64 = next("SECONDS")?.parse()?;
    let period_ms = next("PERIOD_MS")?.parse()?;
    let (mut stream, theirs) = UnixStream::pair()?;
    let start = Instant::now();
    let mut child = Command::new(binary).args(arguments).stdin(Stdio::from(OwnedFd::from(theirs))).spawn()?;
    let order = SamplerOrder::Sample(SamplePlan {
        period_ms,
        slow_every_ticks: 60,
        pcie_throughput: false,
        leave_alone: Vec::new(),
    });
    let mut frame = Vec::new();
    ipc::encode(&order, &mut frame)?;
    stream.write_all(&frame)?;
    let proc_root = Path::new("/proc");
    let pid = child.id().to_string();
    let mut warm = None;
    let mut first_sample = None;
    while start.elapsed() < Duration::from_secs(seconds) {
        let mut prefix = [0; LENGTH_BYTES];
        stream.read_exact(&mut prefix)?;
        frame.resize(ipc::body_length(prefix)?, 0);
        stream.read_exact(&mut frame)?;
        let report: SamplerReport = ipc::decode(&frame)?;
        if matches!(report, SamplerReport::Sample(_)) {
            first_sample.get_or_insert_with(|| start.elapsed());
        }
        if warm.is_none() && start.elapsed() > WARM_UP {
            warm = Some((Instant::now(), cpu_nanoseconds(&pid)?));
        }
        println!("{report:?}");
    }
    let usage = ProcessUsage::read(proc_root, &pid)?;
    let (since, before) = warm.ok_or("too short a run to measure")?;
    let cpu = cpu_nanoseconds(&pid)? - before;
    println!("first sample after {first_sample:?}");
    println!("private {} KiB, resident {} KiB", usage.private.0 >> 10, usage.resident.0 >> 10);
    println!("cpu {:.1} us per second", cpu as f64 / 1000.0 / since.elapsed().as_secs_f64());
    drop(stream);
    println!("{}", child.wait()?);
    Ok(())
}

/// Time on a processor of all threads, from their schedstat files.
fn cpu_nanoseconds(pid: &str) -> Result<u64, Box<dyn Error>> {
    let mut sum = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        sum += text.split_ascii_whitespace().next().ok_or("schedstat is empty")?.parse::<u64>()?;
    }
    Ok(sum)
}
