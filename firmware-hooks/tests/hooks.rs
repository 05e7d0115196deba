//! The shipped binary, spoken to as the daemon speaks to it.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rackmark_model::hook::{
    DOCUMENT_BYTES_MAX, HookEnd, HookEvent, HookOrder, HookReport, HookRun, HookTask, OutputFault, Skip,
};
use rackmark_model::ipc::{self, LENGTH_BYTES};
use tempfile::TempDir;

const EVENT: HookEvent = HookEvent::LeaseEnd;

/// A folder of hooks, and one for what they write down.
struct Site(TempDir);

impl Site {
    fn new() -> Self {
        let site = Self(TempDir::new().expect("folder"));
        for folder in [site.root(), site.root().join(EVENT.name())] {
            fs::create_dir(&folder).expect("folder");
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("mode");
        }
        site
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("hooks.d")
    }

    /// A place that scripts may name.
    fn place(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, text: &str, mode: u32) {
        let path = self.root().join(EVENT.name()).join(name);
        fs::write(&path, text).expect("hook");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("mode");
    }

    fn script(&self, name: &str, body: &str) {
        self.file(name, &format!("#!/bin/sh\n{body}\n"), 0o755);
    }

    fn run(&self, document: &[u8], timeout: Duration) -> Vec<HookReport> {
        self.order(document, timeout, None).all()
    }

    fn order(&self, document: &[u8], timeout: Duration, only: Option<&[&str]>) -> Asked {
        let only = only.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        let timeout_ms = timeout.as_millis() as u32;
        let task = HookTask::Run { document: document.to_vec(), timeout_ms, only };
        Asked::of(&self.root(), &HookOrder { event: EVENT, task })
    }

    /// Runs the only hook there is.
    fn one(&self, body: &str) -> HookRun {
        self.script("10-one", body);
        only(self.run(b"{}\n", Duration::from_secs(10)))
    }
}

/// A process that was given an order.
struct Asked {
    stream: UnixStream,
    child: Child,
}

impl Asked {
    fn of(root: &Path, order: &HookOrder) -> Self {
        let (ours, theirs) = UnixStream::pair().expect("pair");
        ours.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
        let child = Command::new(env!("CARGO_BIN_EXE_rackmark-hook"))
            .arg("--hooks-dir")
            .arg(root)
            // It must not reach a hook.
            .env("SECRET", "of the daemon")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .expect("rackmark-hook");
        let mut asked = Self { stream: ours, child };
        let mut frame = Vec::new();
        ipc::encode(order, &mut frame).expect("frame");
        asked.stream.write_all(&frame).expect("order");
        asked
    }

    /// The next report; none where the stream ended.
    fn next(&mut self) -> Option<HookReport> {
        let mut prefix = [0; LENGTH_BYTES];
        match self.stream.read_exact(&mut prefix) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return None,
            read => read.expect("report"),
        }
        let mut body = vec![0; ipc::body_length(prefix).expect("length")];
        self.stream.read_exact(&mut body).expect("report");
        Some(ipc::decode(&body).expect("report"))
    }

    /// All reports, which end with the one that says so, and the process with them.
    fn all(mut self) -> Vec<HookReport> {
        let mut reports = Vec::new();
        while let Some(report) = self.next() {
            reports.push(report);
        }
        assert!(self.child.wait().expect("end").success());
        assert_eq!(reports.pop(), Some(HookReport::Done));
        reports
    }
}

fn ran(reports: Vec<HookReport>) -> Vec<HookRun> {
    let runs = reports.into_iter().map(|report| match report {
        HookReport::Ran(run) => *run,
        other => panic!("{other:?}"),
    });
    runs.collect()
}

fn only(reports: Vec<HookReport>) -> HookRun {
    let [run] = <[HookRun; 1]>::try_from(ran(reports)).expect("one run");
    run
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn pids(path: &Path) -> Vec<u32> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// A process that runs; one that only waits to be taken note of does not.
fn lives(pid: &u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[test]
fn hooks_run_in_order_with_the_document_and_what_they_say_comes_back() {
    let site = Site::new();
    let log = site.place("log");
    site.script(
        "20-b",
        &format!("cat >>'{0}'; echo '{{\"message\":\"b\",\"facts\":{{\"n\":2}}}}'", log.display()),
    );
    site.script("10-a", &format!("cat >>'{0}'; echo a >>'{0}'; echo why >&2; exit 3", log.display()));
    let runs = ran(site.run(b"{\"version\":1}\n", Duration::from_secs(10)));
    assert_eq!(fs::read_to_string(&log).expect("log"), "{\"version\":1}\na\n{\"version\":1}\n");
    let names: Vec<_> = runs.iter().map(|run| run.name.as_str()).collect();
    assert_eq!(names, ["10-a", "20-b"]);
    assert_eq!((&runs[0].end, runs[0].stderr.as_str()), (&HookEnd::Exited(3), "why"));
    assert_eq!((&runs[1].end, runs[1].output.message.as_str()), (&HookEnd::Exited(0), "b"));
    assert_eq!(runs[1].output.facts, [("n".to_owned(), "2".to_owned())]);
}

#[test]
fn only_what_is_named_runs_again() {
    let site = Site::new();
    site.script("10-a", "exit 0");
    site.script("20-b", "exit 75");
    let runs = ran(site.order(b"{}\n", Duration::from_secs(10), Some(&["20-b", "30-none"])).all());
    assert_eq!(runs.iter().map(|run| run.name.as_str()).collect::<Vec<_>>(), ["20-b"]);
    assert_eq!(runs[0].end.result().name(), "later");
}

#[test]
fn every_end_comes_back_as_it_was() {
    let site = Site::new();
    for code in [0, 1, 75, 77, 78, 255] {
        assert_eq!(site.one(&format!("exit {code}")).end, HookEnd::Exited(code));
    }
    assert_eq!(site.one("kill -SEGV $$").end, HookEnd::Killed(11));
    site.file("10-one", "#!/no/such/interpreter\n", 0o755);
    let run = only(site.run(b"{}\n", Duration::from_secs(10)));
    assert!(matches!(&run.end, HookEnd::NotStarted(why) if why.contains("No such file")), "{:?}", run.end);
}

#[test]
fn the_environment_is_the_search_path_and_nothing_else() {
    let site = Site::new();
    let out = site.place("env");
    // Not by a shell, which has variables of its own.
    site.file(
        "10-one",
        &format!(
            "#!/usr/bin/awk -f\nBEGIN {{ for (n in ENVIRON) print n \"=\" ENVIRON[n] >\"{}\" }}\n",
            out.display()
        ),
        0o755,
    );
    assert_eq!(only(site.run(b"{}\n", Duration::from_secs(10))).end, HookEnd::Exited(0));
    // awk counts among its variables some that it makes up.
    let text = fs::read_to_string(out).expect("environment");
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("AWK")).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
}

#[test]
fn a_hook_has_three_streams_the_root_folder_and_a_group_of_its_own() {
    let site = Site::new();
    let (descriptors, out) = (site.place("descriptors"), site.place("seen"));
    // Not by a shell, which opens its script.
    site.file("10-ls", &format!("#!/bin/sh\nexec ls /proc/self/fd >'{}'\n", descriptors.display()), 0o755);
    site.script("20-sh", &format!("{{ pwd; cut -d' ' -f5 /proc/$$/stat; echo $$; }} >'{}'", out.display()));
    let runs = ran(site.run(b"{}\n", Duration::from_secs(10)));
    assert!(runs.iter().all(|run| run.end == HookEnd::Exited(0)), "{runs:?}");
    let text = fs::read_to_string(descriptors).expect("descriptors");
    let expected = Command::new("/bin/sh")
        .args(["-c", "exec ls /proc/self/fd"])
        .stdin(Stdio::null())
        .output()
        .expect("ls");
    assert_eq!(text, String::from_utf8(expected.stdout).expect("text"), "what this test has, and no more");
    let seen = fs::read_to_string(out).expect("seen");
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines[0], "/");
    assert_eq!(lines[1], lines[2], "leader of its group");
}

#[test]
fn what_somebody_left_open_is_named() {
    let site = Site::new();
    let (mut ours, theirs) = UnixStream::pair().expect("pair");
    // A shell opens a descriptor that outlives its exec.
    let mut child = Command::new("/bin/sh")
        .args(["-c", "exec 7</dev/null; exec \"$0\" --hooks-dir \"$1\""])
        .args([Path::new(env!("CARGO_BIN_EXE_rackmark-hook")), &site.root()])
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stderr(Stdio::piped())
        .spawn()
        .expect("rackmark-hook");
    let task = HookTask::Run { document: b"{}\n".to_vec(), timeout_ms: 1000, only: None };
    let mut frame = Vec::new();
    ipc::encode(&HookOrder { event: EVENT, task }, &mut frame).expect("frame");
    ours.write_all(&frame).expect("order");
    let mut said = String::new();
    child.stderr.take().expect("stderr").read_to_string(&mut said).expect("stderr");
    assert!(child.wait().expect("end").success());
    assert!(said.contains("hooks inherit descriptor 7\n"), "{said}");
}

#[test]
fn time_is_up_for_the_whole_group() {
    let site = Site::new();
    let pid_file = site.place("pids");
    // A child and a grandchild that do not listen to SIGTERM.
    site.script(
        "10-slow",
        &format!(
            "trap '' TERM\necho $$ >>'{0}'\n(trap '' TERM; sh -c 'trap \"\" TERM; echo $$ >>\"{0}\"; sleep 1000' & sleep 1000) &\nsleep 1000\nsleep 1000",
            pid_file.display()
        ),
    );
    let begun = Instant::now();
    let run = only(site.run(b"{}\n", Duration::from_millis(500)));
    let took = begun.elapsed();
    assert_eq!(run.end, HookEnd::TimedOut(9));
    assert!(took >= Duration::from_millis(2400) && took < Duration::from_secs(6), "{took:?}");
    assert!((2400..6000).contains(&run.took_ms), "{}", run.took_ms);
    let started = pids(&pid_file);
    assert_eq!(started.len(), 2);
    wait_until("the group has ended", || !started.iter().any(lives));
}

#[test]
fn one_that_listens_ends_at_once_when_its_time_is_up() {
    let site = Site::new();
    site.script(
        "10-slow",
        "trap 'echo \"{\\\"message\\\": \\\"stopped\\\"}\"; exit 0' TERM\nwhile :; do sleep 0.1; done",
    );
    let begun = Instant::now();
    let run = only(site.run(b"{}\n", Duration::from_millis(500)));
    assert_eq!((run.end, run.output.message.as_str()), (HookEnd::TimedOut(15), "stopped"));
    assert!(begun.elapsed() < Duration::from_millis(2000), "{:?}", begun.elapsed());
}

#[test]
fn what_a_hook_leaves_behind_ends_with_it() {
    let site = Site::new();
    let pid_file = site.place("pids");
    let begun = Instant::now();
    // It keeps standard output open, which nobody waits for.
    let run = site
        .one(&format!("sleep 1000 & echo $! >'{}'; echo '{{\"message\":\"begun\"}}'", pid_file.display()));
    assert_eq!((run.end, run.output.message.as_str()), (HookEnd::Exited(0), "begun"));
    assert!(begun.elapsed() < Duration::from_secs(5));
    let left = pids(&pid_file);
    assert_eq!(left.len(), 1);
    wait_until("the group has ended", || !left.iter().any(lives));
}

#[test]
fn too_much_output_is_cut_and_nobody_waits() {
    let site = Site::new();
    let run = site.one("head -c 3000000 /dev/zero | tr '\\0' x; head -c 3000000 /dev/zero | tr '\\0' y >&2");
    assert_eq!(run.end, HookEnd::Exited(0));
    assert!(run.stdout_cut && run.stderr_cut);
    assert_eq!(run.output.fault, Some(OutputFault::TooLong));
    assert_eq!(run.stderr.len(), 16 << 10);
    // At the limit it is whole.
    let run = site.one("printf '{\"message\":\"ok\"}'; head -c 65520 /dev/zero | tr '\\0' ' '");
    assert_eq!((run.stdout_cut, run.output.message.as_str()), (false, "ok"));
}

#[test]
fn output_that_is_not_json_does_not_make_it_fail() {
    let site = Site::new();
    let run = site.one("echo Node gpu-17 drained");
    assert_eq!((run.end.clone(), run.output.fault), (HookEnd::Exited(0), Some(OutputFault::NotJson)));
    assert_eq!(run.end.result().name(), "done");
}

#[test]
fn a_document_that_nobody_reads_hangs_nobody() {
    let site = Site::new();
    let document = vec![b' '; DOCUMENT_BYTES_MAX];
    let begun = Instant::now();
    // One never reads; one closes its end; one reads a little; one reads all.
    site.script("10-never", "sleep 0.2; exit 4");
    site.script("20-closes", "exec <&-; sleep 0.2; exit 5");
    site.script("30-little", "head -c 10 >/dev/null; exit 6");
    site.script("40-all", "wc -c >&2");
    let runs = ran(site.run(&document, Duration::from_secs(10)));
    let ends: Vec<_> = runs.iter().map(|run| run.end.code()).collect();
    assert_eq!(ends, [4, 5, 6, 0]);
    assert_eq!(runs[3].stderr, DOCUMENT_BYTES_MAX.to_string());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn the_end_of_the_stream_ends_the_run() {
    let site = Site::new();
    let pid_file = site.place("pids");
    site.script(
        "10-slow",
        &format!("trap '' TERM; echo $$ >>'{}'; sleep 1000; sleep 1000", pid_file.display()),
    );
    site.script("20-next", &format!("echo $$ >>'{}'", pid_file.display()));
    let mut asked = site.order(b"{}\n", Duration::from_secs(600), None);
    wait_until("the hook runs", || pids(&pid_file).len() == 1);
    drop(asked.stream);
    let begun = Instant::now();
    assert!(asked.child.wait().expect("end").success());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let started = pids(&pid_file);
    assert_eq!(started.len(), 1, "nothing more is begun");
    wait_until("the hook has ended", || !started.iter().any(lives));
}

#[test]
fn what_is_refused_is_not_run_and_said_why() {
    let site = Site::new();
    let log = site.place("log");
    let body = format!("#!/bin/sh\necho $0 >>'{}'\n", log.display());
    site.file("10-open", &body, 0o777);
    site.file("20-group", &body, 0o775);
    site.file("30-data", &body, 0o644);
    site.file("40-copy.sh", &body, 0o755);
    std::os::unix::fs::symlink("/bin/true", site.root().join(EVENT.name()).join("50-link")).expect("link");
    site.file("60-good", &body, 0o755);
    let reports = site.run(b"{}\n", Duration::from_secs(10));
    let skipped: Vec<_> = reports
        .iter()
        .filter_map(|report| match report {
            HookReport::Skipped { name, reason } => Some((name.as_str(), *reason)),
            _ => None,
        })
        .collect();
    let expected = [
        ("10-open", Skip::Writable),
        ("20-group", Skip::Writable),
        ("30-data", Skip::NotExecutable),
        ("50-link", Skip::Kind),
    ];
    assert_eq!(skipped, expected);
    assert!(fs::read_to_string(&log).expect("log").ends_with("60-good\n"));
    assert_eq!(fs::read_to_string(&log).expect("log").lines().count(), 1);

    // A list runs nothing, and names what is no hook by its name, too.
    let listed = Asked::of(&site.root(), &HookOrder { event: EVENT, task: HookTask::List }).all();
    assert!(listed.contains(&HookReport::Skipped { name: "40-copy.sh".to_owned(), reason: Skip::Name }));
    assert_eq!(listed.last(), Some(&HookReport::Would { name: "60-good".to_owned() }));
    assert_eq!(fs::read_to_string(&log).expect("log").lines().count(), 1);

    // Nothing is run from a folder to which others may write.
    fs::set_permissions(site.root(), fs::Permissions::from_mode(0o777)).expect("mode");
    let refused = site.run(b"{}\n", Duration::from_secs(10));
    let folder = site.root().display().to_string();
    assert_eq!(refused, [HookReport::Refused { folder, reason: Skip::Writable }]);
    assert_eq!(fs::read_to_string(&log).expect("log").lines().count(), 1);
}

#[test]
fn an_order_that_is_none_ends_the_process() {
    for bytes in [&b"\xff\xff\xff\xff"[..], b"\x02\0\0\0\x01\x63", b"\0\0\x08\0", b"\x02\0"] {
        let (mut ours, theirs) = UnixStream::pair().expect("pair");
        let mut child = Command::new(env!("CARGO_BIN_EXE_rackmark-hook"))
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stderr(Stdio::null())
            .spawn()
            .expect("rackmark-hook");
        ours.write_all(bytes).expect("bytes");
        drop(ours);
        assert_eq!(child.wait().expect("end").code(), Some(64), "{bytes:?}");
    }
}
