//! Runs the checks of the independent Python client against the library as it was built.
//!
//! `RACKMARK_PYTHON` names the interpreter (otherwise `python3`); it needs the package `nvidia-ml-py`.
#![allow(clippy::print_stderr, reason = "says what was skipped")]

use std::path::{Path, PathBuf};
use std::process::Command;

fn vectors() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    let vectors = root.join("../shared/vectors");
    vectors.join("nvidia-smi").exists().then_some(vectors)
}

fn python() -> Option<String> {
    let python = std::env::var("RACKMARK_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let found = Command::new(&python)
        .args(["-c", "import pynvml"])
        .output()
        .is_ok_and(|output| output.status.success());
    found.then_some(python)
}

/// The library of this build. `cargo test` leaves it among the dependencies, `cargo build` beside the program as well:
/// the newer one is this build's.
fn library() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_nvml-sim"));
    let places =
        [program.with_file_name("libnvidia_ml.so"), program.with_file_name("deps").join("libnvidia_ml.so")];
    let made = |path: &PathBuf| std::fs::metadata(path).and_then(|data| data.modified()).ok();
    places.into_iter().max_by_key(made).expect("there are two places")
}

#[test]
fn an_independent_client_agrees() {
    let Some(python) = python() else {
        eprintln!("skipped: no python3 with pynvml");
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/independent_client.py");
    let mut command = Command::new(python);
    command.arg(script).arg(env!("CARGO_BIN_EXE_nvml-sim")).arg(library());
    match vectors() {
        Some(vectors) => command.arg(vectors),
        None => &mut command,
    };
    let output = command.output().expect("the interpreter was found above");
    let text = String::from_utf8_lossy(&output.stdout);
    eprintln!("{text}");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("checks passed"), "the client did not come to its end");
}

#[test]
fn shipped_captures_are_what_the_importer_makes() {
    let Some(vectors) = vectors() else {
        eprintln!("skipped: no vectors");
        return;
    };
    for (name, file) in [
        ("h200", "h200__590.48.01.txt"),
        ("h100-mig", "h100-mig__590.48.01.txt"),
        ("rtx4080-super", "geforce-rtx-4080-super__595.71.05.txt"),
    ] {
        let capture = std::fs::read_to_string(vectors.join("nvidia-smi").join(file)).unwrap();
        let made = nvidia_ml::import::import(&capture, name).unwrap();
        let shipped = nvidia_ml::profile::shipped(name).unwrap();
        assert!(made == shipped, "profiles/{name}.toml is not what the importer makes of {file}");
    }
}
