//! `rackmark demo`: the shipped agent and a broker as child processes,
//! and an independent consumer whose view is what is shown.

mod broker;
mod burn_in;
mod identity;
mod view;

use std::fs;
use std::io::{IsTerminal, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use clap::Args;
use rackmark_feed::consumer::Settings;
use rackmark_feed::{Consumer, Topic};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, interval, sleep_until, timeout};

use self::identity::Identity;
use self::view::View;
use super::subscriber::{Happening, Subscriber};
use crate::cli::one_shot::{block_on, print};
use crate::cli::table::colour;
use crate::clock;
use crate::exit::{Code, Failure};
use crate::publish::mqtt::{Broker, Security};
use crate::sampling::beside_this_binary;

#[derive(Debug, Args)]
pub struct Options {
    /// Folder of a prepared simulation; the machine's own GPUs if left out.
    #[arg(long, value_name = "DIR")]
    simulated: Option<PathBuf>,
    /// End after this many seconds; run until Ctrl-C if left out.
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
}

/// How long the agent may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(3);

pub fn run(options: &Options) -> Result<Code, Failure> {
    let folder = Folder::make()?;
    let outcome = block_on(show(options, &folder));
    drop(folder);
    outcome
}

/// A folder that goes with the demo.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("rackmark-demo-{}", std::process::id()));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| Failure::new(Code::Unavailable, error))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn free_port() -> Result<u16, Failure> {
    let unavailable = |error| Failure::new(Code::Unavailable, error);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(unavailable)?;
    listener.local_addr().map(|address| address.port()).map_err(unavailable)
}

async fn show(options: &Options, folder: &Folder) -> Result<Code, Failure> {
    let (mqtt, metrics) = (free_port()?, free_port()?);
    let _broker = broker::start(mqtt)?;
    let config = folder.0.join("rackmark.toml");
    let identity = Identity::make(&folder.0, options.simulated.as_deref()).await;
    fs::write(&config, configuration(options, &folder.0, mqtt, metrics, &identity))
        .map_err(|error| Failure::new(Code::Unavailable, error))?;
    let mut agent = start_agent(&config, options, &folder.0)?;

    let broker = Broker { host: Ipv4Addr::LOCALHOST.to_string(), port: mqtt, security: Security::Plain };
    let mut view = View::new(format!("http://127.0.0.1:{metrics}/metrics"), format!("mqtt://{broker}"));
    let (happenings, mut happened) = tokio::sync::mpsc::channel(64);
    let filter = format!("{}/#", rackmark_feed::topic::ROOT);
    let mut subscriber = Subscriber::new(broker, "rackmark-demo".to_owned(), filter);
    // Connecting must not be cancelled, so the consumer has a task of its own.
    tokio::spawn(async move { while happenings.send(subscriber.next().await).await.is_ok() {} });

    let mut interrupted =
        signal(SignalKind::interrupt()).map_err(|error| Failure::new(Code::Internal, error))?;
    let mut terminated =
        signal(SignalKind::terminate()).map_err(|error| Failure::new(Code::Internal, error))?;
    let end = options.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let far = Instant::now() + Duration::from_secs(365 * 24 * 3600);
    // What a TPM vouches for is shown beside; the feed itself is taken as claimed.
    let mut consumer = Consumer::new(Settings { accept_claimed: true, ..Settings::default() });
    let mut every_second = interval(Duration::from_secs(1));
    let live = std::io::stdout().is_terminal();
    let mut failed = None;
    let (told, mut identities) = tokio::sync::mpsc::channel(1);
    let mut told = Some(told);
    let (result, mut burn_ins) = tokio::sync::mpsc::channel(1);
    // A GPU of this machine is not worked on without its owner's word.
    let mut result = Some(result).filter(|_| options.simulated.is_some());
    loop {
        tokio::select! {
            // What others say to the node is not the node's.
            Some(happening) = happened.recv() => if let Happening::Message(message) = happening
                && matches!(Topic::parse(&message.topic), Some(Topic::Node { .. } | Topic::Reply { .. }))
            {
                view.take(consumer.accept(&message.topic, &message.payload, clock::unix_ms()), message.payload.len());
            },
            _ = every_second.tick() => {
                view.scraped(scrape(metrics).await);
                // As soon as the node has a name, a stranger asks it what it is; once.
                if let Some(node) = view.node_name()
                    && let Some(told) = told.take()
                {
                    let (folder, software) = (folder.0.clone(), identity.is_software());
                    tokio::spawn(async move {
                        let _ = told.send(Identity::asked(software, &folder, mqtt, &node).await).await;
                    });
                }
                if let Some(slot) = view.last_gpu()
                    && let Some(result) = result.take()
                {
                    let config = config.clone();
                    tokio::spawn(async move {
                        let _ = result.send(burn_in::tested(&config, slot).await).await;
                    });
                }
                if live {
                    print(&format!("\u{1b}[H\u{1b}[2J{}", view.page(colour())));
                }
            }
            Some(line) = identities.recv() => view.identity(line),
            Some(line) = burn_ins.recv() => view.burn_in(line),
            ended = agent.wait() => {
                let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                failed = Some(Failure::new(Code::Internal, format!("the agent ended by itself: {how}")));
                break;
            }
            _ = interrupted.recv() => break,
            _ = terminated.recv() => break,
            () = sleep_until(end.unwrap_or(far)) => break,
        }
    }
    stop(&mut agent).await;
    print(&if live { "\n".to_owned() } else { view.page(false) });
    if let Some(failure) = failed {
        return Err(failure.hint("its log is above"));
    }
    print(&view.closing());
    if end.is_some() && !view.proved() {
        return Err(Failure::new(Code::Unavailable, "no telemetry was verified, or no scrape succeeded"));
    }
    Ok(Code::Ok)
}

fn configuration(options: &Options, folder: &Path, mqtt: u16, metrics: u16, identity: &Identity) -> String {
    let folder = folder.display();
    let hardware = options.simulated.as_ref().map_or_else(String::new, |simulated| {
        let simulated = simulated.display();
        format!(
            "nvml_library = \"{simulated}/libnvidia-ml.so.1\"\n[hardware]\nsysfs_root = \"{simulated}/sysfs\"\nkernel_log = \"{simulated}/kmsg\"\n"
        )
    });
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, metrics));
    format!(
        "[node]\nsite = \"demo\"\n[mqtt]\nbrokers = [\"mqtt://127.0.0.1:{mqtt}\"]\nbatch_samples = 2\n[metrics]\nlisten = \"{listen}\"\n[control]\nsocket = \"{folder}/control.sock\"\n[state]\ndir = \"{folder}/state\"\n[log]\nlevel = \"warn\"\n{}{}[sampler]\n{hardware}",
        identity.configuration, identity.allowed
    )
}

fn start_agent(config: &Path, options: &Options, folder: &Path) -> Result<Child, Failure> {
    let mut command = Command::new(beside_this_binary(Path::new("rackmark")));
    command
        .arg("run")
        .arg("--config")
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    // Ctrl-C is for the demo, which then tells the agent.
    command.process_group(0);
    if std::io::stdout().is_terminal() {
        // The live table owns the screen; the log goes to a file.
        let log = fs::File::create(folder.join("agent.log"))
            .map_err(|error| Failure::new(Code::Unavailable, error))?;
        command.stderr(log);
    }
    if let Some(simulated) = &options.simulated {
        // The simulated CUDA driver lies there too.
        command.env("RACKMARK_SIM_DIR", simulated).env("LD_LIBRARY_PATH", simulated);
    }
    command.spawn().map_err(|error| Failure::new(Code::Unavailable, error))
}

/// Asks the agent to stop and waits for its goodbye, but not for ever.
async fn stop(agent: &mut Child) {
    let pid = agent.id().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        if timeout(GOODBYE, agent.wait()).await.is_err() {
            let _ = writeln!(std::io::stderr(), "the agent does not stop; leaving it behind");
        }
    }
}

/// One scrape: the number of samples in it.
async fn scrape(port: u16) -> Option<usize> {
    let fetch = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await
            .ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        let samples = text.lines().filter(|line| line.starts_with("rackmark_gpu_")).count();
        (text.starts_with("HTTP/1.1 200") && samples > 0).then_some(samples)
    };
    timeout(Duration::from_secs(2), fetch).await.ok().flatten()
}
