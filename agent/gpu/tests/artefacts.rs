//! Without a compiler: what is checked in is what `kernels.lock` says, and is called as `abi` says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use rackmark_gpu::abi::{Grid, KERNELS};
use rackmark_gpu::artefacts::{ARTEFACTS, Artefact};
use ring::digest::{SHA256, digest};
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("kernels")
}

fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn locked(part: &str) -> BTreeMap<String, String> {
    let lock: Value =
        serde_json::from_slice(&fs::read(folder().join("kernels.lock")).expect("lock")).expect("JSON");
    let part = lock[part].as_object().expect("a table");
    part.iter().map(|(name, hash)| (name.clone(), hash.as_str().expect("a hash").to_owned())).collect()
}

#[test]
fn what_is_built_in_is_what_the_lock_says() {
    let built: BTreeMap<String, String> =
        ARTEFACTS.iter().map(|artefact| (artefact.file.to_owned(), sha256(artefact.bytes))).collect();
    assert_eq!(built, locked("outputs"));
}

#[test]
fn sources_are_those_that_were_compiled() {
    let sources: BTreeMap<String, String> = fs::read_dir(folder())
        .expect("folder")
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "cu"))
        .map(|entry| {
            let bytes = fs::read(entry.path()).expect("source");
            (entry.file_name().to_string_lossy().into_owned(), sha256(&bytes))
        })
        .collect();
    assert_eq!(sources, locked("sources"), "run make kernels");
}

/// Entries of a PTX module and the size of each one's parameter.
fn entries(ptx: &str) -> BTreeMap<&str, usize> {
    ptx.split(".entry ")
        .skip(1)
        .map(|rest| {
            let (name, rest) = rest.split_once('(').expect("parameters");
            let parameters = rest.split_once(')').expect("their end").0;
            assert_eq!(parameters.matches(".param").count(), 1, "{name} has one parameter");
            let bytes = parameters.rsplit_once('[').expect("a size").1.split(']').next().expect("its end");
            (name, bytes.parse().expect("a number"))
        })
        .collect()
}

fn ptx(artefact: &Artefact) -> &'static str {
    std::str::from_utf8(artefact.bytes).expect("text")
}

#[test]
fn ptx_is_what_old_drivers_read_and_has_the_declared_entries() {
    let mut seen = BTreeSet::new();
    for artefact in ARTEFACTS.iter().filter(|artefact| artefact.target.is_ptx()) {
        let text = ptx(artefact);
        let target = if artefact.module == "gemm_hopper" { "sm_90a" } else { "sm_80" };
        assert!(text.contains("\n.version 8.0\n"), "{}: PTX 8.0 is what R525 reads", artefact.file);
        assert!(text.contains(&format!("\n.target {target}\n")), "{}: target {target}", artefact.file);
        let declared: BTreeMap<&str, usize> = KERNELS
            .iter()
            .filter(|kernel| kernel.module == artefact.module)
            .map(|kernel| (kernel.entry, kernel.parameter_bytes))
            .collect();
        assert_eq!(entries(text), declared, "{}", artefact.file);
        seen.insert(artefact.module);
    }
    let modules: BTreeSet<&str> = KERNELS.iter().map(|kernel| kernel.module).collect();
    assert_eq!(seen, modules, "every module has PTX");
}

#[test]
fn launches_have_the_threads_and_clusters_that_kernels_were_compiled_for() {
    for kernel in KERNELS {
        let artefact = ARTEFACTS
            .iter()
            .find(|artefact| artefact.module == kernel.module && artefact.target.is_ptx())
            .expect("PTX");
        let text = ptx(artefact);
        let at = text.find(&format!(".entry {}(", kernel.entry)).expect("entry");
        let head = text[at..].split("\n{").next().expect("head");
        assert!(head.contains(&format!(".maxntid {}, 1, 1", kernel.threads)), "{head}");
        let cluster = format!(".reqnctapercluster {}, 1, 1", kernel.cluster);
        assert_eq!(head.contains(&cluster), kernel.cluster > 1, "{head}");
    }
}

/// Threads and shared memory of the smallest multiprocessors: 1,536 and 100 KiB (sm_86, sm_89, sm_120), 228 KiB on 9.0;
/// a block takes 1 KiB more than it asks for. Registers are held to their limits by `kernels/build.py`.
#[test]
fn a_multiprocessor_has_room_for_the_blocks_that_a_launch_gives_it() {
    for kernel in KERNELS {
        let Grid::PerMultiprocessor(blocks) = kernel.grid else { continue };
        let shared = if kernel.module == "gemm_hopper" { 228 << 10 } else { 100 << 10 };
        assert!(blocks * kernel.threads <= 1_536, "{}", kernel.entry);
        assert!(blocks * (kernel.shared_bytes + 1_024) <= shared, "{}", kernel.entry);
    }
}

#[test]
fn cubins_are_elf_files_of_cuda_with_every_entry() {
    for artefact in ARTEFACTS.iter().filter(|artefact| !artefact.target.is_ptx()) {
        assert_eq!(artefact.bytes[..4], *b"\x7fELF", "{}", artefact.file);
        // EM_CUDA, of the list of ELF machines.
        assert_eq!(artefact.bytes[18..20], 190_u16.to_le_bytes(), "{}", artefact.file);
        for kernel in KERNELS.iter().filter(|kernel| kernel.module == artefact.module) {
            let section = format!(".text.{}\0", kernel.entry);
            let found = artefact.bytes.windows(section.len()).any(|bytes| bytes == section.as_bytes());
            assert!(found, "{} has no {}", artefact.file, kernel.entry);
        }
    }
}
