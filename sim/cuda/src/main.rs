//! `cuda-sim`: adds CUDA to a folder of the simulated NVML, and faults to its GPUs.
#![allow(clippy::print_stderr, reason = "a command-line tool says what went wrong on standard error")]

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nvidia_ml::fields::Field;
use nvidia_ml::gpu::Fixed;
use nvidia_ml::profile::{Profile, Text};
use nvidia_ml::scenario::Scenario;
use simulated_cuda::faults;
use simulated_cuda::folder::{self, Gpu};

/// Simulated CUDA driver: folders and faults.
#[derive(Parser)]
#[command(name = "cuda-sim", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Add CUDA to a folder that `nvml-sim prepare` made.
    Prepare {
        /// The folder.
        #[arg(long)]
        dir: PathBuf,
        /// Memory of each GPU, in MiB. It is what CUDA reports as well.
        #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u64).range(4..=65_536))]
        memory_mib: u64,
        /// Multiprocessors of each GPU. Few, because a CPU does their work.
        #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
        multiprocessors: u32,
        /// The simulated library; otherwise the one beside this program.
        #[arg(long)]
        library: Option<PathBuf>,
    },
    /// Add a fault, such as `word 0 4096 17 stuck1`, or take all away with `clear`.
    Do {
        /// The folder.
        #[arg(long)]
        dir: PathBuf,
        /// The fault and its words.
        #[arg(required = true)]
        fault: Vec<String>,
    },
    /// Show GPUs and faults.
    Show {
        /// The folder.
        #[arg(long)]
        dir: PathBuf,
    },
}

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> ExitCode {
    let outcome = match Arguments::parse().verb {
        Verb::Prepare { dir, memory_mib, multiprocessors, library } => {
            prepare(&dir, memory_mib << 20, multiprocessors, library)
        }
        Verb::Do { dir, fault } => faults::order(&dir, &fault.join(" ")).map_err(Into::into),
        Verb::Show { dir } => show(&dir),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cuda-sim: {error}");
            ExitCode::from(64)
        }
    }
}

fn prepare(dir: &Path, memory_bytes: u64, multiprocessors: u32, library: Option<PathBuf>) -> Outcome {
    let library = match library {
        Some(library) => library,
        None => std::env::current_exe()?.with_file_name("libsimulated_cuda.so"),
    };
    if !library.exists() {
        return Err(format!("library `{}` does not exist; name it with --library", library.display()).into());
    }
    let scenario = dir.join("scenario.toml");
    let scenario = fs::read_to_string(&scenario).map_err(|error| {
        format!("`{}` cannot be read ({error}): run `nvml-sim prepare` first", scenario.display())
    })?;
    let scenario = Scenario::read(scenario.parse()?)?;
    let mut gpus = String::new();
    for index in 0..scenario.gpus {
        gpus.push_str(&gpu(&scenario, index, memory_bytes, multiprocessors)?.to_string());
        gpus.push('\n');
    }
    fs::write(dir.join(folder::FILE), gpus)?;
    fs::write(dir.join(faults::FILE), "")?;
    let link = dir.join("libcuda.so.1");
    // It may be there from an earlier run.
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink(std::path::absolute(&library)?, &link)?;
    let dir = std::path::absolute(dir)?;
    writeln!(io::stdout(), "RACKMARK_SIM_DIR={} LD_LIBRARY_PATH={}", dir.display(), dir.display())?;
    Ok(())
}

fn gpu(
    scenario: &Scenario,
    index: usize,
    memory_bytes: u64,
    multiprocessors: u32,
) -> Result<Gpu, Box<dyn Error>> {
    let fixed = Fixed::new(scenario, index);
    let figure = |field| figure(&scenario.profile, field);
    let capability = (
        u8::try_from(figure(Field::COMPUTE_CAPABILITY_MAJOR).unwrap_or(8))?,
        u8::try_from(figure(Field::COMPUTE_CAPABILITY_MINOR).unwrap_or(0))?,
    );
    let name = fixed.text(Text::Name).unwrap_or("GPU").to_owned();
    Ok(Gpu {
        uuid: fixed.uuid.clone(),
        address: fixed.pci_address.clone(),
        capability,
        multiprocessors,
        memory_bytes,
        name,
    })
}

/// A figure of the profile that both phases share.
fn figure(profile: &Profile, field: Field) -> Option<i64> {
    profile.idle.cells[field.position()].ok()
}

fn show(dir: &Path) -> Outcome {
    for file in [folder::FILE, faults::FILE] {
        write!(io::stdout(), "{}", fs::read_to_string(dir.join(file))?)?;
    }
    Ok(())
}
