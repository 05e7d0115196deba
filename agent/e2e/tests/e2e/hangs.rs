//! A driver call that does not come back: the GPU is named, the others go on,
//! scrapes and SIGTERM are answered.

use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, MountOption,
    OpenFlags, ReplyAttr, ReplyData, ReplyEntry, ReplyOpen, Request,
};
use rackmark_e2e::Outcome;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::process::{in_uninterruptible_sleep, wait_for};
use rackmark_e2e::sim::Sim;

#[test]
fn a_call_that_blocks_in_user_space() -> Outcome<()> {
    let sim = Sim::profile("h100-sxm-8", None)?;
    let mut agent = Agent::sampling(&Setup::on(&sim))?;
    agent
        .wait("all GPUs", Duration::from_secs(5), |scrape| scrape.contains("rackmark_gpu_up{gpu=\"7\"} 1"))?;
    sim.command("block 3 nvmlDeviceGetTemperature forever")?;
    named_while_the_others_go_on(&agent, "nvmlDeviceGetTemperature")?;
    let (status, took) = agent.process.terminate(Duration::from_secs(5))?;
    assert!(status.success() && took <= Duration::from_secs(2), "{status} after {took:?}");
    Ok(())
}

#[test]
fn a_sampler_in_uninterruptible_sleep() -> Outcome<()> {
    let Some(mount) = SilentFile::mount()? else {
        println!("skipped: no FUSE");
        return Ok(());
    };
    let sim = Sim::profile("h100-sxm-8", None)?;
    let mut agent = Agent::sampling(&Setup::on(&sim))?;
    agent
        .wait("all GPUs", Duration::from_secs(5), |scrape| scrape.contains("rackmark_gpu_up{gpu=\"7\"} 1"))?;
    let sampler = agent.sampler()?;
    sim.command(&format!("read-file 3 nvmlDeviceGetTemperature {}", mount.file().display()))?;
    named_while_the_others_go_on(&agent, "nvmlDeviceGetTemperature")?;
    // The one left behind is beyond SIGKILL, and is reported as such.
    wait_for("a stuck sampler", Duration::from_secs(10), || in_uninterruptible_sleep(sampler).then_some(()))?;
    agent.wait("the report", Duration::from_secs(10), |scrape| {
        scrape.contains("rackmark_sampler_stuck_processes 1")
    })?;
    let (status, took) = agent.process.terminate(Duration::from_secs(5))?;
    assert!(status.success() && took <= Duration::from_secs(2), "{status} after {took:?}");
    mount.answer();
    wait_for("the end of the stuck sampler", Duration::from_secs(5), || {
        (!in_uninterruptible_sleep(sampler)).then_some(())
    })
}

fn named_while_the_others_go_on(agent: &Agent, function: &str) -> Outcome<()> {
    let mut slowest = Duration::ZERO;
    let began = std::time::Instant::now();
    wait_for("unresponsive", Duration::from_secs(10), || {
        let scrape = agent.scrape().ok()?;
        slowest = slowest.max(scrape.took);
        scrape.body.contains("rackmark_gpu_state{gpu=\"3\",state=\"faulted\"} 1").then_some(())
    })?;
    println!("named after {:?}, slowest scrape {slowest:?}", began.elapsed());
    assert!(slowest < Duration::from_millis(50), "{slowest:?}");
    let status = agent.status()?;
    assert_eq!(status["gpus"][3]["standing"], "unresponsive");
    assert_eq!(status["gpus"][3]["hangs_in"], function);
    let log = agent.log();
    let uuid = status["gpus"][3]["uuid"].as_str().ok_or("uuid")?;
    assert!(
        log.lines()
            .any(|line| line.contains("unresponsive") && line.contains(uuid) && line.contains(function)),
        "{log}"
    );
    // A fresh sampler goes on without it.
    agent.wait("the other seven", Duration::from_secs(5), |scrape| {
        scrape.contains("rackmark_sampler_walked_away_total 1")
            && [0, 1, 2, 4, 5, 6, 7]
                .iter()
                .all(|gpu| scrape.contains(&format!("rackmark_gpu_up{{gpu=\"{gpu}\"}} 1")))
    })?;
    Ok(())
}

/// A file whose reads are not answered until told: a reader sleeps in the
/// kernel, where no signal reaches it.
struct SilentFile {
    session: Option<fuser::BackgroundSession>,
    folder: tempfile::TempDir,
    release: Arc<AtomicBool>,
}

impl SilentFile {
    /// None where this machine has no FUSE, or no right to it.
    fn mount() -> Outcome<Option<Self>> {
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

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("silent")
    }

    fn answer(&self) {
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
