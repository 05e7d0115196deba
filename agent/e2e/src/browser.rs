//! Chromium without a window, and a relay that knows which request it passes on.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use tempfile::TempDir;

use crate::Outcome;
use crate::http;

/// What came of a visit.
pub struct Visit {
    /// The document as it was at the end.
    pub dom: String,
    /// What the browser logged, the console of the page included.
    pub log: String,
}

impl Visit {
    /// Lines of the log by which a page complains: its console, and what its policy refused.
    pub fn complaints(&self) -> Vec<&str> {
        let complains = ["CONSOLE", "Refused to", "Content Security Policy"];
        self.log.lines().filter(|line| complains.iter().any(|word| line.contains(word))).collect()
    }
}

/// Opens a page and stays for so many seconds of the page's own time, in which requests take none;
/// a minute of real time at most.
///
/// # Errors
/// Where the browser fails.
pub fn visit(url: &str, seconds: u32, more: &[&str]) -> Outcome<Visit> {
    let profile = TempDir::new()?;
    let output = Command::new("timeout")
        .args(["--kill-after=5", "60", "chromium", "--headless", "--no-sandbox", "--disable-gpu"])
        .args(["--disable-quic", "--no-first-run", "--disable-background-networking"])
        .args(["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"])
        .args(["--enable-logging=stderr", "--v=0", "--hide-scrollbars", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--virtual-time-budget={}", seconds * 1000))
        .args(more)
        .arg(url)
        .output()?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        return Err(format!("chromium: {}: {log}", output.status).into());
    }
    Ok(Visit { dom: String::from_utf8_lossy(&output.stdout).into_owned(), log })
}

/// Width and height of a PNG file.
///
/// # Errors
/// Where it is none.
pub fn png_size(file: &Path) -> Outcome<(u32, u32)> {
    let bytes = std::fs::read(file)?;
    let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let header = bytes.starts_with(b"\x89PNG\r\n\x1a\n").then(|| number(16).zip(number(20))).flatten();
    header.ok_or_else(|| format!("{} is no PNG", file.display()).into())
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is passed on and answered.
    Answered,
    /// The connection is closed instead.
    Refused,
}

/// A relay between a browser and an endpoint, request by request.
pub struct Between {
    /// Where it listens on loopback.
    pub port: u16,
    requests: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Between {
    /// Passes requests on to `target`; `before` is told the number of each, from 1, and may change
    /// the world before it is passed on.
    ///
    /// # Errors
    /// Where it cannot listen.
    pub fn browser_and(target: u16, before: impl Fn(usize) -> Fate + Send + Sync + 'static) -> Outcome<Self> {
        Self::with_hands(target, "", before)
    }

    /// The same with a script in the page that acts for the person before it; the page loses its
    /// policy by that.
    ///
    /// # Errors
    /// Where it cannot listen.
    pub fn with_hands(
        target: u16,
        hands: &'static str,
        before: impl Fn(usize) -> Fate + Send + Sync + 'static,
    ) -> Outcome<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let requests = Arc::new(AtomicUsize::new(0));
        let over = Arc::new(AtomicBool::new(false));
        let (counted, before, ended) = (requests.clone(), Arc::new(before), over.clone());
        let accepting = Builder::new().name("between".to_owned()).spawn(move || {
            let mut passing = Vec::new();
            for stream in listener.incoming().flatten() {
                if ended.load(Ordering::SeqCst) {
                    break;
                }
                let (counted, before) = (counted.clone(), before.clone());
                let one = move || {
                    // A browser that goes away in between is no error.
                    let _ = pass(stream, target, hands, &counted, before.as_ref());
                };
                let Ok(one) = Builder::new().name("between-one".to_owned()).spawn(one) else { break };
                passing.push(one);
            }
            for one in passing {
                // A panic in there was printed, and the browser saw no answer.
                let _ = one.join();
            }
        })?;
        Ok(Self { port, requests, over, accepting: Some(accepting) })
    }

    /// Requests so far.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// What `before` holds, an agent and its simulation perhaps, is let go before the test goes on to end them.
impl Drop for Between {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // The accepting thread looks when a connection comes.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn pass(
    mut stream: TcpStream,
    target: u16,
    hands: &str,
    counted: &AtomicUsize,
    before: &(impl Fn(usize) -> Fate + ?Sized),
) -> Outcome<()> {
    // A connection that a browser opened for later and left.
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut piece)? {
            0 => return Ok(()),
            read => head.extend_from_slice(&piece[..read]),
        }
    }
    let head = String::from_utf8(head)?;
    let path = head.split(' ').nth(1).ok_or("no path")?;
    if before(counted.fetch_add(1, Ordering::SeqCst) + 1) == Fate::Refused {
        return Ok(());
    }
    // The answer says that the connection closes after it.
    let answer = http::get(target, path, "text/html")?;
    if hands.is_empty() {
        stream.write_all(format!("{}\r\n\r\n{}", answer.head, answer.body).as_bytes())?;
    } else {
        let body = answer.body.replace("</body>", &format!("<script>{hands}</script></body>"));
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nConnection: close";
        stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes())?;
    }
    Ok(())
}
