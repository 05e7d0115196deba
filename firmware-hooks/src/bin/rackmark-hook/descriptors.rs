//! A hook gets its three streams and no other descriptor. Everything that this process and the daemon open closes by
//! itself when a hook is started, and systemd passes nothing on; what a shell left open for a daemon that was started
//! by hand cannot be closed without unsafe code, so it is named.

use std::fs;

/// `O_CLOEXEC` in `/proc/<pid>/fdinfo` (proc_pid_fdinfo(5)), octal there; asm-generic, which x86 and ARM follow.
const CLOSE_ON_EXEC: u32 = 0o2_000_000;

/// The descriptors that hooks would inherit.
pub(crate) fn passed_on() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc/self/fdinfo") else { return Vec::new() };
    let open = entries.flatten().filter_map(|entry| {
        let number = entry.file_name().to_str()?.parse::<u32>().ok()?;
        let text = fs::read_to_string(entry.path()).ok()?;
        (number > 2 && is_kept(&text)).then_some(number)
    });
    open.collect()
}

/// Whether the descriptor that a file of `fdinfo` tells of outlives an `exec`.
fn is_kept(text: &str) -> bool {
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & CLOSE_ON_EXEC == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_octal() {
        assert!(is_kept("pos:\t0\nflags:\t0100002\nmnt_id:\t9\n"));
        assert!(!is_kept("pos:\t0\nflags:\t02100002\nmnt_id:\t9\n"));
        assert!(!is_kept(""));
    }
}
