//! `nvml-sim`: makes simulation folders, drives them, and shows what holds.
#![allow(
    unsafe_code,
    reason = "restores the default action of SIGPIPE, so that `| head` ends this program quietly"
)]
#![allow(clippy::print_stderr, reason = "a command-line tool says what went wrong on standard error")]

use clap::{Parser, Subcommand};
use nvidia_ml::attestation;
use nvidia_ml::control::{self, Command as Order};
use nvidia_ml::fields::Field;
use nvidia_ml::folder::{Prepare, Source, prepare};
use nvidia_ml::gpu::Fixed;
use nvidia_ml::kernel_log::{self, Message};
use nvidia_ml::profile::{Profile, SHIPPED, Text};
use nvidia_ml::scenario::{self, Scenario};
use nvidia_ml::world::{World, unix_ms};
use nvidia_ml::{import, sysfs};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Simulated NVIDIA Management Library: folders and live control.
#[derive(Parser)]
#[command(name = "nvml-sim", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make a simulation folder; its timeline starts now.
    Prepare(PrepareArguments),
    /// Send one live command, such as `lost 3` or `xid 0 79`.
    Do {
        /// The simulation folder.
        #[arg(long)]
        dir: PathBuf,
        /// The command and its words.
        #[arg(required = true)]
        command: Vec<String>,
    },
    /// Change what sysfs says about a GPU.
    Sysfs {
        /// The simulation folder.
        #[arg(long)]
        dir: PathBuf,
        /// What to change.
        #[arg(value_enum)]
        change: Change,
        /// GPU index.
        gpu: usize,
    },
    /// List the shipped profiles.
    Profiles,
    /// List the shipped scenarios.
    Scenarios,
    /// Make a profile of a capture; writes TOML to standard output. Both phases are kept.
    Import {
        /// The capture.
        capture: PathBuf,
        /// Name of the profile; otherwise the capture's file name up to two underscores.
        #[arg(long)]
        name: Option<String>,
    },
    /// Show what holds now.
    Show {
        /// The simulation folder.
        #[arg(long)]
        dir: PathBuf,
    },
}

#[derive(clap::Args)]
struct PrepareArguments {
    /// A shipped profile, or a profile file.
    #[arg(long, group = "source")]
    profile: Option<String>,
    /// A shipped scenario, or a scenario file.
    #[arg(long, group = "source")]
    scenario: Option<String>,
    /// A recording to replay.
    #[arg(long, group = "source")]
    trace: Option<PathBuf>,
    /// The simulation folder.
    #[arg(long)]
    dir: PathBuf,
    /// Number of GPUs.
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=64))]
    gpus: Option<u8>,
    /// Seed.
    #[arg(long)]
    seed: Option<u32>,
    /// Phase of a captured profile.
    #[arg(long, value_parser = ["load", "idle"])]
    phase: Option<String>,
    /// GPUs sign reports, under a maker that is made with the folder; confidential computing is on.
    #[arg(long)]
    attestation: bool,
    /// The simulated library; otherwise the one beside this program.
    #[arg(long)]
    library: Option<PathBuf>,
}

#[derive(clap::ValueEnum, Clone, Copy)]
enum Change {
    /// Runtime-suspended.
    Suspend,
    /// Running again.
    Resume,
    /// Bound to vfio-pci.
    Vfio,
    /// Bound to nvidia.
    Nvidia,
}

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> ExitCode {
    // SAFETY: sets a default action before any thread exists.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let arguments = Arguments::parse();
    let outcome = match arguments.verb {
        Verb::Prepare(arguments) => make(arguments),
        Verb::Do { dir, command } => order(&dir, &command.join(" ")),
        Verb::Sysfs { dir, change, gpu } => change_sysfs(&dir, change, gpu),
        Verb::Profiles => profiles(),
        Verb::Scenarios => scenarios(),
        Verb::Import { capture, name } => import_capture(&capture, name),
        Verb::Show { dir } => show(&dir),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut cause: Option<&dyn Error> = Some(error.as_ref());
            let mut chain = Vec::new();
            while let Some(at) = cause {
                chain.push(at.to_string());
                cause = at.source();
            }
            eprintln!("nvml-sim: {}", chain.join(": "));
            ExitCode::from(64)
        }
    }
}

fn make(arguments: PrepareArguments) -> Outcome {
    let source = match (arguments.profile, arguments.scenario, arguments.trace) {
        (Some(profile), ..) => Source::Profile(profile),
        (_, Some(scenario), _) => Source::Scenario(scenario),
        (.., Some(trace)) => Source::Trace(trace),
        _ => return Err("one of --profile, --scenario and --trace is needed".into()),
    };
    let library = match arguments.library {
        Some(library) => library,
        None => std::env::current_exe()?.with_file_name("libnvidia_ml.so"),
    };
    if !library.exists() {
        return Err(format!("library `{}` does not exist; name it with --library", library.display()).into());
    }
    let dir = arguments.dir;
    let scenario = prepare(&Prepare {
        source,
        dir: dir.clone(),
        gpus: arguments.gpus.map(usize::from),
        seed: arguments.seed.map(u64::from),
        phase: arguments.phase,
        library,
    })?;
    if arguments.attestation {
        attestation::prepare(&dir, scenario.gpus)?;
        println!("root of the devices' maker: {}", attestation::root(&dir).display());
    }
    println!(
        "{}: {} x {}",
        dir.display(),
        scenario.gpus,
        scenario.profile.texts[Text::Name as usize].as_deref().unwrap_or("?")
    );
    println!("RACKMARK_SIM_DIR={}", std::path::absolute(&dir)?.display());
    Ok(())
}

fn read_scenario(dir: &Path) -> Result<Scenario, Box<dyn Error>> {
    Ok(Scenario::read(std::fs::read_to_string(dir.join("scenario.toml"))?.parse()?)?)
}

fn order(dir: &Path, line: &str) -> Outcome {
    if let Some(message) = Message::parse(line)? {
        // These go to whoever reads the kernel log, not to the library.
        let scenario = read_scenario(dir)?;
        for text in message.texts(&scenario)? {
            kernel_log::write(dir, &text)?;
        }
        return Ok(());
    }
    let parsed = Order::parse(line)?;
    control::append(dir, line, unix_ms())?;
    if let Order::Pcie(which, field, value) = parsed {
        let scenario = read_scenario(dir)?;
        for index in (0..scenario.gpus).filter(|index| which.covers(*index)) {
            let address = Fixed::new(&scenario, index).pci_address;
            sysfs::set_link(dir, &address, field, nvidia_ml::cell::Cell::value(value.into()))?;
        }
    }
    Ok(())
}

fn change_sysfs(dir: &Path, change: Change, gpu: usize) -> Outcome {
    let scenario = read_scenario(dir)?;
    if gpu >= scenario.gpus {
        return Err(format!("the folder has {} GPUs; there is no GPU {gpu}", scenario.gpus).into());
    }
    let address = Fixed::new(&scenario, gpu).pci_address;
    match change {
        Change::Suspend => sysfs::set_runtime_status(dir, &address, "suspended"),
        Change::Resume => sysfs::set_runtime_status(dir, &address, "active"),
        Change::Vfio => sysfs::bind(dir, &address, "vfio-pci"),
        Change::Nvidia => sysfs::bind(dir, &address, "nvidia"),
    }?;
    Ok(())
}

fn profiles() -> Outcome {
    println!("{:<16} {:>4}  {:<8} {:<12} PRODUCT", "PROFILE", "GPUS", "SOURCE", "DRIVER");
    for (name, text) in SHIPPED {
        let profile = Profile::parse(text)?;
        println!(
            "{name:<16} {:>4}  {:<8} {:<12} {}",
            profile.gpus,
            if profile.captured { "capture" } else { "model" },
            profile.system.driver_version,
            profile.texts[Text::Name as usize].as_deref().unwrap_or("?"),
        );
    }
    Ok(())
}

fn scenarios() -> Outcome {
    for (name, text) in scenario::SHIPPED {
        let table: toml::Table = text.parse()?;
        println!("{name:<10} {}", table.get("description").and_then(toml::Value::as_str).unwrap_or_default());
    }
    Ok(())
}

fn import_capture(path: &Path, name: Option<String>) -> Outcome {
    let text = std::fs::read_to_string(path)?;
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let name = name.unwrap_or_else(|| stem.split("__").next().unwrap_or_default().to_owned());
    print!("{}", import::import(&text, &name)?);
    Ok(())
}

fn show(dir: &Path) -> Outcome {
    let world = World::load(dir)?;
    let now = world.now_ms();
    println!(
        "driver {} {}, {:.1} s since the start",
        world.driver_version(),
        if world.driver_loaded() { "loaded" } else { "unloaded" },
        now as f64 / 1000.0
    );
    let columns = [
        ("GPU%", Field::UTILIZATION_GPU, 1),
        ("W", Field::POWER_DRAW, 1000),
        ("C", Field::TEMPERATURE_GPU, 1),
        ("MEM_C", Field::TEMPERATURE_MEMORY, 1),
        ("SM_MHZ", Field::CLOCK_SM, 1),
        ("USED_MIB", Field::MEMORY_USED, 1 << 20),
        ("ENERGY_J", Field::ENERGY_TOTAL, 1000),
        ("REASONS", Field::CLOCK_EVENT_REASONS, 1),
        ("ECC_COR", Field::ECC_CORRECTED_VOLATILE, 1),
        ("ECC_UNC", Field::ECC_UNCORRECTED_VOLATILE, 1),
        ("REMAP", Field::REMAPPED_UNCORRECTED, 1),
        ("PROCS", Field::PROCESSES_COMPUTE, 1),
    ];
    print!("{:>3} {:<16} {:<6}", "GPU", "ADDRESS", "STATE");
    for (title, ..) in columns {
        print!(" {title:>8}");
    }
    println!("  FAULTS");
    for (index, gpu) in world.gpus.iter().enumerate() {
        let mut state = gpu.state();
        state.refresh(now);
        let word = if gpu.faults.is_lost() { "lost" } else { "ok" };
        print!("{index:>3} {:<16} {word:<6}", gpu.fixed.pci_address);
        for (_, field, divisor) in columns {
            match state.get(field) {
                Ok(value) => print!(" {:>8}", value / divisor),
                Err(code) => print!(" {:>8}", format!("!{code}")),
            }
        }
        println!("  {}", gpu.faults.describe().join("; "));
    }
    Ok(())
}
