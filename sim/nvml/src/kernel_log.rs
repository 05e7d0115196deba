//! A stand-in for the kernel log: a FIFO in the folder, and the lines the driver would write there.

use crate::control::{CommandError, MAX_COMMAND, MAX_GPUS, Which};
use crate::gpu::Fixed;
use crate::scenario::Scenario;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Name of the FIFO in the folder.
pub const FIFO: &str = "kmsg";
/// Name of the file that counts the records; whoever writes one holds its lock.
const COUNTER: &str = "kmsg.seq";
/// Longest record: what a FIFO takes in one piece (`PIPE_BUF`).
const RECORD_BYTES_MAX: usize = 4096;
/// The level the driver writes at, `KERN_WARNING`; the facility is the kernel's, 0.
const PREFIX: u8 = 4;

/// Why a record cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum KernelLogError {
    /// No process has the FIFO open for reading.
    #[error("nobody reads `{0}`; the record is lost, as its number will show")]
    Unread(PathBuf),
    /// The reader is 64 KiB behind.
    #[error("`{0}` is full, its reader is behind; the record is lost, as its number will show")]
    Full(PathBuf),
    /// Longer than the FIFO takes in one piece.
    #[error("the record has {0} bytes, more than {RECORD_BYTES_MAX}")]
    TooLong(usize),
    /// No such GPU.
    #[error("the folder has {gpus} GPUs; there is no GPU {gpu}")]
    NoGpu {
        /// The index as given.
        gpu: usize,
        /// How many there are.
        gpus: usize,
    },
    /// A file cannot be used.
    #[error("cannot use `{path}`")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Makes the FIFO, and sets its counter to 0.
///
/// # Errors
/// The folder cannot be written.
pub fn make(dir: &Path) -> io::Result<()> {
    let (fifo, counter) = (dir.join(FIFO), dir.join(COUNTER));
    let _ = std::fs::remove_file(&fifo);
    let name = CString::new(fifo.as_os_str().as_bytes())?;
    // SAFETY: the name is a C string that lives until the call returns.
    if unsafe { libc::mkfifo(name.as_ptr(), 0o600) } != 0 {
        return Err(io::Error::last_os_error());
    }
    std::fs::write(counter, "0")
}

/// Writes one record as the kernel does, `prefix,seq,usec,-;text`. Its number is used up even where nobody gets it.
///
/// # Errors
/// Nobody reads, the reader is behind, the text is too long or a file cannot be used.
pub fn write(dir: &Path, text: &str) -> Result<(), KernelLogError> {
    let (fifo, counter) = (dir.join(FIFO), dir.join(COUNTER));
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| KernelLogError::File { path, source }
    };
    let mut count = File::options().read(true).write(true).open(&counter).map_err(failed(&counter))?;
    // SAFETY: flock on an open descriptor; released when the file closes at the end of this function.
    if unsafe { libc::flock(count.as_raw_fd(), libc::LOCK_EX) } != 0 {
        return Err(failed(&counter)(io::Error::last_os_error()));
    }
    let mut number = String::new();
    count.read_to_string(&mut number).map_err(failed(&counter))?;
    let seq: u64 = number.trim().parse().unwrap_or(0);
    let record = format!("{PREFIX},{seq},{},-;{}\n", monotonic_us(), escaped(text));
    if record.len() > RECORD_BYTES_MAX {
        return Err(KernelLogError::TooLong(record.len()));
    }
    // Numbers only grow, so the new one covers the old one.
    let next = seq + 1;
    count.rewind().and_then(|()| count.write_all(next.to_string().as_bytes())).map_err(failed(&counter))?;
    let log = File::options().write(true).custom_flags(libc::O_NONBLOCK).open(&fifo);
    let written = log.and_then(|mut log| log.write_all(record.as_bytes()));
    written.map_err(|error| match error.raw_os_error() {
        Some(libc::ENXIO) => KernelLogError::Unread(fifo.clone()),
        Some(libc::EAGAIN) => KernelLogError::Full(fifo.clone()),
        _ => failed(&fifo)(error),
    })
}

/// The kernel's clock of its log.
fn monotonic_us() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills the structure it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec.cast_unsigned() * 1_000_000 + now.tv_nsec.cast_unsigned() / 1000
}

/// Every byte but printable ASCII, and the backslash, as `\xNN`.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'\\' {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("\\x{byte:02x}"));
        }
    }
    escaped
}

/// A command that writes to the kernel log. It is done at once and cannot stand in a timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// `kmsg TEXT...`
    Text(String),
    /// `xid-line G CODE [pid=N] [name=NAME] [gi=N] [ci=N] [TEXT...]`
    Xid {
        /// The GPUs that report it.
        which: Which,
        /// XID code.
        code: u32,
        /// Process id.
        pid: Option<u32>,
        /// Its name.
        name: Option<String>,
        /// MIG GPU instance.
        gpu_instance: Option<u32>,
        /// MIG compute instance.
        compute_instance: Option<u32>,
        /// The driver's words.
        text: String,
    },
}

impl Message {
    /// Parses one line; `None` where it is none of these two commands.
    ///
    /// # Errors
    /// What is wrong with the line, in words.
    pub fn parse(line: &str) -> Result<Option<Message>, CommandError> {
        let line = line.trim_start();
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        if !["kmsg", "xid-line"].contains(&command) {
            return Ok(None);
        }
        if line.len() > MAX_COMMAND {
            return Err(CommandError::TooLong);
        }
        if command == "kmsg" {
            let missing = CommandError::Missing { command: "kmsg", what: "a text" };
            return if rest.is_empty() { Err(missing) } else { Ok(Some(Message::Text(rest.to_owned()))) };
        }
        Message::xid(rest).map(Some)
    }

    fn xid(rest: &str) -> Result<Message, CommandError> {
        let missing = |what| CommandError::Missing { command: "xid-line", what };
        let wrong = |word: &str, what| CommandError::Wrong { word: word.to_owned(), what };
        let number = |word: &str, text: &str| text.parse().map_err(|_| wrong(word, "a number"));
        let mut words = rest.split_ascii_whitespace();
        let gpu = words.next().ok_or_else(|| missing("a GPU index or `all`"))?;
        let which = match (gpu, gpu.parse()) {
            ("all", _) => Which::All,
            (_, Ok(index)) if index < MAX_GPUS => Which::One(index),
            _ => return Err(wrong(gpu, "a GPU index or `all`")),
        };
        let code = words.next().ok_or_else(|| missing("an XID code"))?;
        let code = number(code, code)?;
        let (mut pid, mut name, mut gpu_instance, mut compute_instance) = (None, None, None, None);
        let mut text: Vec<&str> = Vec::new();
        for word in words {
            match word.split_once('=').filter(|_| text.is_empty()) {
                Some(("pid", value)) => pid = Some(number(word, value)?),
                Some(("name", value)) => name = Some(value.to_owned()),
                Some(("gi", value)) => gpu_instance = Some(number(word, value)?),
                Some(("ci", value)) => compute_instance = Some(number(word, value)?),
                _ => text.push(word),
            }
        }
        if compute_instance.is_some() && gpu_instance.is_none() {
            return Err(missing("gi=N beside ci=N"));
        }
        let text = match (text.is_empty(), code) {
            (true, 79) => "GPU has fallen off the bus.".to_owned(),
            (true, _) => "simulated".to_owned(),
            _ => text.join(" "),
        };
        Ok(Message::Xid { which, code, pid, name, gpu_instance, compute_instance, text })
    }

    /// What is to be written, one text for each record.
    ///
    /// # Errors
    /// There is no such GPU.
    pub fn texts(&self, scenario: &Scenario) -> Result<Vec<String>, KernelLogError> {
        let Message::Xid { which, code, pid, name, gpu_instance, compute_instance, text } = self else {
            let Message::Text(text) = self else { return Ok(Vec::new()) };
            return Ok(vec![text.clone()]);
        };
        if let Which::One(gpu) = which
            && *gpu >= scenario.gpus
        {
            return Err(KernelLogError::NoGpu { gpu: *gpu, gpus: scenario.gpus });
        }
        let mut device = String::new();
        for (mark, id) in [("GPU-I", gpu_instance), ("GPU-CI", compute_instance)] {
            if let Some(id) = id {
                device.push_str(&format!(" {mark}:{id:02}"));
            }
        }
        // The driver writes both or none; a process it does not know is put in quotes.
        let process = match (pid, name.as_deref()) {
            (None, None) => String::new(),
            (Some(pid), name) => format!("pid={pid}, name={}, ", name.unwrap_or("<unknown>")),
            (None, Some(name)) => format!("pid='<unknown>', name={name}, "),
        };
        let line = |index: usize| {
            let address = bus_address(&Fixed::new(scenario, index).pci_address);
            format!("NVRM: Xid (PCI:{address}{device}): {code}, {process}{text}")
        };
        Ok((0..scenario.gpus).filter(|index| which.covers(*index)).map(line).collect())
    }
}

/// `0000:1b:00` of `00000000:1B:00.0`: at least four digits of domain, lower case, no function.
fn bus_address(address: &str) -> String {
    let address = address.to_ascii_lowercase();
    let address = address.split('.').next().unwrap_or_default();
    match address.split_once(':') {
        Some((domain, device)) => format!("{:0>4}:{device}", domain.trim_start_matches('0')),
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario() -> Scenario {
        Scenario::read(
            crate::scenario::resolve("profile = \"h200\"\ngpus = 2".parse().unwrap(), |_| None).unwrap(),
        )
        .unwrap()
    }

    fn texts(line: &str) -> Result<Vec<String>, String> {
        let message = Message::parse(line).map_err(|error| error.to_string())?.expect("one of the two");
        message.texts(&scenario()).map_err(|error| error.to_string())
    }

    #[test]
    fn lines_are_the_drivers() {
        let address = bus_address(&Fixed::new(&scenario(), 1).pci_address);
        assert!(address.len() == 10 && address.starts_with("0000:"), "{address}");
        for (command, line) in [
            ("xid-line 1 79", "): 79, GPU has fallen off the bus."),
            ("xid-line 1 13 a  text, gi=1", "): 13, a text, gi=1"),
            ("xid-line 1 31 pid=7 name=python3 x", "): 31, pid=7, name=python3, x"),
            ("xid-line 1 31 pid=7", "): 31, pid=7, name=<unknown>, simulated"),
            ("xid-line 1 31 name=p x", "): 31, pid='<unknown>', name=p, x"),
            ("xid-line 1 31 gi=2 x", " GPU-I:02): 31, x"),
            ("xid-line 1 31 ci=0 gi=12 x", " GPU-I:12 GPU-CI:00): 31, x"),
        ] {
            assert_eq!(texts(command), Ok(vec![format!("NVRM: Xid (PCI:{address}{line}")]), "{command}");
        }
        assert_eq!(texts("xid-line all 79").map(|lines| lines.len()), Ok(2));
        assert_eq!(texts("kmsg usb 1-1:  reset"), Ok(vec!["usb 1-1:  reset".to_owned()]));
        assert_eq!(bus_address("00010000:C1:1F.0"), "10000:c1:1f");
    }

    #[test]
    fn mistakes_are_named() {
        for (line, message) in [
            ("kmsg", "command `kmsg` needs a text"),
            ("xid-line", "command `xid-line` needs a GPU index or `all`"),
            ("xid-line 64 79", "`64` is not a GPU index or `all`"),
            ("xid-line 0", "command `xid-line` needs an XID code"),
            ("xid-line 0 x", "`x` is not a number"),
            ("xid-line 0 13 pid=x", "`pid=x` is not a number"),
            ("xid-line 0 13 ci=1", "command `xid-line` needs gi=N beside ci=N"),
            ("xid-line 2 13", "the folder has 2 GPUs; there is no GPU 2"),
        ] {
            assert_eq!(texts(line), Err(message.to_owned()), "{line}");
        }
        let long = format!("kmsg {}", "x".repeat(MAX_COMMAND));
        assert_eq!(texts(&long), Err(CommandError::TooLong.to_string()));
        assert_eq!(Message::parse("xid 0 79"), Ok(None));
        assert_eq!(Message::parse(""), Ok(None));
    }

    #[test]
    fn records_reach_a_reader_with_rising_numbers_and_leave_a_gap_without_one() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        make(dir).unwrap();
        let error = write(dir, "nobody").unwrap_err();
        assert!(matches!(error, KernelLogError::Unread(_)), "{error}");
        let mut reader = File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(dir.join(FIFO))
            .unwrap();
        let before = monotonic_us();
        write(dir, "tab\t back\\slash ü").unwrap();
        let mut buffer = [0; 4096];
        let length = reader.read(&mut buffer).unwrap();
        let record = String::from_utf8(buffer[..length].to_vec()).unwrap();
        let (head, text) = record.split_once(';').unwrap();
        assert_eq!(text, "tab\\x09 back\\x5cslash \\xc3\\xbc\n");
        let fields: Vec<&str> = head.split(',').collect();
        let [prefix, seq, usec, flags] = fields.as_slice() else { panic!("{head}") };
        assert_eq!((*prefix, *seq, *flags), ("4", "1", "-"));
        assert!((before..=monotonic_us()).contains(&usec.parse().unwrap()), "{head}");
        let full = (0..100_000).find_map(|_| write(dir, &"x".repeat(900)).err()).unwrap();
        assert!(matches!(full, KernelLogError::Full(_)), "{full}");
        let error = write(dir, &"\t".repeat(1024)).unwrap_err();
        assert!(matches!(error, KernelLogError::TooLong(_)), "{error}");
    }
}
