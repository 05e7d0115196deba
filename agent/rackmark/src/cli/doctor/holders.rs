//! Who holds a port or a socket of this machine, by procfs.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// State of a listening TCP socket in `/proc/net/tcp` (`TCP_LISTEN`).
const LISTEN: &str = "0A";

/// Flag of a listening socket in `/proc/net/unix` (`__SO_ACCEPTCON`).
const ACCEPTS: u32 = 0x0001_0000;

/// Who holds it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// Nobody.
    Nobody,
    /// This process.
    Process { pid: u32, name: String },
    /// Somebody whose files this user may not see; with the user id where it is told.
    Somebody { uid: Option<u32> },
    /// procfs has no table of sockets.
    Unknown,
}

/// Who listens on `address`.
pub(super) fn of_port(proc_root: &Path, address: SocketAddr) -> Holder {
    let tables = ["net/tcp", "net/tcp6"].map(|table| fs::read_to_string(proc_root.join(table)));
    if tables.iter().all(Result::is_err) {
        return Holder::Unknown;
    }
    let found = tables.iter().flatten().flat_map(|table| table.lines()).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, local, _, LISTEN, _, _, _, uid, _, inode, ..] = fields[..] else { return None };
        let local = socket_address(local)?;
        let same_ip =
            local.ip() == address.ip() || local.ip().is_unspecified() || address.ip().is_unspecified();
        (local.port() == address.port() && same_ip).then(|| (inode.to_owned(), uid.parse().ok()))
    });
    match found {
        None => Holder::Nobody,
        Some((inode, uid)) => of_inode(proc_root, &inode, uid),
    }
}

/// Who listens on the Unix socket at `path`.
pub(super) fn of_socket(proc_root: &Path, path: &Path) -> Holder {
    let Ok(table) = fs::read_to_string(proc_root.join("net/unix")) else { return Holder::Unknown };
    let found = table.lines().find_map(|line| {
        let fields: Vec<&str> = line.splitn(8, ' ').collect();
        let [_, _, _, flags, _, _, rest, ..] = fields[..] else { return None };
        let flags = u32::from_str_radix(flags, 16).ok()?;
        // The number of the inode is padded with spaces.
        let (inode, named) = match (rest, fields.get(7)) {
            ("", Some(more)) => more.trim_start().split_once(' ')?,
            (inode, Some(named)) => (inode, *named),
            _ => return None,
        };
        (flags & ACCEPTS != 0 && Path::new(named) == path).then(|| inode.to_owned())
    });
    found.map_or(Holder::Nobody, |inode| of_inode(proc_root, &inode, None))
}

/// The address of a socket table: words of the address in the machine's byte order.
fn socket_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| Some(u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes());
    let ip: IpAddr = match ip.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut bytes = [0; 16];
            for at in 0..4 {
                bytes[at * 4..at * 4 + 4].copy_from_slice(&word(at)?);
            }
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// The process that has the socket open; only root sees the files of all.
fn of_inode(proc_root: &Path, inode: &str, uid: Option<u32>) -> Holder {
    let wanted = format!("socket:[{inode}]");
    for entry in fs::read_dir(proc_root).into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let files = fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten();
        let holds = |file: fs::DirEntry| {
            fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str())
        };
        if files.into_iter().any(holds) {
            let name = fs::read(entry.path().join("comm")).unwrap_or_default();
            let name = String::from_utf8_lossy(name.trim_ascii()).replace(char::is_control, "?");
            return Holder::Process { pid, name };
        }
    }
    Holder::Somebody { uid }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use proptest::prelude::*;

    use super::*;
    use crate::cli::doctor::put;

    #[test]
    fn this_process_is_found_as_the_holder_of_its_own_sockets() {
        let proc_root = Path::new("/proc");
        let own = std::process::id();
        let is_own = |holder: &Holder| matches!(holder, Holder::Process { pid, .. } if *pid == own);
        for listen in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(listen) else {
                println!("no {listen} on this machine");
                continue;
            };
            let address = listener.local_addr().expect("address");
            assert!(is_own(&of_port(proc_root, address)), "{address}: {:?}", of_port(proc_root, address));
            drop(listener);
            assert_eq!(of_port(proc_root, address), Holder::Nobody, "{address}");
        }
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a socket");
        let listener = UnixListener::bind(&path).expect("socket");
        assert!(is_own(&of_socket(proc_root, &path)), "{:?}", of_socket(proc_root, &path));
        drop(listener);
        assert_eq!(of_socket(proc_root, &path), Holder::Nobody);
    }

    #[test]
    fn a_holder_is_told_as_far_as_it_can_be_seen() {
        let root = tempfile::tempdir().expect("folder");
        let address: SocketAddr = "127.0.0.1:9810".parse().expect("address");
        assert_eq!(of_port(root.path(), address), Holder::Unknown);
        assert_eq!(of_socket(root.path(), Path::new("/run/x")), Holder::Unknown);
        let local = u32::from_ne_bytes([127, 0, 0, 1]);
        let row = |port: u16, state: &str| {
            format!(
                "   0: {local:08X}:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000   998        0 4711 1 0 100 0\n"
            )
        };
        put(
            root.path(),
            "net/tcp",
            &format!("  sl  local_address rem_address\n{}{}", row(9810, "01"), row(9811, "0A")),
        );
        assert_eq!(of_port(root.path(), address), Holder::Nobody, "a connection is no listener");
        put(root.path(), "net/tcp", &row(9810, "0A"));
        assert_eq!(of_port(root.path(), address), Holder::Somebody { uid: Some(998) });
        put(root.path(), "33/comm", "ngi\u{7}nx\n");
        fs::create_dir_all(root.path().join("33/fd")).expect("folder");
        symlink("socket:[4711]", root.path().join("33/fd/5")).expect("link");
        assert_eq!(of_port(root.path(), address), Holder::Process { pid: 33, name: "ngi?nx".to_owned() });
        assert_eq!(of_port(root.path(), "127.0.0.2:9810".parse().expect("address")), Holder::Nobody);
        let unix = "Num RefCount Protocol Flags Type St Inode Path\n0000000000000000: 00000002 00000000 00010000 0001 01   4711 /run/x\n0: 2 0 00000000 0001 03 4712 /run/y\n";
        put(root.path(), "net/unix", unix);
        assert!(matches!(of_socket(root.path(), Path::new("/run/x")), Holder::Process { pid: 33, .. }));
        assert_eq!(of_socket(root.path(), Path::new("/run/y")), Holder::Nobody);
    }

    proptest! {
        #[test]
        fn an_address_is_read_as_the_kernel_writes_it(ip: [u8; 16], port: u16) {
            let v4: [u8; 4] = [ip[0], ip[1], ip[2], ip[3]];
            let text = format!("{:08X}:{port:04X}", u32::from_ne_bytes(v4));
            prop_assert_eq!(socket_address(&text), Some(SocketAddr::from((v4, port))));
            let words: String = ip.as_chunks::<4>().0.iter().map(|word| format!("{:08X}", u32::from_ne_bytes(*word))).collect();
            let read = socket_address(&format!("{words}:{port:04X}")).expect("address");
            prop_assert_eq!(read, SocketAddr::new(Ipv6Addr::from(ip).to_canonical(), port));
        }

        #[test]
        fn any_text_is_taken_without_panic(text: String) {
            let _ = socket_address(&text);
        }
    }
}
