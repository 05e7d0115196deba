//! Packs relative relocations of the two programs of every server: 0.3 MB of one in which every table of texts is full of
//! pointers, a little of the other.

use std::process::Command;

/// The first glibc whose loader unpacks them (DT_RELR).
const PACKED_FROM: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=../rackmark/build.rs");
    // A program runs where glibc is at least that of the machine it was built on. Where that is older, or not known,
    // relocations stay as they are.
    if std::env::var("TARGET") == std::env::var("HOST")
        && glibc().is_some_and(|version| version >= PACKED_FROM)
    {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Version of this machine's glibc; none where the C library is another one.
fn glibc() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?.stdout;
    let (major, minor) = std::str::from_utf8(&said).ok()?.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
