//! `rackmark-bench GROUP`: the figures SPECIFICATION.md promises, one line each:
//! `bench: <name> <value> <unit>`.

mod delivery;
mod faults;
mod health;
mod line;
mod proof;
mod telemetry;
mod verify;

use std::io::Write;
use std::process::ExitCode;

use rackmark_e2e::Outcome;

fn main() -> ExitCode {
    let group = std::env::args().nth(1).unwrap_or_default();
    let measured = match group.as_str() {
        "line" => line::measure(),
        "telemetry" => telemetry::measure(),
        "faults" => faults::measure(),
        "delivery" => delivery::measure(),
        "health" => health::measure(),
        "verify" => verify::measure(),
        "proof" => proof::measure(),
        _ => Err(format!(
            "no group {group:?}; there are line, telemetry, faults, delivery, health, verify and proof"
        )
        .into()),
    };
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints one figure.
fn figure(name: &str, value: f64, unit: &str) -> Outcome<()> {
    Ok(writeln!(std::io::stdout(), "bench: {name} {value:.3} {unit}")?)
}
