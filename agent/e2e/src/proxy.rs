//! A link that the test cuts, stalls and slows: a TCP relay on loopback.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use crate::Outcome;

/// What the link does with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Passes them on.
    Passes,
    /// Ends every connection, old and new.
    Cut,
    /// Takes connections and no byte from either side.
    Stalls,
    /// Passes so many bytes a second on, each direction for itself.
    Slow {
        /// Bytes a second.
        bytes_per_s: u64,
    },
}

/// A relay to one port.
pub struct Proxy {
    /// Where it listens on loopback.
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    link: Mutex<Link>,
    target: AtomicU64,
    over: AtomicBool,
    connections: AtomicU64,
}

/// How long a thread of the relay sleeps before it looks at the link again.
const LOOK: Duration = Duration::from_millis(5);

impl Proxy {
    /// Starts one before `target`, a port on loopback.
    ///
    /// # Errors
    /// Where it cannot listen.
    pub fn to(target: u16) -> Outcome<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            link: Mutex::new(Link::Passes),
            target: AtomicU64::new(target.into()),
            over: AtomicBool::new(false),
            connections: AtomicU64::new(0),
        });
        let accepting = shared.clone();
        Builder::new().name("proxy".to_owned()).spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if accepting.over.load(Ordering::Relaxed) {
                    return;
                }
                accepting.connections.fetch_add(1, Ordering::Relaxed);
                relay(near, &accepting);
            }
        })?;
        Ok(Self { port, shared })
    }

    /// Changes the link, for connections that stand as well.
    pub fn set(&self, link: Link) {
        *self.shared.link.lock().unwrap_or_else(PoisonError::into_inner) = link;
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // The accepting thread looks when a connection comes.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Shared {
    fn link(&self) -> Link {
        *self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn relay(near: TcpStream, shared: &Arc<Shared>) {
    if shared.link() == Link::Cut {
        return;
    }
    let target = shared.target.load(Ordering::Relaxed) as u16;
    let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)) else { return };
    let (Ok(near_too), Ok(far_too)) = (near.try_clone(), far.try_clone()) else { return };
    for (from, to) in [(near, far), (far_too, near_too)] {
        let shared = shared.clone();
        let _ = Builder::new().name("relay".to_owned()).spawn(move || pass(from, to, &shared));
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, shared: &Shared) {
    let _ = from.set_read_timeout(Some(LOOK));
    let mut bytes = [0; 16 * 1024];
    let mut ready = Instant::now();
    while !shared.over.load(Ordering::Relaxed) {
        let most = match shared.link() {
            Link::Cut => break,
            Link::Stalls => {
                std::thread::sleep(LOOK);
                continue;
            }
            Link::Passes => bytes.len(),
            Link::Slow { bytes_per_s } => (bytes_per_s / 20).clamp(1, bytes.len() as u64) as usize,
        };
        match from.read(&mut bytes[..most]) {
            Ok(0) => break,
            Ok(read) => {
                if let Link::Slow { bytes_per_s } = shared.link() {
                    ready = ready.max(Instant::now())
                        + Duration::from_secs_f64(read as f64 / bytes_per_s.max(1) as f64);
                    std::thread::sleep(ready.saturating_duration_since(Instant::now()));
                }
                if to.write_all(&bytes[..read]).is_err() {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
