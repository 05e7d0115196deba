//! How much room a folder's file system has.

use std::path::Path;

use rackmark_model::Bytes;
use rustix::fs::{StatVfsMountFlags, statvfs};

use crate::ReadError;

/// A file system as programs without the rights of root see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// Room for files, without what is kept for root.
    pub free: Bytes,
    /// Size of the file system, without what is kept for root.
    pub total: Bytes,
    /// Files that can still be made; `None` where the file system has no limit.
    pub files_free: Option<u64>,
    /// It is mounted for reading only, also by the kernel after an error.
    pub read_only: bool,
}

impl DiskSpace {
    /// The file system of `folder`.
    ///
    /// # Errors
    /// [`ReadError::Io`] where the folder is not there or out of reach.
    pub fn of(folder: &Path) -> Result<Self, ReadError> {
        let found = statvfs(folder)
            .map_err(|error| ReadError::Io { path: folder.to_owned(), source: error.into() })?;
        let bytes = |blocks: u64| Bytes(blocks.saturating_mul(found.f_frsize));
        let used = found.f_blocks.saturating_sub(found.f_bfree);
        Ok(Self {
            free: bytes(found.f_bavail),
            total: bytes(used.saturating_add(found.f_bavail)),
            files_free: (found.f_files > 0).then_some(found.f_favail),
            read_only: found.f_flag.contains(StatVfsMountFlags::RDONLY),
        })
    }

    /// Free share, 0 to 1000 thousandths; a file system of no size has none.
    pub fn free_permille(&self) -> u32 {
        let Some(permille) = (u128::from(self.free.0) * 1000).checked_div(u128::from(self.total.0)) else {
            return 0;
        };
        permille as u32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_real_file_system_has_room_and_a_missing_folder_is_an_error() {
        let folder = tempfile::tempdir().expect("folder");
        let space = DiskSpace::of(folder.path()).expect("space");
        assert!(space.free.0 > 0 && space.free <= space.total && !space.read_only, "{space:?}");
        let error = DiskSpace::of(&folder.path().join("none")).expect_err("no folder");
        assert!(error.to_string().ends_with("none"), "{error}");
    }

    #[test]
    fn procfs_and_sysfs_have_no_room() {
        let space = DiskSpace::of(Path::new("/proc")).expect("space");
        assert_eq!((space.free, space.free_permille()), (Bytes(0), 0));
    }

    proptest! {
        #[test]
        fn the_share_is_never_above_a_thousand(free: u64, used: u64) {
            let total = Bytes(free.saturating_add(used));
            let space = DiskSpace { free: Bytes(free), total, files_free: None, read_only: false };
            prop_assert!(space.free_permille() <= 1000);
            prop_assert_eq!(space.free_permille() == 1000, free > 0 && total == Bytes(free));
        }
    }
}
