//! Listens to the kernel log and hands on what the NVIDIA driver says there.
//!
//! Costs nothing while the log is quiet: the task sleeps until the kernel has a
//! record. A log that cannot be had, or that ends, is asked for again after a
//! second, later after a minute.

use std::sync::Arc;
use std::time::Duration;

use rackmark_hardware::kmsg::{KernelLog, KernelReport, Record, nvidia_report};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::time::Instant;

use super::collect_link::{self, CollectError};
use crate::config::Config;
use crate::exit::chain;

/// Most records in one batch. Between two of them other tasks get their turn.
const BATCH_RECORDS: u64 = 256;

/// First wait before a log is asked for again; doubles up to the maximum.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Who is told what the kernel log says, on the listening task itself: one plain
/// call per batch.
pub trait Ear: Send {
    /// Records were read, lost or left out.
    fn heard(&mut self, batch: &Batch);

    /// The log can be read from now on, or cannot and why; called at each change.
    fn availability(&mut self, state: Result<(), String>);
}

/// Some records in the order of the log.
#[derive(Debug, Default)]
pub struct Batch {
    /// What the NVIDIA driver reports in them.
    pub reports: Vec<Heard>,
    /// How many records were read.
    pub records: u64,
    /// How many were overwritten before they were read.
    pub lost: u64,
    /// How many were no records.
    pub unreadable: u64,
    /// Number of the newest record that was read; 0 before the first.
    pub last_seq: u64,
    /// They were in the log when it was opened, so they may be old. What was
    /// read before from the same log is not in here again.
    pub lookback: bool,
}

/// One report of the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Number of its record, from 0 at boot.
    pub seq: u64,
    /// When it was written, near to `CLOCK_MONOTONIC`, in microseconds.
    pub monotonic_us: u64,
    /// Syslog severity, 0 (emergency) to 7 (debug).
    pub priority: u8,
    /// What it says.
    pub report: KernelReport,
    /// The whole line as it was logged; it can hold control characters.
    pub text: String,
}

/// Listens until `stop` is set or dropped.
pub async fn run<E: Ear>(config: watch::Receiver<Arc<Config>>, ear: E, stop: watch::Receiver<bool>) {
    listen(config, ear, stop, collect_link::kernel_log).await;
}

async fn listen<E: Ear>(
    mut config: watch::Receiver<Arc<Config>>,
    ear: E,
    mut stop: watch::Receiver<bool>,
    open: impl AsyncFn(&Config) -> Result<KernelLog, CollectError>,
) {
    let mut listener = Listener { ear, available: None, last_seq: None, batch: Batch::default() };
    let mut wait = RETRY;
    while !*stop.borrow() {
        let current = config.borrow_and_update().clone();
        let (began, heard) = (Instant::now(), listener.last_seq);
        let cause = tokio::select! {
            cause = listener.follow(&current, &open) => cause,
            () = another_log(&mut config, &current) => {
                if config.borrow().kernel_log != current.kernel_log {
                    listener.last_seq = None;
                }
                wait = RETRY;
                continue;
            }
            _ = stop.changed() => return,
        };
        if listener.last_seq != heard || began.elapsed() > RETRY_MAX {
            wait = RETRY;
        }
        listener.tell(Err(cause));
        tokio::select! {
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(RETRY_MAX),
            () = another_log(&mut config, &current) => wait = RETRY,
            _ = stop.changed() => return,
        }
    }
}

/// Waits for a configuration that leads to another log.
async fn another_log(config: &mut watch::Receiver<Arc<Config>>, current: &Config) {
    while config.changed().await.is_ok() {
        let new = config.borrow_and_update();
        if (&new.collect, &new.kernel_log) != (&current.collect, &current.kernel_log) {
            return;
        }
    }
    std::future::pending::<()>().await;
}

struct Listener<E> {
    ear: E,
    available: Option<Result<(), String>>,
    /// Newest record that was handed on, from whichever opening of the log.
    last_seq: Option<u64>,
    /// Kept from batch to batch for its memory.
    batch: Batch,
}

impl<E: Ear> Listener<E> {
    /// Opens the log and hands on what it says, until it cannot be read any
    /// more; why.
    async fn follow(
        &mut self,
        config: &Config,
        open: &impl AsyncFn(&Config) -> Result<KernelLog, CollectError>,
    ) -> String {
        let mut log = match open(config).await {
            Ok(log) => log,
            Err(error) => return chain(&error),
        };
        if let Some(seq) = self.last_seq {
            log.read_before(seq);
        }
        // A `KernelLog` owns its descriptor and has the same one until it is
        // dropped, which is all that the successor of this function asks for.
        #[expect(deprecated, reason = "the successor is an unsafe function, which this crate must not use")]
        let waiting = AsyncFd::with_interest(log, Interest::READABLE);
        let mut log = match waiting {
            Ok(log) => log,
            Err(error) => return format!("cannot wait for the kernel log: {error}"),
        };
        self.tell(Ok(()));
        if let Err(cause) = self.drain(log.get_mut(), true).await {
            return cause;
        }
        loop {
            let mut ready = match log.readable_mut().await {
                Ok(ready) => ready,
                Err(error) => return format!("cannot wait for the kernel log: {error}"),
            };
            if let Err(cause) = self.drain(ready.get_inner_mut(), false).await {
                return cause;
            }
            ready.clear_ready();
        }
    }

    /// Hands on what can be read now.
    async fn drain(&mut self, log: &mut KernelLog, lookback: bool) -> Result<(), String> {
        while self.next_batch(log, lookback)? {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Hands on one batch; false where nothing is left to read now.
    fn next_batch(&mut self, log: &mut KernelLog, lookback: bool) -> Result<bool, String> {
        let (lost, unreadable) = (log.lost(), log.unreadable());
        self.batch.reports.clear();
        self.batch.records = 0;
        let mut more = Ok(true);
        for _ in 0..BATCH_RECORDS {
            match log.next() {
                Ok(Some(record)) => self.take(record, lookback),
                Ok(None) if log.ended() => more = Err("the kernel log came to its end".to_owned()),
                Ok(None) => more = Ok(false),
                Err(error) => more = Err(chain(&error)),
            }
            if more != Ok(true) {
                break;
            }
        }
        let batch = &mut self.batch;
        (batch.lost, batch.unreadable) = (log.lost() - lost, log.unreadable() - unreadable);
        (batch.last_seq, batch.lookback) = (self.last_seq.unwrap_or(0), lookback);
        if batch.records + batch.lost + batch.unreadable > 0 {
            self.ear.heard(batch);
        }
        more
    }

    fn take(&mut self, record: Record, lookback: bool) {
        // A kernel log that is opened again begins with its oldest record again.
        if lookback && self.last_seq.is_some_and(|last| record.seq <= last) {
            return;
        }
        self.last_seq = Some(record.seq);
        self.batch.records += 1;
        if let Some(report) = nvidia_report(&record) {
            let Record { priority, seq, monotonic_us, text, .. } = record;
            self.batch.reports.push(Heard { seq, monotonic_us, priority, report, text });
        }
    }

    fn tell(&mut self, state: Result<(), String>) {
        if self.available.as_ref() == Some(&state) {
            return;
        }
        match &state {
            Ok(()) => tracing::info!("kernel log is read"),
            Err(cause) => tracing::warn!(cause, "kernel log cannot be read"),
        }
        self.available = Some(state.clone());
        self.ear.availability(state);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::fs::File;
    use std::io::{PipeWriter, Write};
    use std::os::fd::OwnedFd;
    use std::path::Path;
    use std::sync::Mutex;

    use tokio::sync::mpsc;

    use super::*;

    /// What an ear was told.
    #[derive(Debug)]
    enum Told {
        Batch { reports: Vec<Heard>, records: u64, lost: u64, unreadable: u64, last_seq: u64, lookback: bool },
        Availability(Result<(), String>),
    }

    struct Channel(mpsc::Sender<Told>);

    impl Ear for Channel {
        fn heard(&mut self, batch: &Batch) {
            let Batch { reports, records, lost, unreadable, last_seq, lookback } = batch;
            let told = Told::Batch {
                reports: reports.clone(),
                records: *records,
                lost: *lost,
                unreadable: *unreadable,
                last_seq: *last_seq,
                lookback: *lookback,
            };
            self.0.try_send(told).expect("room");
        }

        fn availability(&mut self, state: Result<(), String>) {
            self.0.try_send(Told::Availability(state)).expect("room");
        }
    }

    /// A listener on the pipes that `next` gives one after the other.
    struct Bench {
        told: mpsc::Receiver<Told>,
        stop: watch::Sender<bool>,
        config: watch::Sender<Arc<Config>>,
        task: tokio::task::JoinHandle<()>,
        opened: Arc<Mutex<Vec<Instant>>>,
    }

    fn config(kernel_log: &str) -> Arc<Config> {
        let text = format!("[hardware]\nkernel_log = {kernel_log:?}\n");
        Arc::new(Config::parse(&text, Path::new("test.toml")).expect("configuration"))
    }

    fn pipe() -> (OwnedFd, PipeWriter) {
        let (reader, writer) = std::io::pipe().expect("pipe");
        (reader.into(), writer)
    }

    impl Bench {
        fn new(logs: impl IntoIterator<Item = OwnedFd>) -> Self {
            let logs: Mutex<VecDeque<OwnedFd>> = Mutex::new(logs.into_iter().collect());
            let opened = Arc::new(Mutex::new(Vec::new()));
            let (sender, told) = mpsc::channel(20_000);
            let (stop, stopping) = watch::channel(false);
            let (config, configured) = watch::channel(config("/one"));
            let openings = opened.clone();
            let open = async move |_: &Config| {
                openings.lock().expect("lock").push(Instant::now());
                let log =
                    logs.lock().expect("lock").pop_front().ok_or(CollectError::Ended("a kernel log"))?;
                KernelLog::from_fd(log, Path::new("/one")).map_err(CollectError::Log)
            };
            let task = tokio::spawn(listen(configured, Channel(sender), stopping, open));
            Self { told, stop, config, task, opened }
        }

        async fn next(&mut self) -> Told {
            let told = tokio::time::timeout(Duration::from_secs(300), self.told.recv()).await;
            told.expect("nothing was told").expect("the listener goes on")
        }

        async fn available(&mut self) -> Result<(), String> {
            match self.next().await {
                Told::Availability(state) => state,
                other => panic!("{other:?}"),
            }
        }

        /// Batches until `records` were told: reports, lost, unreadable, newest number, sizes.
        async fn records(
            &mut self,
            wanted: u64,
            looking_back: bool,
        ) -> (Vec<Heard>, u64, u64, u64, Vec<u64>) {
            let (mut all, mut gone, mut odd, mut newest, mut sizes) = (Vec::new(), 0, 0, 0, Vec::new());
            while sizes.iter().sum::<u64>() < wanted {
                let told = self.next().await;
                let Told::Batch { reports, records, lost, unreadable, last_seq, lookback } = told else {
                    panic!("{told:?}")
                };
                assert_eq!(lookback, looking_back);
                all.extend(reports);
                (gone, odd, newest) = (gone + lost, odd + unreadable, last_seq);
                sizes.push(records);
            }
            (all, gone, odd, newest, sizes)
        }
    }

    fn line(seq: u64) -> String {
        format!("4,{seq},{},-;NVRM: Xid (PCI:0000:1b:00): 13, pid=1, name=p, {seq}\n", seq * 10)
    }

    #[tokio::test]
    async fn a_burst_arrives_complete_and_in_order() {
        let (reader, mut writer) = pipe();
        let mut bench = Bench::new([reader]);
        assert_eq!(bench.available().await, Ok(()));
        let burst: String = (0..10_000).map(line).collect();
        let writing = std::thread::Builder::new().name("writer".to_owned()).spawn(move || {
            writer.write_all(burst.as_bytes()).expect("write");
            writer
        });
        let writing = writing.expect("thread");
        let (reports, lost, unreadable, newest, sizes) = bench.records(10_000, false).await;
        let seqs: Vec<u64> = reports.iter().map(|heard| heard.seq).collect();
        assert_eq!(seqs, (0..10_000).collect::<Vec<_>>());
        assert_eq!((lost, unreadable, newest), (0, 0, 9999));
        assert!(sizes.iter().all(|size| *size <= BATCH_RECORDS), "{sizes:?}");
        let last = &reports[9999];
        assert_eq!((last.monotonic_us, last.priority), (99_990, 4));
        assert_eq!(last.text, line(9999).split_once(';').expect("text").1.trim_end());
        let KernelReport::Xid(xid) = &last.report else { panic!("{last:?}") };
        assert_eq!((xid.code, xid.pid), (13, Some(1)));
        // Open, quiet, and one that is not the driver's.
        let mut writer = writing.join().expect("writer");
        writer.write_all(b"6,10000,1,-;usb 1-1: reset\n").expect("write");
        let (reports, .., newest, _) = bench.records(1, false).await;
        assert_eq!((reports.len(), newest), (0, 10_000));
    }

    #[tokio::test]
    async fn records_from_before_are_marked_and_other_tasks_get_their_turn() {
        let (reader, mut writer) = pipe();
        let old: String = (5..605).map(line).collect();
        writer.write_all(old.as_bytes()).expect("write");
        let turns = Arc::new(Mutex::new(0));
        let mut bench = Bench::new([reader]);
        let counted = turns.clone();
        let other = tokio::spawn(async move {
            loop {
                *counted.lock().expect("lock") += 1;
                tokio::task::yield_now().await;
            }
        });
        assert_eq!(bench.available().await, Ok(()));
        let (reports, lost, _, newest, sizes) = bench.records(600, true).await;
        assert_eq!((reports.len(), lost, newest), (600, 0, 604));
        assert_eq!(sizes, [256, 256, 88]);
        assert!(*turns.lock().expect("lock") >= 2, "the runtime has one thread");
        other.abort();
        writer.write_all(line(605).as_bytes()).expect("write");
        assert_eq!(bench.records(1, false).await.3, 605);
    }

    #[tokio::test]
    async fn what_is_cut_off_interleaved_or_missing_is_counted() {
        let (reader, mut writer) = pipe();
        let mut bench = Bench::new([reader]);
        assert_eq!(bench.available().await, Ok(()));
        // Two writers in one another's line, a line without its head, a part of a line, a gap of ten.
        let mixed = format!("{}4,2,20,4,3,30,-;x\n,-;y\n{}{}", line(1), line(4), line(15));
        let (first, second) = mixed.as_bytes().split_at(100);
        writer.write_all(first).expect("write");
        tokio::task::yield_now().await;
        writer.write_all(second).expect("write");
        let (reports, lost, unreadable, newest, _) = bench.records(3, false).await;
        let seqs: Vec<u64> = reports.iter().map(|heard| heard.seq).collect();
        assert_eq!(seqs, [1, 4, 15]);
        assert_eq!((lost, unreadable, newest), (10, 2, 15));
        writer.write_all(b"4,16,1,-;cut o").expect("write");
        drop(writer);
        let told = bench.next().await;
        assert!(matches!(told, Told::Batch { records: 0, unreadable: 1, lost: 0, .. }), "{told:?}");
        assert_eq!(bench.available().await, Err("the kernel log came to its end".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_that_ends_is_opened_again_and_nothing_is_heard_twice() {
        let (first, mut writer) = pipe();
        let (second, mut again) = pipe();
        writer.write_all((0..3).map(line).collect::<String>().as_bytes()).expect("write");
        drop(writer);
        // The same log, two of its records overwritten in the meantime.
        again.write_all((1..3).chain(5..6).map(line).collect::<String>().as_bytes()).expect("write");
        let mut bench = Bench::new([first, second]);
        assert_eq!(bench.available().await, Ok(()));
        assert_eq!(bench.records(3, true).await.0.len(), 3);
        assert_eq!(bench.available().await, Err("the kernel log came to its end".to_owned()));
        assert_eq!(bench.available().await, Ok(()));
        let (reports, lost, _, newest, _) = bench.records(1, true).await;
        assert_eq!((reports.len(), lost, newest), (1, 2, 5));
        let opened = bench.opened.lock().expect("lock").clone();
        assert_eq!(opened[1] - opened[0], RETRY);
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_that_cannot_be_had_is_asked_for_less_and_less_often() {
        let mut bench = Bench::new([]);
        let cause = "the collector ended without a kernel log".to_owned();
        assert_eq!(bench.available().await, Err(cause));
        tokio::time::sleep(Duration::from_secs(400)).await;
        let opened = bench.opened.lock().expect("lock").clone();
        let waits: Vec<u64> = opened.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
        assert_eq!(waits[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(bench.told.try_recv().is_err(), "the same cause is told once");
        // Another log is tried at once.
        bench.config.send(config("/two")).expect("listener");
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(bench.opened.lock().expect("lock").len(), opened.len() + 1);
    }

    #[tokio::test]
    async fn what_is_no_log_at_all_is_said() {
        let file = File::open("/proc/self/stat").expect("a file that cannot be waited for");
        let mut bench = Bench::new([OwnedFd::from(file)]);
        let cause = bench.available().await.expect_err("not a log");
        assert!(cause.starts_with("cannot wait for the kernel log: "), "{cause}");
    }

    #[tokio::test]
    async fn it_stops_when_told_and_does_nothing_while_the_log_is_quiet() {
        let (reader, writer) = pipe();
        let mut bench = Bench::new([reader]);
        assert_eq!(bench.available().await, Ok(()));
        // A change that leads to the same log does not open it again.
        bench.config.send(config("/one")).expect("listener");
        let spent = || rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let (before, began) = (spent(), std::time::Instant::now());
        tokio::time::sleep(Duration::from_millis(500)).await;
        let cpu_ms = (spent().tv_sec - before.tv_sec) * 1000 + (spent().tv_nsec - before.tv_nsec) / 1_000_000;
        assert!(cpu_ms < 100, "{cpu_ms} ms of CPU time in {:?}", began.elapsed());
        assert_eq!(bench.opened.lock().expect("lock").len(), 1);
        assert!(bench.told.try_recv().is_err());
        bench.stop.send(true).expect("listener");
        bench.task.await.expect("it ended");
        drop(writer);
    }
}
