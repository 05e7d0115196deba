//! Whether files on disk were replaced.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// What tells one state of a file from another, following links: systemd,
/// certbot and Kubernetes replace links, others write in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Remembers the state of some files.
#[derive(Debug)]
pub struct FileWatch {
    files: Vec<(PathBuf, Option<Mark>)>,
}

impl FileWatch {
    /// Notes how the files are now. A missing file has a state too.
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let files = paths.into_iter().map(|path| {
            let mark = mark(&path);
            (path, mark)
        });
        Self { files: files.collect() }
    }

    /// Whether a file differs from when this was asked last.
    pub fn changed(&mut self) -> bool {
        let mut any = false;
        for (path, known) in &mut self.files {
            let now = mark(path);
            any |= now != *known;
            *known = now;
        }
        any
    }
}

fn mark(path: &PathBuf) -> Option<Mark> {
    let metadata = fs::metadata(path).ok()?;
    Some(Mark {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_removed_or_rewritten_file_is_noticed_once() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("node.pem");
        let mut watch = FileWatch::new([path.clone()]);
        assert!(!watch.changed());
        fs::write(&path, "one").expect("write");
        assert!(watch.changed() && !watch.changed());
        fs::write(folder.path().join("new"), "two").expect("write");
        fs::rename(folder.path().join("new"), &path).expect("rename");
        assert!(watch.changed() && !watch.changed());
        fs::remove_file(&path).expect("remove");
        assert!(watch.changed() && !watch.changed());
    }
}
