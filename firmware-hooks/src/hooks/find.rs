//! Which hooks an event has, and which files are left alone.
//!
//! Whoever can change a hook, or put another one in its place, does what it does with the rights of the hooks' user.
//! So everything from the root of the file system down to the file must be changeable by root or that user alone.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rackmark_model::hook::{HOOK_NAME_BYTES_MAX, HOOKS_MAX, HookEvent, Skip};
use thiserror::Error;

/// Most files of a folder that are looked at.
const ENTRIES_MAX: usize = 1024;

/// Where hooks are, unless the command line names another folder.
pub const DEFAULT_FOLDER: &str = "/etc/rackmark/hooks.d";

/// A hook that may be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Its file name.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

/// What a folder has, in the order of names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// What may be run, at most [`HOOKS_MAX`].
    pub hooks: Vec<Hook>,
    /// What is left alone, and why.
    pub skipped: Vec<(String, Skip)>,
}

/// A folder from which nothing is run.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{} {}", folder.display(), reason.words())]
pub struct Refused {
    /// Which folder: that of the event, or one above it.
    pub folder: PathBuf,
    /// Why.
    pub reason: Skip,
}

/// The hooks of an event below `root`, an absolute path, for a process of user `own`. No folder is no hooks.
///
/// # Errors
/// [`Refused`] where a folder on the way is not as it has to be.
pub fn find(root: &Path, event: HookEvent, own: u32) -> Result<Found, Refused> {
    let folder = root.join(event.name());
    let mut way: Vec<&Path> = folder.ancestors().collect();
    way.reverse();
    for step in &way {
        let refused = |reason| Refused { folder: step.to_path_buf(), reason };
        let look = match fs::symlink_metadata(step) {
            Ok(metadata) => Look::of(&metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::default()),
            Err(_) => return Err(refused(Skip::Unreadable)),
        };
        // In a folder such as /tmp nobody can rename what belongs to others.
        let above = !step.starts_with(root);
        look.folder(own, above).map_err(refused)?;
    }
    list(&folder, own).map_err(|_| Refused { folder: folder.clone(), reason: Skip::Unreadable })
}

fn list(folder: &Path, own: u32) -> io::Result<Found> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)?.take(ENTRIES_MAX) {
        names.push(entry?.file_name());
    }
    names.sort_unstable();
    let mut found = Found::default();
    for name in names {
        let shown = name.to_string_lossy().into_owned();
        let path = folder.join(&name);
        match judge(&shown, &path, own) {
            Ok(()) if found.hooks.len() < HOOKS_MAX => found.hooks.push(Hook { name: shown, path }),
            Ok(()) => found.skipped.push((shown, Skip::TooMany)),
            Err(reason) => found.skipped.push((shown, reason)),
        }
    }
    Ok(found)
}

fn judge(name: &str, path: &Path, own: u32) -> Result<(), Skip> {
    if !is_name(name) {
        return Err(Skip::Name);
    }
    let metadata = fs::symlink_metadata(path).map_err(|_| Skip::Unreadable)?;
    Look::of(&metadata).hook(own)
}

/// Whether a file of this name may be a hook, as run-parts has it: no dots, no `~`.
fn is_name(name: &str) -> bool {
    (1..=HOOK_NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// What counts of a file or folder.
#[derive(Debug, Clone, Copy)]
struct Look {
    owner: u32,
    mode: u32,
    is_file: bool,
    is_folder: bool,
}

impl Look {
    fn of(metadata: &Metadata) -> Self {
        Self {
            owner: metadata.uid(),
            mode: metadata.mode(),
            is_file: metadata.is_file(),
            is_folder: metadata.is_dir(),
        }
    }

    fn owned(self, own: u32) -> Result<(), Skip> {
        if self.owner == 0 || self.owner == own { Ok(()) } else { Err(Skip::Owner) }
    }

    const fn is_writable_by_others(self) -> bool {
        self.mode & 0o022 != 0
    }

    fn folder(self, own: u32, may_be_sticky: bool) -> Result<(), Skip> {
        if !self.is_folder {
            return Err(Skip::Kind);
        }
        self.owned(own)?;
        let is_sticky = self.mode & 0o1000 != 0;
        if self.is_writable_by_others() && !(may_be_sticky && is_sticky) {
            Err(Skip::Writable)
        } else {
            Ok(())
        }
    }

    fn hook(self, own: u32) -> Result<(), Skip> {
        if !self.is_file {
            return Err(Skip::Kind);
        }
        self.owned(own)?;
        if self.is_writable_by_others() {
            return Err(Skip::Writable);
        }
        if self.mode & 0o111 == 0 { Err(Skip::NotExecutable) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    const EVENT: HookEvent = HookEvent::LeaseStart;

    fn own() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    struct Site(tempfile::TempDir);

    impl Site {
        fn new() -> Self {
            let site = Self(tempfile::tempdir().expect("folder"));
            fs::create_dir_all(site.folder()).expect("folder");
            site.mode("", 0o755);
            site.mode("lease-start", 0o755);
            site
        }

        fn root(&self) -> PathBuf {
            self.0.path().join("hooks.d")
        }

        fn folder(&self) -> PathBuf {
            self.root().join(EVENT.name())
        }

        fn mode(&self, path: &str, mode: u32) {
            fs::set_permissions(self.root().join(path), fs::Permissions::from_mode(mode)).expect("mode");
        }

        fn hook(&self, name: &str, mode: u32) {
            fs::write(self.folder().join(name), "#!/bin/sh\n").expect("hook");
            self.mode(&format!("lease-start/{name}"), mode);
        }

        fn found(&self) -> Found {
            find(&self.root(), EVENT, own()).expect("a good folder")
        }

        fn names(&self) -> Vec<String> {
            self.found().hooks.into_iter().map(|hook| hook.name).collect()
        }
    }

    #[test]
    fn hooks_come_in_the_order_of_their_names() {
        let site = Site::new();
        for name in ["50-b", "10-a", "5-c", "Z", "_a"] {
            site.hook(name, 0o755);
        }
        assert_eq!(site.names(), ["10-a", "5-c", "50-b", "Z", "_a"]);
        assert_eq!(site.found().skipped, []);
    }

    #[test]
    fn no_folder_is_no_hooks() {
        let site = Site::new();
        assert_eq!(find(&site.root(), HookEvent::Maintenance, own()), Ok(Found::default()));
        assert_eq!(find(&site.root().join("none"), EVENT, own()), Ok(Found::default()));
    }

    #[test]
    fn what_is_no_hook_is_left_alone_and_said_why() {
        let site = Site::new();
        site.hook("10-good", 0o500);
        site.hook("20-data", 0o644);
        site.hook("30-group", 0o775);
        site.hook("40-all", 0o757);
        site.hook("50-copy.bak", 0o755);
        site.hook("60-copy~", 0o755);
        site.hook(".70-hidden", 0o755);
        fs::create_dir(site.folder().join("80-folder")).expect("folder");
        symlink(site.folder().join("10-good"), site.folder().join("90-link")).expect("link");
        site.hook(&"x".repeat(HOOK_NAME_BYTES_MAX + 1), 0o755);
        assert_eq!(site.names(), ["10-good"]);
        let skipped: Vec<_> =
            site.found().skipped.into_iter().map(|(name, why)| (name, why.name())).collect();
        let expected = [
            (".70-hidden", "name"),
            ("20-data", "not_executable"),
            ("30-group", "writable"),
            ("40-all", "writable"),
            ("50-copy.bak", "name"),
            ("60-copy~", "name"),
            ("80-folder", "kind"),
            ("90-link", "kind"),
            (&"x".repeat(HOOK_NAME_BYTES_MAX + 1), "name"),
        ];
        assert_eq!(skipped, expected.map(|(name, why)| (name.to_owned(), why)));
    }

    #[test]
    fn folders_that_others_may_write_to_are_refused() {
        for mode in [0o775, 0o757, 0o1777] {
            for (path, step) in [("", ""), ("lease-start", "lease-start")] {
                let site = Site::new();
                site.hook("10-good", 0o755);
                site.mode(path, mode);
                let refused = find(&site.root(), EVENT, own()).expect_err("refused");
                let folder = if step.is_empty() { site.root() } else { site.folder() };
                assert_eq!(refused, Refused { folder, reason: Skip::Writable }, "{mode:o}");
            }
        }
        // So is one further up, where the folder could be exchanged, unless it is as /tmp is.
        let site = Site::new();
        let above = site.0.path();
        fs::set_permissions(above, fs::Permissions::from_mode(0o777)).expect("mode");
        let refused = find(&site.root(), EVENT, own()).expect_err("refused");
        assert_eq!((refused.folder.as_path(), refused.reason), (above, Skip::Writable));
        fs::set_permissions(above, fs::Permissions::from_mode(0o1777)).expect("mode");
        assert!(find(&site.root(), EVENT, own()).is_ok());
    }

    #[test]
    fn folders_behind_links_are_refused() {
        let site = Site::new();
        site.hook("10-good", 0o755);
        symlink(site.root(), site.0.path().join("link")).expect("link");
        let refused = find(&site.0.path().join("link"), EVENT, own()).expect_err("refused");
        assert_eq!(refused.reason, Skip::Kind);
        symlink(site.folder(), site.root().join("lease-end")).expect("link");
        let refused = find(&site.root(), HookEvent::LeaseEnd, own()).expect_err("refused");
        assert_eq!(refused, Refused { folder: site.root().join("lease-end"), reason: Skip::Kind });
    }

    #[test]
    fn a_stranger_s_hook_is_refused() {
        let look = |owner| Look { owner, mode: 0o100_755, is_file: true, is_folder: false };
        assert_eq!(look(0).hook(1000), Ok(()));
        assert_eq!(look(1000).hook(1000), Ok(()));
        assert_eq!(look(1001).hook(1000), Err(Skip::Owner));
        assert_eq!(look(1000).hook(0), Err(Skip::Owner));
        let folder = |owner| Look { owner, mode: 0o40_755, is_file: false, is_folder: true };
        assert_eq!(folder(0).folder(1000, false), Ok(()));
        assert_eq!(folder(1000).folder(1000, false), Ok(()));
        assert_eq!(folder(1001).folder(1000, true), Err(Skip::Owner));
        // The same by its own way, where this user may give files away.
        let site = Site::new();
        site.hook("10-strange", 0o755);
        if std::os::unix::fs::chown(site.folder().join("10-strange"), Some(4242), None).is_ok() {
            assert_eq!(site.found().skipped, [("10-strange".to_owned(), Skip::Owner)]);
            std::os::unix::fs::chown(site.folder(), Some(4242), None).expect("chown");
            assert_eq!(find(&site.root(), EVENT, own()).map_err(|refused| refused.reason), Err(Skip::Owner));
        }
    }

    #[test]
    fn there_is_a_limit() {
        let site = Site::new();
        for number in 0..=HOOKS_MAX {
            site.hook(&format!("{number:03}"), 0o755);
        }
        let found = site.found();
        assert_eq!(found.hooks.len(), HOOKS_MAX);
        assert_eq!(found.skipped, [(format!("{HOOKS_MAX:03}"), Skip::TooMany)]);
    }
}
