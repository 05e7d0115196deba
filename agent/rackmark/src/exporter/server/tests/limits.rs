//! Slow, silent, many, large and wrong: what one client may cost the others.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant as RuntimeInstant, sleep as pass};

use super::super::answer::Answers;
use super::super::counters::Refusal;
use super::super::limits::{ANSWER_TIME, CONNECTIONS_MAX, HEAD_BYTES_MAX, HEAD_TIME, IDLE_TIME};
use super::super::requests;
use super::*;
use crate::exporter::auth::Doorkeeper;

/// How a connection ended, and after which time.
type Served = tokio::task::JoinHandle<(Result<(), Refusal>, Duration)>;

/// One connection on the clock of the test, with room for so many bytes in each direction.
fn connection(room: usize) -> (DuplexStream, Served) {
    let (ours, theirs) = duplex(room);
    let served = tokio::spawn(async move {
        let began = RuntimeInstant::now();
        let answers = Answers { exporter: exporter(None), door: Doorkeeper::default() };
        let ended = requests(theirs, &answers, None).await;
        (ended, began.elapsed())
    });
    (ours, served)
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// Takes one answer: the status page.
async fn take_answer(stream: &mut DuplexStream) {
    let mut text = Vec::new();
    while !text.ends_with(b"</html>\n") {
        let read = stream.read_buf(&mut text).await.expect("answer");
        assert!(read > 0, "closed: {}", String::from_utf8_lossy(&text));
    }
}

fn about(time: Duration, expected: Duration) -> bool {
    time >= expected && time < expected + Duration::from_secs(1)
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_nothing_is_cut_off() {
    let (_stream, served) = connection(1 << 20);
    let (ended, after) = served.await.expect("served");
    assert!(ended == Err(Refusal::Timeout) && about(after, HEAD_TIME), "{ended:?} after {after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_a_byte_a_second_is_cut_off_as_soon() {
    let (mut stream, served) = connection(1 << 20);
    for byte in REQUEST {
        if stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        pass(Duration::from_secs(1)).await;
    }
    let (ended, after) = served.await.expect("served");
    assert!(ended == Err(Refusal::Timeout) && about(after, HEAD_TIME), "{ended:?} after {after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_scraped_connection_is_kept_for_minutes_and_then_closed_without_blame() {
    let (mut stream, served) = connection(1 << 20);
    for _ in 0..5 {
        stream.write_all(REQUEST).await.expect("request");
        take_answer(&mut stream).await;
        pass(Duration::from_secs(60)).await;
    }
    let (ended, after) = served.await.expect("served");
    let expected = Duration::from_secs(4 * 60) + IDLE_TIME;
    assert!(ended == Ok(()) && about(after, expected), "{ended:?} after {after:?}");
}

#[tokio::test(start_paused = true)]
async fn half_a_request_on_a_kept_connection_is_cut_off_like_the_first() {
    let (mut stream, served) = connection(1 << 20);
    stream.write_all(REQUEST).await.expect("request");
    take_answer(&mut stream).await;
    pass(Duration::from_secs(60)).await;
    stream.write_all(&REQUEST[..9]).await.expect("half a request");
    let (ended, after) = served.await.expect("served");
    let expected = Duration::from_secs(60) + HEAD_TIME;
    assert!(ended == Err(Refusal::Timeout) && about(after, expected), "{ended:?} after {after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_take_its_answer_is_cut_off() {
    let (mut stream, served) = connection(64);
    stream.write_all(REQUEST).await.expect("request");
    let (ended, after) = served.await.expect("served");
    assert!(ended == Err(Refusal::Timeout) && about(after, ANSWER_TIME), "{ended:?} after {after:?}");
}

#[test]
fn connections_beyond_the_limit_are_refused_at_once_and_counted() {
    let endpoint = Endpoint::plain();
    let mut kept = endpoint.connect();
    assert!(get(&mut kept, "/metrics", "").is_ok());
    let mut crowd: Vec<TcpStream> = (0..200).map(|_| endpoint.connect()).collect();
    // The last ones are closed without having to wait for any timeout.
    let began = Instant::now();
    for stream in &mut crowd[CONNECTIONS_MAX - 1..] {
        assert!(is_closed(stream));
    }
    assert!(began.elapsed() < HEAD_TIME / 2, "{:?}", began.elapsed());
    let scrape = get(&mut kept, "/metrics", "").expect("who is in is served");
    assert_eq!(counter(&scrape, "connections"), 200 + 1 - CONNECTIONS_MAX as u64);
    assert!(scrape.contains(&format!("rackmark_http_connections {CONNECTIONS_MAX}\n")), "{scrape}");
    drop(crowd);
    wait("room again", || get(&mut endpoint.connect(), "/metrics", "").is_ok());
}

#[test]
fn headers_have_a_largest_size() {
    let endpoint = Endpoint::plain();
    let with_cookie = |bytes: usize| {
        let head = "GET /metrics HTTP/1.1\r\nHost: x\r\nCookie: ".len() + "\r\n\r\n".len();
        format!("GET /metrics HTTP/1.1\r\nHost: x\r\nCookie: {}\r\n\r\n", "c".repeat(bytes - head))
    };
    let fits = ask(&mut endpoint.connect(), &with_cookie(HEAD_BYTES_MAX - 1)).expect("answer");
    assert!(fits.starts_with("HTTP/1.1 200"), "{fits}");
    let large = ask(&mut endpoint.connect(), &with_cookie(HEAD_BYTES_MAX + 1)).expect("answer");
    assert!(large.starts_with("HTTP/1.1 431"), "{large}");
    // The answer to a megabyte may be lost in the reset that meets what is still under way.
    let mut stream = endpoint.connect();
    let _ = stream.write_all(with_cookie(1 << 20).as_bytes());
    assert!(is_closed(&mut stream));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(500));
    assert!(ask(&mut endpoint.connect(), &many).expect("answer").starts_with("HTTP/1.1 431"));
    assert_eq!(endpoint.refused("header_size"), 3);
}

#[test]
fn garbage_is_refused_and_does_no_harm() {
    let seed = RandomState::new().hash_one("garbage");
    println!("seed {seed}");
    let mut state = seed | 1;
    let mut random = || {
        // xorshift64: any bytes will do, as long as the seed gives them again.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let endpoint = Endpoint::plain();
    for _ in 0..100 {
        let length = random() % 600 + 1;
        let mut bytes: Vec<u8> = (0..length).map(|_| random() as u8).collect();
        bytes.extend_from_slice(b"\r\n\r\n");
        let mut stream = endpoint.connect();
        let _ = stream.write_all(&bytes);
        assert!(is_closed(&mut stream));
    }
    let mut stream = endpoint.connect();
    let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert!(is_closed(&mut stream));
    assert_eq!(endpoint.refused("malformed") + endpoint.refused("header_size"), 101);
    // TLS to a plain endpoint is garbage too.
    assert!(endpoint.tls(None).write_all(b"GET").is_err());
}

#[test]
fn silent_clients_and_half_handshakes_delay_nobody() {
    let endpoint = Endpoint::with("tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n");
    let mut silent: Vec<TcpStream> = (0..20).map(|_| endpoint.connect()).collect();
    for stream in &mut silent[10..] {
        // The beginning of a handshake record that never comes.
        stream.write_all(&[22, 3, 1, 1, 0, 1]).expect("six bytes");
    }
    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    let mut scraper = endpoint.tls(None);
    while began.elapsed() < Duration::from_secs(4) {
        let asked = Instant::now();
        assert!(get(&mut scraper, "/metrics", "").expect("scrape").starts_with("HTTP/1.1 200"));
        slowest = slowest.max(asked.elapsed());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    for stream in &mut silent {
        assert!(is_closed(stream));
    }
    let scrape = get(&mut scraper, "/metrics", "").expect("scrape");
    assert_eq!(counter(&scrape, "timeout"), 20);
}

#[test]
fn clients_that_send_a_byte_at_a_time_delay_nobody() {
    let endpoint = Endpoint::plain();
    let mut slow: Vec<TcpStream> = (0..20).map(|_| endpoint.connect()).collect();
    for stream in &mut slow {
        stream.write_all(b"GET /metrics HTTP/1.1\r\nX: ").expect("half a request");
    }
    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    let mut scraper = endpoint.connect();
    while began.elapsed() < HEAD_TIME + Duration::from_secs(1) {
        for stream in &mut slow {
            // Fails once it is cut off.
            let _ = stream.write_all(b"x");
        }
        let asked = Instant::now();
        assert!(get(&mut scraper, "/metrics", "").expect("scrape").starts_with("HTTP/1.1 200"));
        slowest = slowest.max(asked.elapsed());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    let scrape = get(&mut scraper, "/metrics", "").expect("scrape");
    assert_eq!(counter(&scrape, "timeout"), 20);
}
