//! Where the NVML library is.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::{Config, SamplerLaunch};

/// The library that a sampler of the unit loads.
const LIBRARY: &str = "libnvidia-ml.so.1";

/// Where distributions, containers' toolkits and NVIDIA's installer put it; the
/// loader may know more.
const FOLDERS: [&str; 8] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
    "/usr/lib/wsl/lib",
    "/run/opengl-driver/lib",
    "/run/nvidia/driver/usr/lib/x86_64-linux-gnu",
];

/// The name under which a sampler of this configuration loads it, and the file that this is; absent where it is in
/// none of the usual folders.
pub fn library_path(config: &Config) -> (&str, Option<PathBuf>) {
    let name = match &config.sampler {
        SamplerLaunch::Socket(_) => LIBRARY,
        SamplerLaunch::Program { nvml_library, .. } => nvml_library,
    };
    (name, found(name, &FOLDERS))
}

fn found(name: &str, folders: &[impl AsRef<Path>]) -> Option<PathBuf> {
    if name.contains('/') {
        return fs::canonicalize(name).ok();
    }
    folders.iter().find_map(|folder| fs::canonicalize(folder.as_ref().join(name)).ok())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_file_behind_the_name_is_found() {
        let root = tempfile::tempdir().expect("folder");
        let file = root.path().join("libnvidia-ml.so.580.95.05");
        fs::write(&file, "").expect("file");
        symlink(&file, root.path().join(LIBRARY)).expect("link");
        let file = fs::canonicalize(file).expect("file");
        assert_eq!(found(LIBRARY, &[Path::new("/nowhere"), root.path()]), Some(file.clone()));
        assert_eq!(found(&root.path().join(LIBRARY).display().to_string(), &[""; 0]), Some(file));
        assert_eq!(found(LIBRARY, &["/nowhere"]), None);
        assert_eq!(found("/nowhere/libnvidia-ml.so.1", &[root.path()]), None);
    }
}
