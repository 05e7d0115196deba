//! `rackmark sample`.

use std::time::Duration;

use clap::Args;
use rackmark_model::readings::Slow;
use serde_json::{Value as Json, json};

use super::ConfigPath;
use super::one_shot::{block_on, print, sample_once};
use super::status::gpu_table;
use super::table::{Tone, colour, painted};
use crate::control::verbs::{gpu_json, insert};
use crate::exit::{Code, Failure};
use crate::sampling::roster::{Gpu, Roster};

#[derive(Debug, Args)]
pub struct Options {
    /// Every reading as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigPath,
}

/// A GPU without persistence mode takes seconds to open.
const LONGEST: Duration = Duration::from_secs(15);

pub fn run(options: &Options) -> Result<Code, Failure> {
    let config = options.config.load()?;
    let roster = block_on(sample_once(&config, LONGEST))?;
    let gpus: Vec<Json> = roster.gpus.iter().map(with_slow).collect();
    if options.json {
        print(&format!("{:#}\n", document(&roster, &gpus)));
    } else {
        if roster.simulated() {
            print(&painted("SIMULATED GPUs: no figure on this page is real.\n", Tone::Odd, colour()));
        }
        print(&gpu_table(&gpus, 0, colour()));
    }
    match &roster.driver_cause {
        Some(cause) => Err(Failure::new(Code::Unavailable, cause.clone())
            .hint("is the NVIDIA driver loaded? rackmark doctor looks for the cause")),
        None if roster.gpus.is_empty() => Err(Failure::new(Code::Unavailable, "no GPU was found")),
        None => Ok(Code::Ok),
    }
}

fn document(roster: &Roster, gpus: &[Json]) -> Json {
    let driver = roster.driver.as_ref();
    let text = |reading: Option<&rackmark_model::Reading<String>>| {
        reading.and_then(|reading| reading.as_deref().ok()).map(str::to_owned)
    };
    json!({
        "simulated": roster.simulated(),
        "driver_version": text(driver.map(|driver| &driver.driver_version)),
        "nvml_version": text(driver.map(|driver| &driver.nvml_version)),
        "cuda_driver_version": text(driver.map(|driver| &driver.cuda_driver_version)),
        "took_us": roster.taken.map(|taken| taken.took_us),
        "gpus": gpus,
    })
}

fn with_slow(gpu: &Gpu) -> Json {
    let mut shown = gpu_json(gpu);
    if let (Some(slow), Some(readings)) = (&gpu.slow, shown["readings"].as_object_mut()) {
        slow.slow.each(|at, reading| insert(readings, &Slow::DESCRIPTORS[at], reading));
        shown["nvlinks"] = json!(slow.nvlinks);
    }
    shown
}
