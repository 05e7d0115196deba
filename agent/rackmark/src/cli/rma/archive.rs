//! The archive: entries by name, each once, the same bytes for the same contents.

use std::collections::BTreeMap;
use std::io::{self, Write};

use ring::digest::{SHA256, digest};
use serde_json::{Value as Json, json};

/// Name of the list of entries.
pub const MANIFEST: &str = "manifest.json";

/// Entries by their path in the archive.
pub type Entries = BTreeMap<String, Vec<u8>>;

/// Size and SHA-256 of each entry.
pub fn manifest(entries: &Entries, made_unix_ms: u64) -> Json {
    let listed = entries.iter().map(|(path, bytes)| {
        let sha256: String =
            digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        json!({ "path": path, "bytes": bytes.len(), "sha256": sha256 })
    });
    json!({
        "format": 1,
        "agent_version": env!("CARGO_PKG_VERSION"),
        "made_unix_ms": made_unix_ms,
        "entries": listed.collect::<Vec<_>>(),
    })
}

/// Writes the entries below `folder`, sorted, all with the time of the report and of nobody.
///
/// # Errors
/// Where the file cannot be written.
pub fn write(into: impl Write, folder: &str, entries: &Entries, made_unix_ms: u64) -> io::Result<()> {
    let mut archive = tar::Builder::new(into);
    for (path, bytes) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(made_unix_ms / 1000);
        header.set_uid(0);
        header.set_gid(0);
        archive.append_data(&mut header, format!("{folder}/{path}"), bytes.as_slice())?;
    }
    archive.into_inner()?.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_contents_are_the_same_bytes_and_the_manifest_knows_them() {
        let entries =
            Entries::from([("b.txt".to_owned(), b"abc".to_vec()), ("a.txt".to_owned(), Vec::new())]);
        let archive = |at| {
            let mut out = Vec::new();
            write(&mut out, "rma", &entries, at).expect("memory");
            out
        };
        assert_eq!(archive(5000), archive(5000));
        assert_ne!(archive(5000), archive(6000));
        let bytes = archive(5000);
        let mut read = tar::Archive::new(bytes.as_slice());
        let found: Vec<_> = read
            .entries()
            .expect("archive")
            .map(|entry| {
                let entry = entry.expect("entry");
                let header = entry.header();
                let path = entry.path().expect("path").display().to_string();
                (path, header.mtime().expect("time"), header.uid().expect("uid"), header.gid().expect("gid"))
            })
            .collect();
        assert_eq!(found, [("rma/a.txt".to_owned(), 5, 0, 0), ("rma/b.txt".to_owned(), 5, 0, 0)]);
        let manifest = manifest(&entries, 5000);
        // FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(manifest["entries"][1], json!({ "path": "b.txt", "bytes": 3, "sha256": abc }));
    }
}
