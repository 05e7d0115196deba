//! The control language: live commands and timeline events, one text line each.

use crate::abi::Ret;
use crate::cell::{Cell, reason_code};
use crate::events::Instances;
use crate::fields::Field;
use crate::generation::Generation;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

/// Most GPUs in a folder.
pub const MAX_GPUS: usize = 64;
/// Longest command in bytes.
pub const MAX_COMMAND: usize = 1024;

/// Why a command is not one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CommandError {
    /// The command is longer than [`MAX_COMMAND`].
    #[error("command is longer than {MAX_COMMAND} bytes")]
    TooLong,
    /// Nothing but spaces.
    #[error("command is empty")]
    Empty,
    /// The first word is not a command.
    #[error("command `{0}` is not known")]
    Unknown(String),
    /// A word is missing.
    #[error("command `{command}` needs {what}")]
    Missing {
        /// The command word.
        command: &'static str,
        /// What was expected next.
        what: &'static str,
    },
    /// A word does not fit.
    #[error("`{word}` is not {what}")]
    Wrong {
        /// The word as given.
        word: String,
        /// What was expected instead.
        what: &'static str,
    },
    /// Words after the end.
    #[error("`{0}` is more than the command takes")]
    Surplus(String),
}

/// Which GPUs a command means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All of them.
    All,
    /// The one with this index.
    One(usize),
}

impl Which {
    /// True when `gpu` is meant.
    pub fn covers(self, gpu: usize) -> bool {
        self == Which::All || self == Which::One(gpu)
    }
}

/// One NVLink, or all of a GPU.
pub type Link = Option<u32>;

/// What happens to a call that a rule matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Sleeps that many seconds in user space before answering; `None` sleeps until cleared.
    Block(Option<u32>),
    /// Opens and reads a file before answering.
    ReadFile(String),
    /// Answers with this code.
    Return(Ret),
}

/// A per-link change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkChange {
    /// Link state.
    Up(bool),
    /// More CRC errors.
    Crc(u32),
    /// More replays.
    Replay(u32),
    /// More recoveries.
    Recovery(u32),
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `lost G`
    Lost(Which),
    /// `restore G`
    Restore(Which),
    /// `block|read-file|return G FUNCTION ...`
    Rule(Which, String, Fault),
    /// `return G field:ID CODE`
    FieldReturn(Which, u32, Ret),
    /// `clear G [FUNCTION]`
    Clear(Which, Option<String>),
    /// `driver unload`
    DriverUnload,
    /// `driver load [VERSION]`
    DriverLoad(Option<String>),
    /// `ecc G corrected|uncorrected +N`
    Ecc(Which, bool, u32),
    /// `remap G corrected|uncorrected +N`
    Remap(Which, bool, u32),
    /// `remap G pending|failure on|off`
    RemapFlag(Which, Field, bool),
    /// `throttle G BITMASK`; 0 ends it
    Throttle(Which, u64),
    /// `xid G CODE [COUNT] [gi=N] [ci=N]`
    Xid(Which, u64, u32, Instances),
    /// `pcie G gen|width N`
    Pcie(Which, Field, u32),
    /// `pcie G replay +N`
    PcieReplay(Which, u32),
    /// `nvlink G LINK|all CHANGE`
    Nvlink(Which, Link, LinkChange),
    /// `set G FIELD VALUE`
    Set(Which, Field, Cell),
    /// `recovery G ACTION`
    Recovery(Which, u32),
    /// `process G add PID NAME BYTES`
    ProcessAdd(Which, u32, String, u64),
    /// `process G remove PID`, `process G remove all`
    ProcessRemove(Which, Option<u32>),
    /// `load G idle|PERCENT|scenario`; `None` goes back to the scenario's curve
    Load(Which, Option<u32>),
}

struct Words<'a> {
    command: &'static str,
    words: std::str::SplitAsciiWhitespace<'a>,
}

impl<'a> Words<'a> {
    fn next(&mut self, what: &'static str) -> Result<&'a str, CommandError> {
        self.words.next().ok_or(CommandError::Missing { command: self.command, what })
    }

    fn parsed<T>(
        &mut self,
        what: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, CommandError> {
        let word = self.next(what)?;
        parse(word).ok_or_else(|| CommandError::Wrong { word: word.to_owned(), what })
    }

    fn which(&mut self) -> Result<Which, CommandError> {
        self.parsed("a GPU index or `all`", |word| match word {
            "all" => Some(Which::All),
            _ => word.parse().ok().filter(|gpu| *gpu < MAX_GPUS).map(Which::One),
        })
    }

    fn plus(&mut self) -> Result<u32, CommandError> {
        self.parsed("a growth such as +1", |word| word.strip_prefix('+')?.parse().ok())
    }

    fn number(&mut self, what: &'static str) -> Result<u32, CommandError> {
        self.parsed(what, |word| word.parse().ok())
    }

    fn function(&mut self) -> Result<String, CommandError> {
        self.parsed("an NVML function name or `*`", function_name)
    }

    fn code(&mut self) -> Result<Ret, CommandError> {
        self.parsed("an NVML return code (0..4095) or a reason name", |word| {
            word.parse().ok().filter(|code| *code < 4096).or_else(|| reason_code(word))
        })
    }

    fn corrected(&mut self) -> Result<bool, CommandError> {
        self.parsed("`corrected` or `uncorrected`", |word| match word {
            "corrected" => Some(true),
            "uncorrected" => Some(false),
            _ => None,
        })
    }
}

/// `*`, or a name of at most 80 letters, digits and underscores; `GetPowerUsage` is short for `nvmlDeviceGetPowerUsage`.
fn function_name(word: &str) -> Option<String> {
    let fits = word.len() <= 80 && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match word {
        "*" => Some("*".to_owned()),
        _ if !fits || word.is_empty() => None,
        _ if word.starts_with("nvml") => Some(word.to_owned()),
        _ => Some(format!("nvmlDevice{word}")),
    }
}

fn bitmask(word: &str) -> Option<u64> {
    match word.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => word.parse().ok(),
    }
}

fn on_off(word: &str) -> Option<bool> {
    match word {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

/// Recovery actions in NVML's order (field 230).
pub const RECOVERY_ACTIONS: &[&str] = &["none", "reset", "reboot", "drain-p2p", "drain-and-reset"];

impl Command {
    /// Parses one line. Total: any text gives a command or an error.
    ///
    /// # Errors
    /// What is wrong with the line, in words.
    pub fn parse(line: &str) -> Result<Command, CommandError> {
        if line.len() > MAX_COMMAND {
            return Err(CommandError::TooLong);
        }
        let mut words = line.split_ascii_whitespace();
        let first = words.next().ok_or(CommandError::Empty)?;
        let command = COMMANDS
            .iter()
            .find(|known| **known == first)
            .ok_or_else(|| CommandError::Unknown(first.chars().take(40).collect()))?;
        let mut words = Words { command, words };
        let parsed = Command::after(&mut words)?;
        match words.words.next() {
            Some(word) => Err(CommandError::Surplus(word.to_owned())),
            None => Ok(parsed),
        }
    }

    fn after(words: &mut Words<'_>) -> Result<Command, CommandError> {
        if words.command == "driver" {
            return match words.next("`load` or `unload`")? {
                "unload" => Ok(Command::DriverUnload),
                "load" => {
                    Ok(Command::DriverLoad(words.words.next().map(|word| word.chars().take(79).collect())))
                }
                word => Err(CommandError::Wrong { word: word.to_owned(), what: "`load` or `unload`" }),
            };
        }
        let which = words.which()?;
        Ok(match words.command {
            "lost" => Command::Lost(which),
            "restore" => Command::Restore(which),
            "block" => {
                let function = words.function()?;
                let seconds = words.parsed("a number of seconds or `forever`", |word| match word {
                    "forever" => Some(None),
                    _ => word.parse().ok().map(Some),
                })?;
                Command::Rule(which, function, Fault::Block(seconds))
            }
            "read-file" => {
                let function = words.function()?;
                Command::Rule(which, function, Fault::ReadFile(words.next("a path")?.to_owned()))
            }
            "return" => {
                let target = words.next("a function name or field:ID")?;
                match target.strip_prefix("field:") {
                    Some(id) => {
                        let id = id.parse().map_err(|_| CommandError::Wrong {
                            word: target.to_owned(),
                            what: "a field id",
                        })?;
                        Command::FieldReturn(which, id, words.code()?)
                    }
                    None => {
                        let function = function_name(target).ok_or_else(|| CommandError::Wrong {
                            word: target.to_owned(),
                            what: "an NVML function name or `*`",
                        })?;
                        Command::Rule(which, function, Fault::Return(words.code()?))
                    }
                }
            }
            "clear" => Command::Clear(
                which,
                words.words.next().map(|word| match Field::by_name(word) {
                    Some(field) => field.name().to_owned(),
                    None if word.starts_with("field:") => word.to_owned(),
                    None => function_name(word).unwrap_or_default(),
                }),
            ),
            "ecc" => Command::Ecc(which, words.corrected()?, words.plus()?),
            "remap" => match words.next("corrected, uncorrected, pending or failure")? {
                "corrected" => Command::Remap(which, true, words.plus()?),
                "uncorrected" => Command::Remap(which, false, words.plus()?),
                "pending" => {
                    Command::RemapFlag(which, Field::REMAPPED_PENDING, words.parsed("`on` or `off`", on_off)?)
                }
                "failure" => {
                    Command::RemapFlag(which, Field::REMAPPED_FAILURE, words.parsed("`on` or `off`", on_off)?)
                }
                word => {
                    return Err(CommandError::Wrong {
                        word: word.to_owned(),
                        what: "corrected, uncorrected, pending or failure",
                    });
                }
            },
            "throttle" => Command::Throttle(which, words.parsed("a bit mask such as 0x40", bitmask)?),
            "xid" => {
                let code = words.number("an XID code")?;
                let (mut count, mut instances) = (None, Instances::NONE);
                for word in words.words.by_ref() {
                    let wrong = |what| CommandError::Wrong { word: word.to_owned(), what };
                    let id = |text: &str| text.parse().map_err(|_| wrong("an instance such as gi=2"));
                    if let Some(text) = word.strip_prefix("gi=") {
                        instances.gpu = id(text)?;
                    } else if let Some(text) = word.strip_prefix("ci=") {
                        instances.compute = id(text)?;
                    } else if count.is_none() {
                        let known = word.parse().ok().filter(|count| (1..=64).contains(count));
                        count = Some(known.ok_or_else(|| wrong("a count of 1..64"))?);
                    } else {
                        return Err(CommandError::Surplus(word.to_owned()));
                    }
                }
                Command::Xid(which, u64::from(code), count.unwrap_or(1), instances)
            }
            "pcie" => match words.next("gen, width or replay")? {
                "gen" => {
                    Command::Pcie(which, Field::PCIE_LINK_GENERATION, words.number("a PCIe generation")?)
                }
                "width" => Command::Pcie(which, Field::PCIE_LINK_WIDTH, words.number("a number of lanes")?),
                "replay" => Command::PcieReplay(which, words.plus()?),
                word => {
                    return Err(CommandError::Wrong { word: word.to_owned(), what: "gen, width or replay" });
                }
            },
            "nvlink" => {
                let link = words.parsed("a link number (0..17) or `all`", |word| match word {
                    "all" => Some(None),
                    _ => word.parse::<u32>().ok().filter(|link| *link < 18).map(Some),
                })?;
                let change = match words.next("down, up, crc, replay or recovery")? {
                    "down" => LinkChange::Up(false),
                    "up" => LinkChange::Up(true),
                    "crc" => LinkChange::Crc(words.plus()?),
                    "replay" => LinkChange::Replay(words.plus()?),
                    "recovery" => LinkChange::Recovery(words.plus()?),
                    word => {
                        return Err(CommandError::Wrong {
                            word: word.to_owned(),
                            what: "down, up, crc, replay or recovery",
                        });
                    }
                };
                Command::Nvlink(which, link, change)
            }
            "set" => {
                let field = words.parsed("the edge name of a figure", Field::by_name)?;
                Command::Set(which, field, words.parsed("a whole number, or `!` and a reason", Cell::parse)?)
            }
            "recovery" => Command::Recovery(
                which,
                words.parsed("none, reset, reboot, drain-p2p or drain-and-reset", |word| {
                    RECOVERY_ACTIONS
                        .iter()
                        .position(|known| *known == word)
                        .and_then(|at| u32::try_from(at).ok())
                })?,
            ),
            "process" => match words.next("`add` or `remove`")? {
                "add" => Command::ProcessAdd(
                    which,
                    words.number("a process id")?,
                    words.next("a process name")?.to_owned(),
                    words.parsed("a number of bytes", |word| {
                        word.parse().ok().filter(|bytes| *bytes < 1 << 50)
                    })?,
                ),
                "remove" => Command::ProcessRemove(
                    which,
                    words.parsed("a process id or `all`", |word| match word {
                        "all" => Some(None),
                        word => word.parse().ok().map(Some),
                    })?,
                ),
                word => return Err(CommandError::Wrong { word: word.to_owned(), what: "`add` or `remove`" }),
            },
            _ => Command::Load(
                which,
                words.parsed("idle, scenario or a percentage", |word| match word {
                    "idle" => Some(Some(0)),
                    "scenario" => Some(None),
                    _ => word.trim_end_matches('%').parse().ok().filter(|load| *load <= 100).map(Some),
                })?,
            ),
        })
    }
}

const COMMANDS: &[&str] = &[
    "lost",
    "restore",
    "block",
    "read-file",
    "return",
    "clear",
    "driver",
    "ecc",
    "remap",
    "throttle",
    "xid",
    "pcie",
    "nvlink",
    "set",
    "recovery",
    "process",
    "load",
];

/// Appends a command to the log of a folder, stamped with `unix_ms`, and wakes every process that waits.
///
/// # Errors
/// The log or the generation file cannot be written.
pub fn append(dir: &Path, command: &str, unix_ms: u64) -> std::io::Result<()> {
    let generation = Generation::open(&dir.join("control.gen"))?;
    let mut log = File::options().append(true).open(dir.join("control.log"))?;
    // SAFETY: flock on an open descriptor; released when the file closes at the end of this function.
    if unsafe { libc::flock(log.as_raw_fd(), libc::LOCK_EX) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    log.write_all(format!("{unix_ms} {command}\n").as_bytes())?;
    generation.bump();
    Ok(())
}

/// Reads the complete lines that were added to the log after `offset` and moves `offset` past them.
/// Lines that are not a stamp and a command are skipped.
pub(crate) fn read_new(log: &mut File, offset: &mut u64) -> Vec<(u64, Command)> {
    let mut text = Vec::new();
    if log.seek(SeekFrom::Start(*offset)).is_err() || log.take(1 << 20).read_to_end(&mut text).is_err() {
        return Vec::new();
    }
    let Some(end) = text.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
    *offset += end as u64 + 1;
    String::from_utf8_lossy(&text[..end])
        .lines()
        .filter_map(|line| {
            let (stamp, command) = line.split_once(' ')?;
            Some((stamp.parse().ok()?, Command::parse(command).ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_command_of_the_language_parses() {
        let good = [
            "lost 0",
            "restore all",
            "block 1 * forever",
            "block 1 GetPowerUsage 3",
            "read-file 2 nvmlDeviceGetTemperature /mnt/stuck/file",
            "return 0 GetPowerUsage 15",
            "return 0 field:82 not_supported",
            "clear 0",
            "clear 0 GetPowerUsage",
            "driver unload",
            "driver load",
            "driver load 595.71.05",
            "ecc 3 corrected +12",
            "remap 3 uncorrected +1",
            "remap 3 pending on",
            "throttle all 0x40",
            "throttle 0 64",
            "xid 0 79",
            "xid 0 48 3",
            "xid 0 13 gi=2 ci=0",
            "xid 0 13 4 gi=2",
            "pcie 0 gen 3",
            "pcie 0 width 8",
            "pcie 0 replay +4",
            "nvlink 0 3 down",
            "nvlink 0 all crc +100",
            "set 0 temperature_gpu_celsius 91",
            "set 0 temperature_gpu_celsius !timeout",
            "recovery 0 drain-and-reset",
            "process 0 add 4242 python3 1073741824",
            "process 0 remove 4242",
            "load 0 idle",
            "load all 80%",
            "load all scenario",
        ];
        for line in good {
            assert!(Command::parse(line).is_ok(), "{line}: {:?}", Command::parse(line));
        }
        assert_eq!(Command::parse("throttle 0 0x40"), Command::parse("throttle 0 64"));
        assert_eq!(
            Command::parse("xid 0 13 gi=2 4 ci=1"),
            Ok(Command::Xid(Which::One(0), 13, 4, Instances { gpu: 2, compute: 1 }))
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (line, message) in [
            ("", "command is empty"),
            ("explode 0", "command `explode` is not known"),
            ("lost", "command `lost` needs a GPU index or `all`"),
            ("lost 64", "`64` is not a GPU index or `all`"),
            ("lost 0 now", "`now` is more than the command takes"),
            ("ecc 0 corrected 5", "`5` is not a growth such as +1"),
            ("set 0 nonsense 5", "`nonsense` is not the edge name of a figure"),
            ("xid 0 13 65", "`65` is not a count of 1..64"),
            ("xid 0 13 1 2", "`2` is more than the command takes"),
            ("xid 0 13 gi=x", "`gi=x` is not an instance such as gi=2"),
            ("nvlink 0 18 down", "`18` is not a link number (0..17) or `all`"),
        ] {
            assert_eq!(
                Command::parse(line).map_err(|error| error.to_string()),
                Err(message.to_owned()),
                "{line}"
            );
        }
    }

    proptest! {
        #[test]
        fn the_parser_is_total(line in ".*") {
            let _ = Command::parse(&line);
        }

        #[test]
        fn the_parser_is_total_on_almost_commands(
            command in prop::sample::select(COMMANDS),
            rest in prop::collection::vec("(all|[0-9]{1,12}|\\+[0-9]{1,12}|[a-z:*!_]{1,12}|0x[0-9a-f]{1,20})", 0..6),
        ) {
            let _ = Command::parse(&format!("{command} {}", rest.join(" ")));
        }
    }
}
