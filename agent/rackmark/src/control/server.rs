//! Listens on the control socket and lets in who may come in.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};

use super::verbs::{Answer, Verb, Verbs};

/// Longest request line: a document for hooks of at most 32 KiB, with room for what JSON escapes.
const REQUEST_BYTES_MAX: u64 = 64 << 10;
/// Longest time to state a request, or to take an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections served at once.
const CONNECTIONS_MAX: usize = 16;

/// The socket could not be set up.
#[derive(Debug, Error)]
pub enum ControlError {
    /// Its folder or the socket itself.
    #[error("cannot listen on control socket {}", path.display())]
    Listen {
        /// The configured path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The control socket.
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    admins: Option<u32>,
}

impl ControlSocket {
    /// Creates the socket. It is world-connectable on purpose: who may ask for
    /// what is decided by the credentials of the peer, not by file modes.
    ///
    /// # Errors
    /// [`ControlError::Listen`].
    pub fn bind(path: &Path, admin_group: &str) -> Result<Self, ControlError> {
        let listen = |source| ControlError::Listen { path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(listen)?;
        }
        // A socket left by an earlier run; one that answers belongs to a running agent.
        if path.exists() {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(listen(io::Error::new(io::ErrorKind::AddrInUse, "another agent answers there")));
            }
            fs::remove_file(path).map_err(listen)?;
        }
        let listener = UnixListener::bind(path).map_err(listen)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o666)).map_err(listen)?;
        Ok(Self { listener, path: path.to_owned(), admins: group_id(admin_group) })
    }

    /// Serves until `stop` is set or dropped.
    pub async fn serve(self, verbs: Arc<Verbs>, mut stop: watch::Receiver<bool>) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "control socket cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(place) = room.clone().try_acquire_owned() else { continue };
            let peer = stream.peer_cred().ok().filter(|peer| self.allows(peer));
            let verbs = verbs.clone();
            tokio::spawn(async move {
                let _place = place;
                if let Err(error) = converse(stream, &verbs, peer.map(|peer| peer.uid())).await {
                    tracing::debug!(%error, "control connection ended early");
                }
            });
        }
        let _ = fs::remove_file(&self.path);
    }

    /// Root, the agent's own user, and the administrators' group.
    fn allows(&self, peer: &UCred) -> bool {
        let own = rustix::process::geteuid().as_raw();
        peer.uid() == 0 || peer.uid() == own || self.admins.is_some_and(|admins| in_group(peer, admins))
    }
}

/// The peer's primary group, or one of the groups its process has.
fn in_group(peer: &UCred, group: u32) -> bool {
    if peer.gid() == group {
        return true;
    }
    let Some(pid) = peer.pid() else { return false };
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return false };
    let groups = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap_or("");
    groups.split_ascii_whitespace().any(|text| text.parse() == Ok(group))
}

/// The id of a group in `/etc/group`.
fn group_id(name: &str) -> Option<u32> {
    let groups = fs::read_to_string("/etc/group").ok()?;
    let line = groups.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}

/// The name of a user in `/etc/passwd`; `uid 1234` where that file does not have it.
fn user_name(uid: u32) -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let own = |line: &&str| line.split(':').nth(2).and_then(|id| id.parse().ok()) == Some(uid);
    let name = users.lines().find(own).and_then(|line| line.split(':').next());
    name.map_or_else(|| format!("uid {uid}"), str::to_owned)
}

/// Answers one request of a user; of nobody where they may not ask.
async fn converse(stream: UnixStream, verbs: &Verbs, asks: Option<u32>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut read = BufReader::new(read.take(REQUEST_BYTES_MAX));
    tokio::time::timeout(PATIENCE, read.read_line(&mut line)).await??;
    let answer = match (asks, serde_json::from_str::<Verb>(&line)) {
        (Some(uid), Ok(verb)) => verbs.carry_out(verb, || user_name(uid)).await,
        (Some(_), Err(error)) => Answer::Refused(format!("not a request: {error}")),
        (None, _) => Answer::Refused("only root and the administrators' group may ask".to_owned()),
    };
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    tokio::time::timeout(PATIENCE, write.write_all(&text)).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_named_and_unknown_ones_numbered() {
        assert_eq!(user_name(0), "root");
        assert_eq!(user_name(4_294_967_294), "uid 4294967294");
    }
}
