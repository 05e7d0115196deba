//! The driver from outside: its kernel module, its library, its device nodes.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rackmark_hardware::host::nvidia_driver_version;

use super::{Finding, fine, odd, wrong};
use crate::config::{Config, SamplerLaunch};
use crate::inventory::library_path;

/// User of `rackmark-sampler@.service`.
const SAMPLER_USER: &str = "rackmark-sampler";

/// The cure where module and library are of two versions.
pub(super) const MISMATCH: &str = "the driver was upgraded under a loaded module: reboot, or rackmark pause, unload the nvidia modules and load them again";

pub(super) fn module(config: &Config) -> Finding {
    match nvidia_driver_version(&config.proc_root) {
        Some(version) => fine("kernel driver", version),
        None => odd(
            "kernel driver",
            format!("{}/driver/nvidia/version is not there", config.proc_root.display()),
            "the NVIDIA kernel module is not loaded; the agent waits for it",
        ),
    }
}

pub(super) fn library(config: &Config) -> Finding {
    let (name, path) = library_path(config);
    judge_library(name, path.as_deref(), nvidia_driver_version(&config.proc_root).as_deref())
}

fn judge_library(name: &str, path: Option<&Path>, module: Option<&str>) -> Finding {
    let check = "NVML library";
    let Some(path) = path else {
        let text = if name.contains('/') {
            format!("{name} is not there")
        } else {
            format!("{name} is in none of the usual folders")
        };
        return odd(
            check,
            text,
            "install the driver's library package, or name the file in sampler.nvml_library",
        );
    };
    let shown = path.display();
    match (version_in_name(path), module) {
        (Some(version), Some(module)) if version != module => {
            wrong(check, format!("{shown} is of {version}, the loaded kernel module of {module}"), MISMATCH)
        }
        (Some(version), Some(_)) => fine(check, format!("{version}, as the kernel module")),
        (Some(version), None) => fine(check, format!("{version}, no kernel module to compare it with")),
        (None, _) => fine(check, format!("{shown}, no version in its name")),
    }
}

/// The driver names the file behind `libnvidia-ml.so.1` after its version.
fn version_in_name(path: &Path) -> Option<&str> {
    let (_, version) = path.file_name()?.to_str()?.split_once(".so.")?;
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    (version.contains('.') && version.split('.').all(digits)).then_some(version)
}

pub(super) fn device_nodes(config: &Config) -> Finding {
    let check = "device nodes";
    if nvidia_driver_version(&config.proc_root).is_none() {
        return odd(check, "not looked for, as the kernel driver is not loaded", "");
    }
    let user = match &config.sampler {
        SamplerLaunch::Program { .. } => User::this(),
        SamplerLaunch::Socket(_) => {
            let read = |path| fs::read_to_string(path).unwrap_or_default();
            match User::named(SAMPLER_USER, &read("/etc/passwd"), &read("/etc/group")) {
                Some(user) => user,
                None => {
                    let found = format!("the sampler's user {SAMPLER_USER} does not exist");
                    return wrong(check, found, "systemd-sysusers makes it, from the package");
                }
            }
        }
    };
    judge_nodes(&config.dev_root, &minors(&config.proc_root), &user)
}

fn judge_nodes(dev_root: &Path, minors: &[u32], user: &User) -> Finding {
    let check = "device nodes";
    let needed = minors.iter().map(|minor| format!("nvidia{minor}")).chain(["nvidiactl".to_owned()]);
    let (mut missing, mut closed) = (Vec::new(), Vec::new());
    for name in needed {
        match fs::metadata(dev_root.join(&name)) {
            Ok(node) if user.may_use(&node) => {}
            Ok(node) => closed.push(format!("{name} ({:04o})", node.mode() & 0o7777)),
            Err(_) => missing.push(name),
        }
    }
    if !missing.is_empty() {
        return wrong(
            check,
            format!("{} missing in {}", missing.join(", "), dev_root.display()),
            "install nvidia-modprobe and run `nvidia-modprobe -c 0` for each GPU, or nvidia-smi once as root; nvidia-persistenced does it at boot",
        );
    }
    if !closed.is_empty() {
        return wrong(
            check,
            format!("{} may not open {}", user.name, closed.join(", ")),
            "see NVreg_DeviceFileMode, NVreg_DeviceFileGID and udev rules; add the user to the group of the nodes",
        );
    }
    let all = format!("nvidiactl and {} GPU nodes, {} may open them", minors.len(), user.name);
    match fs::metadata(dev_root.join("nvidia-uvm")) {
        Ok(_) if dev_root.join("nvidia-caps").is_dir() => {
            fine(check, format!("{all}; also nvidia-uvm and nvidia-caps"))
        }
        Ok(_) => fine(check, format!("{all}; also nvidia-uvm")),
        Err(_) => odd(
            check,
            format!("{all}; nvidia-uvm missing"),
            "NVML works without it, CUDA does not: load nvidia-uvm, such as by `nvidia-modprobe -u -c 0`",
        ),
    }
}

/// Minor numbers of the GPUs that the driver holds.
fn minors(proc_root: &Path) -> Vec<u32> {
    let folder = proc_root.join("driver/nvidia/gpus");
    let mut minors: Vec<u32> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let text = fs::read_to_string(entry.path().join("information")).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix("Device Minor:"))?;
            line.trim().parse().ok()
        })
        .collect();
    minors.sort_unstable();
    minors
}

/// Somebody who opens device nodes.
struct User {
    name: String,
    uid: u32,
    gids: Vec<u32>,
}

impl User {
    /// Whoever runs doctor: a sampler that is started directly inherits its user.
    fn this() -> Self {
        use rustix::process::{getegid, geteuid, getgroups};
        let mut gids: Vec<u32> = getgroups().unwrap_or_default().iter().map(|gid| gid.as_raw()).collect();
        gids.push(getegid().as_raw());
        let uid = geteuid().as_raw();
        Self { name: if uid == 0 { "root".to_owned() } else { format!("user {uid}") }, uid, gids }
    }

    /// By the texts of `/etc/passwd` and `/etc/group`.
    fn named(name: &str, passwd: &str, group: &str) -> Option<Self> {
        let user: Vec<&str> = passwd
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields[0] == name)?;
        let uid = user.get(2)?.parse().ok()?;
        let mut gids: Vec<u32> = vec![user.get(3)?.parse().ok()?];
        for line in group.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            if let [_, _, gid, members] = fields[..]
                && members.split(',').any(|member| member == name)
            {
                gids.extend(gid.parse::<u32>());
            }
        }
        Some(Self { name: name.to_owned(), uid, gids })
    }

    /// Whether it may read and write, as the kernel decides it.
    fn may_use(&self, node: &Metadata) -> bool {
        let shift = if self.uid == 0 {
            return true;
        } else if node.uid() == self.uid {
            6
        } else if self.gids.contains(&node.gid()) {
            3
        } else {
            0
        };
        node.mode() >> shift & 0o6 == 0o6
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::cli::doctor::{Outcome, fixture, put};

    #[test]
    fn a_library_of_another_version_than_the_module_is_wrong_and_the_cure_is_named() {
        let root = tempfile::tempdir().expect("folder");
        let library = root.path().join("lib/libnvidia-ml.so.580.95.05");
        let judge = |module| judge_library("libnvidia-ml.so.1", Some(&library), module);
        let same = judge(Some("580.95.05"));
        assert_eq!((same.outcome, same.found.as_str()), (Outcome::Fine, "580.95.05, as the kernel module"));
        let old = judge(Some("570.172.08"));
        assert!(old.outcome == Outcome::Wrong && old.hint.contains("reboot"), "{old:?}");
        assert!(old.found.contains("580.95.05") && old.found.contains("570.172.08"), "{old:?}");
        assert_eq!(judge(None).outcome, Outcome::Fine);
        for (name, text) in [("libnvidia-ml.so.1", "in none of the usual folders"), ("/a/lib", "not there")] {
            let absent = judge_library(name, None, None);
            assert!(absent.outcome == Outcome::Odd && absent.found.ends_with(text), "{absent:?}");
        }
    }

    #[test]
    fn nodes_are_looked_for_and_their_mode_is_judged_for_the_samplers_user() {
        let root = tempfile::tempdir().expect("folder");
        let sampler = User { name: "sampler".to_owned(), uid: 4_000_000, gids: vec![4_000_000] };
        for (minor, address) in [(0, "0000:1b:00.0"), (2, "0000:9b:00.0")] {
            let text = format!("Model: \t\t H200\nDevice Minor: \t {minor}\n");
            put(root.path(), &format!("proc/driver/nvidia/gpus/{address}/information"), &text);
        }
        put(root.path(), "proc/driver/nvidia/gpus/odd/information", "Device Minor: many\n");
        let minors = minors(&root.path().join("proc"));
        assert_eq!(minors, [0, 2]);
        let dev = root.path().join("dev");
        let judge = || judge_nodes(&dev, &minors, &sampler);
        let none = judge();
        assert_eq!(none.outcome, Outcome::Wrong);
        assert!(none.found.starts_with("nvidia0, nvidia2, nvidiactl missing"), "{none:?}");
        let mode = |name: &str, mode| {
            put(&dev, name, "");
            fs::set_permissions(dev.join(name), fs::Permissions::from_mode(mode)).expect("mode");
        };
        for name in ["nvidia0", "nvidia2", "nvidiactl"] {
            mode(name, 0o666);
        }
        let without_uvm = judge();
        assert!(without_uvm.outcome == Outcome::Odd && without_uvm.found.contains("nvidia-uvm missing"));
        mode("nvidia-uvm", 0o666);
        assert_eq!(judge().outcome, Outcome::Fine);
        mode("nvidia2", 0o660);
        let closed = judge();
        assert_eq!(closed.outcome, Outcome::Wrong);
        assert!(closed.found.contains("may not open nvidia2 (0660)"), "{closed:?}");
        let gid = fs::metadata(dev.join("nvidia2")).expect("node").gid();
        let member = User { gids: vec![gid], ..sampler };
        assert_eq!(judge_nodes(&dev, &minors, &member).outcome, Outcome::Fine);
        let config = fixture(root.path(), "");
        assert_eq!(device_nodes(&config).found, "not looked for, as the kernel driver is not loaded");
    }

    #[test]
    fn a_user_has_its_own_group_and_those_that_list_it() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nsampler:x:990:985::/:/sbin/nologin\n";
        let group = "video:x:44:alice,sampler\nrender:x:993:samplers\n:::\nbroken\n";
        let user = User::named("sampler", passwd, group).expect("user");
        assert_eq!((user.uid, user.gids), (990, vec![985, 44]));
        assert!(User::named("nobody", passwd, group).is_none());
        assert!(User::named("broken", passwd, group).is_none());
    }
}
