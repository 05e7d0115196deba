//! Reads the tables that only root may read.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rackmark_model::ipc::{BOOT_EVENT_LOG_BYTES_MAX, CollectReport, DMI_BYTES_MAX, Table};

/// Largest SMBIOS entry point: 31 bytes in version 2, 24 in version 3.
const ENTRY_POINT_BYTES_MAX: usize = 64;

/// All tables below `sysfs_root`, each with what stands in it or why it cannot be had.
pub(crate) fn read(sysfs_root: &Path) -> CollectReport {
    let file = |path: &str, longest| table(&sysfs_root.join(path), longest);
    CollectReport::Tables {
        dmi_entry_point: file("firmware/dmi/tables/smbios_entry_point", ENTRY_POINT_BYTES_MAX),
        dmi: file("firmware/dmi/tables/DMI", DMI_BYTES_MAX),
        boot_event_log: file("kernel/security/tpm0/binary_bios_measurements", BOOT_EVENT_LOG_BYTES_MAX),
    }
}

fn table(path: &Path, longest: usize) -> Table {
    let failed = |error: io::Error| format!("cannot read {}: {error}", path.display());
    let file = File::open(path).map_err(failed)?;
    // Sysfs does not always state a size, so one byte more is asked for.
    let mut content = Vec::new();
    file.take(longest as u64 + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() > longest {
        return Err(format!("{} has more than {longest} bytes", path.display()));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_whole_or_not_there() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("table");
        std::fs::write(&path, [7; 10]).expect("write");
        assert_eq!(table(&path, 10), Ok(vec![7; 10]));
        assert_eq!(table(&path, 9), Err(format!("{} has more than 9 bytes", path.display())));
        let missing = table(&folder.path().join("none"), 9).expect_err("missing");
        assert!(missing.starts_with("cannot read ") && missing.contains("No such file"), "{missing}");
    }
}
