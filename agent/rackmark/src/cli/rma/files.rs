//! Files that are there already: burn-in results and the driver's own bug report.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{Mode, OFlags};

/// Most bytes of burn-in results in one archive (ours): results are text of some kilobytes.
pub const BURN_IN_BYTES_MAX: u64 = 4 << 20;
/// Largest bug report that is taken (ours); those of eight GPUs have a few megabytes.
const BUG_REPORT_BYTES_MAX: u64 = 64 << 20;
/// The name that NVIDIA's script gives its report.
pub const BUG_REPORT: &str = "nvidia-bug-report.log.gz";

/// A plain file, never through a link and never one that makes a reader wait: others may write in these folders.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a plain file"));
    }
    Ok(file)
}

fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::other(format!("larger than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// Texts of the folder with `uuid` in their name, the newest first, while there is room; and what was left out, and why.
pub fn burn_in(folder: &Path, uuid: &str) -> (Vec<(String, String)>, Vec<String>) {
    let (mut taken, mut left_out) = (Vec::new(), Vec::new());
    let listed = match fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return (taken, left_out),
        Err(error) => return (taken, vec![format!("burn-in results: cannot be listed: {error}")]),
    };
    let mut files: Vec<(SystemTime, String)> = listed
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            // Beside results there are locks, and what runs.
            if !name.contains(uuid) || !name.ends_with(".json") {
                return None;
            }
            Some((entry.metadata().ok()?.modified().ok()?, name))
        })
        .collect();
    files.sort_by(|one, other| other.cmp(one));
    let mut room = BURN_IN_BYTES_MAX;
    for (_, name) in files {
        match read(&folder.join(&name), room).map(String::from_utf8) {
            Ok(Ok(text)) => {
                room -= text.len() as u64;
                taken.push((name, text));
            }
            Ok(Err(_)) => left_out.push(format!("burn-in/{name}: not a text, so names cannot be taken out")),
            Err(error) => left_out.push(format!("burn-in/{name}: {error}")),
        }
    }
    (taken, left_out)
}

/// The newest bug report of `folders` that belongs to root or to whoever asks; one of somebody else may be anything.
pub fn bug_report(folders: &[PathBuf]) -> io::Result<Option<Vec<u8>>> {
    use std::os::unix::fs::MetadataExt;
    let me = rustix::process::geteuid().as_raw();
    let newest = folders
        .iter()
        .filter_map(|folder| {
            let path = folder.join(BUG_REPORT);
            let metadata = open(&path).and_then(|file| file.metadata()).ok()?;
            [0, me].contains(&metadata.uid()).then_some((metadata.modified().ok()?, path))
        })
        .max();
    newest.map(|(_, path)| read(&path, BUG_REPORT_BYTES_MAX)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_texts_of_the_gpu_are_taken_and_no_more_than_there_is_room() {
        let folder = tempfile::tempdir().expect("folder");
        let put = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).expect("write");
        put("secret", b"secret");
        put("GPU-1.json", b"{}");
        put("GPU-2.json", b"{}");
        put("GPU-1.lock", b"");
        put("GPU-1.bin.json", &[0xff]);
        put("GPU-1.large.json", &vec![b'x'; BURN_IN_BYTES_MAX as usize + 1]);
        std::os::unix::fs::symlink(folder.path().join("secret"), folder.path().join("GPU-1.link.json"))
            .expect("link");
        let (taken, left_out) = burn_in(folder.path(), "GPU-1");
        assert_eq!(taken, [("GPU-1.json".to_owned(), "{}".to_owned())]);
        assert_eq!(left_out.len(), 3, "{left_out:?}");
        assert_eq!(burn_in(&folder.path().join("none"), "GPU-1"), (Vec::new(), Vec::new()));
    }

    #[test]
    fn the_newest_bug_report_is_taken_and_a_link_is_not_followed() {
        let folders: Vec<_> = (0..3).map(|_| tempfile::tempdir().expect("folder")).collect();
        let paths: Vec<_> = folders.iter().map(|folder| folder.path().to_owned()).collect();
        assert_eq!(bug_report(&paths).expect("none"), None);
        for (path, age_s) in [(&paths[0], 100), (&paths[1], 50)] {
            let file = path.join(BUG_REPORT);
            fs::write(&file, age_s.to_string()).expect("write");
            let at = SystemTime::now() - std::time::Duration::from_secs(age_s);
            File::options().write(true).open(&file).and_then(|file| file.set_modified(at)).expect("time");
        }
        fs::write(paths[2].join("secret"), "secret").expect("write");
        std::os::unix::fs::symlink(paths[2].join("secret"), paths[2].join(BUG_REPORT)).expect("link");
        assert_eq!(bug_report(&paths).expect("two"), Some(b"50".to_vec()));
    }
}
