//! Peers on the loopback interface that are no proper brokers: the publisher
//! neither spins nor hangs, counts what it meets, and stops in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::super::{RumqttTransport, StatsSnapshot};
use super::queue::Queued;
use super::{Running, broker, config, start};

#[derive(Debug, Clone, Copy)]
enum Peer {
    /// CONNACK with this reason code.
    Refuses(u8),
    /// Bytes that are no MQTT.
    Garbage,
    /// A packet of the largest length, one byte at a time.
    Drips,
    ClosesAtOnce,
    /// Accepts the connection and says nothing.
    Mute,
    /// A proper CONNACK, then nothing; reads on.
    Deaf,
    /// A proper CONNACK, then reads no more.
    StopsReading,
    /// A proper CONNACK, then bytes that are no MQTT.
    GarbageLater,
    /// A proper CONNACK, then the end.
    ClosesLater,
    /// A proper CONNACK, then PUBACKs for messages that were never sent.
    AcksNonsense,
}

const CONNACK: [u8; 5] = [0x20, 3, 0, 0, 0];

async fn behave(peer: Peer, mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; 4096];
    if !matches!(peer, Peer::Garbage | Peer::ClosesAtOnce) {
        let _connect = stream.read(&mut buffer).await?;
    }
    match peer {
        Peer::Refuses(code) => stream.write_all(&[0x20, 3, 0, code, 0]).await?,
        Peer::Garbage => stream.write_all(&[0xf7; 4096]).await?,
        Peer::Drips => {
            stream.write_all(&[0x30, 0xff, 0xff, 0xff, 0x7f]).await?;
            loop {
                tokio::time::sleep(Duration::from_millis(200)).await;
                stream.write_all(&[0]).await?;
            }
        }
        Peer::ClosesAtOnce => {}
        Peer::Mute => while stream.read(&mut buffer).await? > 0 {},
        Peer::Deaf => {
            stream.write_all(&CONNACK).await?;
            while stream.read(&mut buffer).await? > 0 {}
        }
        Peer::StopsReading => {
            stream.write_all(&CONNACK).await?;
            std::future::pending::<()>().await;
        }
        Peer::GarbageLater => {
            stream.write_all(&CONNACK).await?;
            stream.write_all(&[0xf7; 4096]).await?;
        }
        Peer::ClosesLater => stream.write_all(&CONNACK).await?,
        Peer::AcksNonsense => {
            stream.write_all(&CONNACK).await?;
            stream.write_all(&[0x40, 2, 0, 99]).await?;
            while stream.read(&mut buffer).await? > 0 {}
        }
    }
    Ok(())
}

async fn listen(peer: Peer) -> (u16, Arc<AtomicUsize>) {
    let socket = TcpSocket::new_v4().unwrap();
    if matches!(peer, Peer::StopsReading) {
        socket.set_recv_buffer_size(4096).unwrap();
    }
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener: TcpListener = socket.listen(16).unwrap();
    let port = listener.local_addr().unwrap().port();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let _ = behave(peer, stream).await;
            });
        }
    });
    (port, accepted)
}

/// CPU time of this thread, which runs publisher and peer.
fn cpu() -> Duration {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(schedstat.split(' ').next().unwrap().parse().unwrap())
}

fn run(port: u16) -> Running {
    let running = start(RumqttTransport::new(), config(vec![broker(port)]), Queued::new());
    running.outbox.level("status", Bytes::from_static(b"up"));
    for n in 0..40_u8 {
        running.outbox.stream("a", Bytes::from(vec![n; 64 * 1024]));
    }
    running
}

/// Plays against `peer` for `seconds` and checks what holds for all of them.
async fn meet(peer: Peer, seconds: u64) -> (StatsSnapshot, usize) {
    let (port, accepted) = listen(peer).await;
    let running = run(port);
    let before = cpu();
    let mut paused = false;
    for _ in 0..seconds * 50 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        paused |= running.stats().backoff_current_ms > 0;
    }
    let (used, stats, attempts) = (cpu() - before, running.stats(), accepted.load(Ordering::Relaxed));
    running.outbox.level("status", Bytes::from_static(b"offline"));
    let took = running.stop().await;
    println!("{peer:?}: {attempts} attempts in {seconds} s, {used:?} of CPU, stopped in {took:?}; {stats:?}");
    assert!(took <= Duration::from_millis(1600), "stopped in {took:?}");
    assert!(used < Duration::from_millis(100 * seconds), "{used:?} of CPU");
    // Without growth it would be four attempts a second.
    assert!((1..=4 + 2 * seconds as usize).contains(&attempts), "{attempts} attempts");
    assert!(paused || attempts == 1, "the pause shows");
    assert_eq!(stats.waiting, 40, "nothing was given up, {stats:?}");
    (stats.stats, attempts)
}

#[tokio::test]
async fn one_that_refuses() {
    for code in [0x87, 0x88] {
        let (stats, attempts) = meet(Peer::Refuses(code), 3).await;
        assert!(stats.connect_failures_total as usize >= attempts - 1);
        assert_eq!(stats.connects_total, 0);
    }
}

#[tokio::test]
async fn one_that_is_absent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let running = run(port);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let stats = running.stats();
    assert!((2..=14).contains(&stats.connect_failures_total), "{stats:?}");
    assert!(running.stop().await <= Duration::from_millis(1600));
}

#[tokio::test]
async fn one_that_speaks_garbage() {
    let (stats, _) = meet(Peer::Garbage, 3).await;
    assert!(stats.connect_failures_total >= 1);
}

#[tokio::test]
async fn one_that_drips() {
    meet(Peer::Drips, 5).await;
}

#[tokio::test]
async fn one_that_closes_at_once() {
    let (stats, _) = meet(Peer::ClosesAtOnce, 3).await;
    assert!(stats.connect_failures_total >= 1);
}

#[tokio::test]
async fn one_that_accepts_and_never_answers() {
    let (stats, _) = meet(Peer::Mute, 4).await;
    assert!(stats.connect_failures_total >= 1, "the connect timeout of 3 s has passed");
}

#[tokio::test]
async fn one_that_falls_silent_after_the_handshake() {
    let (stats, _) = meet(Peer::Deaf, 14).await;
    assert_eq!(stats.disconnects_total, 1, "given up within 12 s");
}

#[tokio::test]
async fn one_that_stops_reading() {
    let (stats, _) = meet(Peer::StopsReading, 14).await;
    assert_eq!(stats.disconnects_total, 1, "given up within 12 s");
    let (stats, _) = meet(Peer::StopsReading, 2).await;
    assert_eq!(stats.connected, 1, "stopped while the connection's task writes");
}

#[tokio::test]
async fn one_that_closes_after_the_handshake() {
    let (stats, _) = meet(Peer::ClosesLater, 3).await;
    assert!(stats.disconnects_total >= 1);
}

#[tokio::test]
async fn one_that_speaks_garbage_after_the_handshake() {
    let (port, _) = listen(Peer::GarbageLater).await;
    let running = run(port);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let stats = running.stats();
    assert!(stats.disconnects_total >= 1, "{stats:?}");
    assert!(running.stop().await <= Duration::from_millis(1600));
}

#[tokio::test]
async fn one_that_acknowledges_what_was_never_sent() {
    let (stats, _) = meet(Peer::AcksNonsense, 3).await;
    assert!(stats.disconnects_total >= 1);
}
