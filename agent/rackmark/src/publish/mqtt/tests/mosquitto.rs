//! Against a real broker, mosquitto, started for the test on a free loopback
//! port. Without the program the tests say so and pass.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v5::Packet;
use rumqttc::{AsyncClient, Event, MqttOptions};
use tokio::task::JoinHandle;

use super::super::{PublisherConfig, RumqttTransport};
use super::queue::Queued;
use super::{Running, broker, config, start};

pub(super) struct Mosquitto {
    child: Child,
    pub(super) port: u16,
    folder: tempfile::TempDir,
}

/// A port that was free a moment ago.
pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Mosquitto {
    /// A broker with these lines added to its configuration, or `None` with a word about why.
    pub(super) fn start(lines: &str) -> Option<Self> {
        let port = free_port();
        let folder = tempfile::tempdir().unwrap();
        let mut file = std::fs::File::create(folder.path().join("mosquitto.conf")).unwrap();
        writeln!(file, "listener {port} 127.0.0.1\nallow_anonymous true\n{lines}").unwrap();
        drop(file);
        let Some(child) = Self::spawn(&folder) else {
            println!("skipped: mosquitto is not installed");
            return None;
        };
        let mosquitto = Self { child, port, folder };
        mosquitto.wait_until_up();
        Some(mosquitto)
    }

    fn spawn(folder: &tempfile::TempDir) -> Option<Child> {
        // Debian keeps it where only root's PATH looks.
        ["mosquitto", "/usr/sbin/mosquitto"].iter().find_map(|program| {
            Command::new(program)
                .arg("-c")
                .arg(folder.path().join("mosquitto.conf"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .ok()
        })
    }

    fn wait_until_up(&self) {
        let give_up = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < give_up, "mosquitto does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGKILL, without a chance to say goodbye.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn restart(&mut self) {
        self.child = Self::spawn(&self.folder).unwrap();
        self.wait_until_up();
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Everything that a subscriber of `#` gets, by QoS 0 so that the broker queues nothing for it.
pub(super) struct Observer {
    seen: Arc<Mutex<Vec<(String, String, bool)>>>,
    task: JoinHandle<()>,
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Observer {
    pub(super) async fn start(port: u16) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let id = format!("observer-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut options = MqttOptions::new(id, ("127.0.0.1", port));
        options.set_max_packet_size(Some(1 << 20));
        let (client, mut event_loop) = AsyncClient::builder(options).capacity(16).build();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (ready_to, ready) = tokio::sync::oneshot::channel();
        let into = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut ready_to = Some(ready_to);
            loop {
                match event_loop.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        client.try_subscribe("#", QoS::AtMostOnce).unwrap();
                    }
                    Ok(Event::Incoming(Packet::SubAck(_))) => {
                        if let Some(ready_to) = ready_to.take() {
                            let _ = ready_to.send(());
                        }
                    }
                    Ok(Event::Incoming(Packet::Publish(p))) => {
                        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
                        into.lock().unwrap().push((text(&p.topic), text(&p.payload), p.retain));
                    }
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        });
        ready.await.unwrap();
        Self { seen, task }
    }

    pub(super) fn of(&self, topic: &str) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|(seen, ..)| seen == topic).map(|(_, payload, _)| payload.clone()).collect()
    }

    /// Waits until the last message of `topic` is `payload`, and says how long it took.
    pub(super) async fn wait_for(&self, topic: &str, payload: &str, limit: Duration) -> Duration {
        let begun = Instant::now();
        while self.of(topic).last().map(String::as_str) != Some(payload) {
            assert!(begun.elapsed() < limit, "{topic} never became {payload}: {:?}", self.of(topic));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        begun.elapsed()
    }
}

fn run(port: u16) -> Running {
    run_with(config(vec![broker(port)]))
}

fn run_with(config: PublisherConfig) -> Running {
    start(RumqttTransport::new(), config, Queued::new())
}

pub(super) fn edge(running: &Running, topic: &str, text: impl Into<String>) {
    running.outbox.stream(topic, Bytes::from(text.into()));
}

#[tokio::test]
async fn levels_are_retained_and_streams_arrive_in_order() {
    let Some(mosquitto) = Mosquitto::start("") else { return };
    let observer = Observer::start(mosquitto.port).await;
    let running = run(mosquitto.port);
    running.outbox.level("status", Bytes::from_static(b"up"));
    for n in 0..5000 {
        edge(&running, "events", n.to_string());
    }
    let begun = Instant::now();
    observer.wait_for("events", "4999", Duration::from_secs(20)).await;
    println!("5000 records in {:?}", begun.elapsed());
    assert_eq!(observer.of("events"), (0..5000).map(|n| n.to_string()).collect::<Vec<_>>());
    running.until("all acknowledged", |stats| stats.waiting == 0 && stats.in_flight == 0).await;

    let late = Observer::start(mosquitto.port).await;
    late.wait_for("status", "up", Duration::from_secs(5)).await;
    assert!(late.seen.lock().unwrap().iter().all(|(topic, _, retain)| topic == "status" && *retain));
    assert!(running.stop().await < Duration::from_millis(500));
}

#[tokio::test]
async fn nothing_is_lost_when_the_broker_is_killed_and_comes_back() {
    let Some(mut mosquitto) = Mosquitto::start("") else { return };
    let observer = Observer::start(mosquitto.port).await;
    let running = run(mosquitto.port);
    running.outbox.level("status", Bytes::from_static(b"up"));
    let mut n = 0;
    for round in 0..3 {
        for _ in 0..1500 {
            edge(&running, "events", n.to_string());
            n += 1;
            if n % 10 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if n % 1500 == 700 {
                mosquitto.kill();
                println!("round {round}: killed with {:?}", running.stats());
            }
        }
        mosquitto.restart();
        running
            .until("connected again", |stats| stats.connects_total > round + 1 && stats.connected == 1)
            .await;
    }
    running.until("all acknowledged", |stats| stats.waiting == 0).await;
    observer.wait_for("events", &(n - 1).to_string(), Duration::from_secs(10)).await;
    let seen = observer.of("events");
    let mut unique: Vec<u32> = seen.iter().map(|text| text.parse().unwrap()).collect();
    unique.sort_unstable();
    unique.dedup();
    println!("{} seen, {} duplicates, {:?}", seen.len(), seen.len() - unique.len(), running.stats());
    assert_eq!(unique, (0..n).collect::<Vec<_>>());
    // The broker forgot its retained messages; the level is there all the same.
    let late = Observer::start(mosquitto.port).await;
    late.wait_for("status", "up", Duration::from_secs(5)).await;
}

#[tokio::test]
async fn records_wait_for_their_first_subscriber() {
    let Some(mosquitto) = Mosquitto::start("") else { return };
    let running = run(mosquitto.port);
    for n in 0..10 {
        edge(&running, "events", n.to_string());
    }
    running.until("held", |stats| stats.held_topics == 1).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(running.stats().waiting, 10);
    let observer = Observer::start(mosquitto.port).await;
    observer.wait_for("events", "9", Duration::from_secs(5)).await;
    assert_eq!(observer.of("events"), (0..10).map(|n| n.to_string()).collect::<Vec<_>>());
    running.until("released", |stats| stats.held_topics == 0 && stats.waiting == 0).await;
}

#[tokio::test]
async fn the_will_follows_a_death_after_its_delay() {
    let Some(mosquitto) = Mosquitto::start("") else { return };
    let observer = Observer::start(mosquitto.port).await;
    let running = run(mosquitto.port);
    running.outbox.level("status", Bytes::from_static(b"up"));
    observer.wait_for("status", "up", Duration::from_secs(5)).await;
    // The socket closes without DISCONNECT, as the kernel does for a killed process.
    running.task.abort();
    let took = observer.wait_for("status", "dead", Duration::from_secs(20)).await;
    println!("will after {took:?}");
    assert!(took > Duration::from_secs(8), "the delay of 10 s has effect: {took:?}");
    let late = Observer::start(mosquitto.port).await;
    late.wait_for("status", "dead", Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_clean_shutdown_leaves_the_farewell_and_no_will() {
    let Some(mosquitto) = Mosquitto::start("") else { return };
    let observer = Observer::start(mosquitto.port).await;
    let running = run(mosquitto.port);
    running.outbox.level("status", Bytes::from_static(b"up"));
    observer.wait_for("status", "up", Duration::from_secs(5)).await;
    running.outbox.level("status", Bytes::from_static(b"offline"));
    let took = running.stop().await;
    println!("shutdown in {took:?}");
    assert!(took < Duration::from_millis(500), "{took:?}");
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(observer.of("status"), ["up", "offline"]);
}

#[tokio::test]
async fn a_second_connection_ends_with_the_level_and_not_with_the_will_of_the_first() {
    let Some(mosquitto) = Mosquitto::start("") else { return };
    let observer = Observer::start(mosquitto.port).await;
    let first = run(mosquitto.port);
    first.outbox.level("status", Bytes::from_static(b"up"));
    observer.wait_for("status", "up", Duration::from_secs(5)).await;
    first.task.abort();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let second = run(mosquitto.port);
    second.outbox.level("status", Bytes::from_static(b"up again"));
    observer.wait_for("status", "up again", Duration::from_secs(5)).await;
    tokio::time::sleep(Duration::from_secs(12)).await;
    println!("{:?}", observer.of("status"));
    assert_eq!(observer.of("status").last().map(String::as_str), Some("up again"));
}

#[tokio::test]
async fn a_message_over_the_brokers_unannounced_limit_is_given_up_and_the_rest_goes_on() {
    let Some(mosquitto) = Mosquitto::start("message_size_limit 1000") else { return };
    let observer = Observer::start(mosquitto.port).await;
    let running = run(mosquitto.port);
    edge(&running, "events", "first");
    edge(&running, "events", "x".repeat(2000));
    edge(&running, "events", "last");
    let begun = Instant::now();
    observer.wait_for("events", "last", Duration::from_secs(60)).await;
    running.until("all settled", |stats| stats.waiting == 0).await;
    println!("in {:?}: {:?}", begun.elapsed(), running.stats());
    assert_eq!(running.stats().quarantined_total, 1);
}

#[tokio::test]
async fn the_announced_limit_is_kept() {
    let Some(mosquitto) = Mosquitto::start("max_packet_size 1000") else { return };
    let observer = Observer::start(mosquitto.port).await;
    let running = run(mosquitto.port);
    edge(&running, "events", "x".repeat(2000));
    edge(&running, "events", "last");
    observer.wait_for("events", "last", Duration::from_secs(5)).await;
    running.until("all settled", |stats| stats.waiting == 0).await;
    let stats = running.stats();
    assert_eq!((stats.quarantined_total, stats.disconnects_total), (1, 0));
}

#[tokio::test]
async fn access_rules_hold_the_forbidden_topic_alone() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("acl");
    std::fs::write(&rules, "topic read #\ntopic write events\ntopic write status\n").unwrap();
    let Some(mosquitto) = Mosquitto::start(&format!("acl_file {}", rules.display())) else { return };
    let observer = Observer::start(mosquitto.port).await;
    let running = run(mosquitto.port);
    for n in 0..20 {
        edge(&running, "secret", n.to_string());
        edge(&running, "events", n.to_string());
    }
    observer.wait_for("events", "19", Duration::from_secs(5)).await;
    running.until("only the forbidden wait", |stats| stats.waiting == 20).await;
    let stats = running.stats();
    // Refused at most as many times as the broker's receive maximum of 20 lets out at once.
    assert!((1..=16).contains(&stats.refused_not_authorized_total), "{stats:?}");
    assert_eq!((stats.held_topics, stats.disconnects_total), (1, 0));
}

#[tokio::test]
async fn commands_arrive_with_their_response_topic() {
    let Some(mosquitto) = Mosquitto::start("") else { return };
    let mut config = config(vec![broker(mosquitto.port)]);
    config.subscriptions = vec!["cmd/drain".to_owned(), "watermark/a".to_owned()];
    let mut running = run_with(config);
    running.until("connected", |stats| stats.connected == 1).await;
    let sent = Command::new("mosquitto_pub")
        .args(["-V", "5", "-h", "127.0.0.1", "-p", &mosquitto.port.to_string(), "-q", "1"])
        .args(["-t", "cmd/drain", "-m", "now", "-r"])
        .args(["-D", "publish", "response-topic", "answers", "-D", "publish", "correlation-data", "7"])
        .status();
    if sent.is_err() {
        println!("skipped: mosquitto_pub is not installed");
        return;
    }
    let message =
        tokio::time::timeout(Duration::from_secs(5), running.incoming.recv()).await.unwrap().unwrap();
    assert_eq!((message.topic.as_str(), &*message.payload), ("cmd/drain", &b"now"[..]));
    assert_eq!(message.response_topic.as_deref(), Some("answers"));
    assert_eq!(message.correlation_data.as_deref(), Some(&b"7"[..]));
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_the_right_one_taken() {
    let folder = tempfile::tempdir().unwrap();
    let passwords = folder.path().join("passwords");
    let made =
        Command::new("mosquitto_passwd").args(["-c", "-b"]).arg(&passwords).args(["agent", "right"]).status();
    if !made.is_ok_and(|status| status.success()) {
        println!("skipped: mosquitto_passwd is not installed");
        return;
    }
    let lines = format!("allow_anonymous false\npassword_file {}\nuser root", passwords.display());
    let Some(mosquitto) = Mosquitto::start(&lines) else { return };
    for (password, connects) in [("wrong", false), ("right", true)] {
        let mut config = config(vec![broker(mosquitto.port)]);
        config.credentials = Some(super::super::Credentials {
            username: "agent".to_owned(),
            password: Bytes::copy_from_slice(password.as_bytes()),
        });
        let running = run_with(config);
        running.until("an answer", |stats| stats.connects_total + stats.connect_failures_total > 0).await;
        assert_eq!(running.stats().connects_total > 0, connects, "{password}");
    }
}

#[tokio::test]
async fn an_ipv6_address_needs_no_brackets() {
    let Ok(port) =
        TcpListener::bind("[::1]:0").and_then(|listener| listener.local_addr()).map(|at| at.port())
    else {
        println!("skipped: this machine has no IPv6");
        return;
    };
    let lines = format!("listener {port} ::1");
    let Some(_mosquitto) = Mosquitto::start(&lines) else { return };
    for host in ["::1", "[::1]"] {
        let at = super::super::Broker { host: host.to_owned(), ..broker(port) };
        assert_eq!(at.to_string(), format!("[::1]:{port}"));
        let running = run_with(config(vec![at]));
        running.until("connected", |stats| stats.connected == 1).await;
    }
}
