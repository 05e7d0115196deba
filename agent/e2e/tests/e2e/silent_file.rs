//! A process that no signal reaches: one that reads a file whose file system does not answer.

use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, MountOption,
    OpenFlags, ReplyAttr, ReplyData, ReplyEntry, ReplyOpen, Request,
};
use rackmark_e2e::Outcome;

/// A file whose reads are not answered until told: a reader sleeps in the
/// kernel, where no signal reaches it.
pub(crate) struct SilentFile {
    session: Option<fuser::BackgroundSession>,
    folder: tempfile::TempDir,
    release: Arc<AtomicBool>,
}

impl SilentFile {
    /// None where this machine has no FUSE, or no right to it.
    pub(crate) fn mount() -> Outcome<Option<Self>> {
        if !std::fs::exists("/dev/fuse")? {
            return Ok(None);
        }
        let folder = tempfile::TempDir::new()?;
        let release = Arc::new(AtomicBool::new(false));
        let server = Server(release.clone());
        let mut options = fuser::Config::default();
        options.mount_options = vec![MountOption::FSName("silent".to_owned())];
        match fuser::spawn_mount(server, folder.path(), &options) {
            Ok(session) => Ok(Some(Self { session: Some(session), folder, release })),
            Err(error) => {
                println!("FUSE cannot be mounted: {error}");
                Ok(None)
            }
        }
    }

    pub(crate) fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("silent")
    }

    pub(crate) fn answer(&self) {
        self.release.store(true, Ordering::SeqCst);
    }
}

impl Drop for SilentFile {
    fn drop(&mut self) {
        self.answer();
        drop(self.session.take());
    }
}

struct Server(Arc<AtomicBool>);

const FILE: INodeNo = INodeNo(2);

fn attributes(inode: INodeNo) -> FileAttr {
    let folder = inode != FILE;
    FileAttr {
        ino: inode,
        size: if folder { 0 } else { 4096 },
        blocks: 0,
        atime: SystemTime::UNIX_EPOCH,
        mtime: SystemTime::UNIX_EPOCH,
        ctime: SystemTime::UNIX_EPOCH,
        crtime: SystemTime::UNIX_EPOCH,
        kind: if folder { FileType::Directory } else { FileType::RegularFile },
        perm: if folder { 0o755 } else { 0o644 },
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

const TTL: Duration = Duration::from_secs(60);

impl Filesystem for Server {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name == "silent" {
            reply.entry(&TTL, &attributes(FILE), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &attributes(inode));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: u32,
        _: OpenFlags,
        _: Option<fuser::LockOwner>,
        reply: ReplyData,
    ) {
        let release = self.0.clone();
        let waiting = std::thread::Builder::new().name("silent-read".to_owned()).spawn(move || {
            while !release.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(20));
            }
            reply.data(b"at last");
        });
        assert!(waiting.is_ok());
    }
}
