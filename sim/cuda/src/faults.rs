//! What is wrong with the simulated GPUs: lines of text, written by `cuda-sim do`, read before every launch.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The file in the folder.
pub const FILE: &str = "cuda.faults";

/// Why a line is no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// The first word is not known.
    #[error("fault `{0}` is not known")]
    Unknown(String),
    /// A word is missing.
    #[error("fault `{fault}` needs {what}")]
    Missing {
        /// The fault.
        fault: String,
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
    #[error("`{0}` is more than the fault takes")]
    Surplus(String),
}

/// What becomes of an element of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoiled {
    /// This bit of it is flipped.
    Bit(u32),
    /// It is not a number.
    Nan,
    /// It is infinite.
    Infinity,
}

/// What happens to a bit of memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// It holds this value, whatever is written.
    Stuck(bool),
    /// It flips once, before the next launch of this entry.
    Once(String),
}

/// When a product is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Every time.
    Always,
    /// Once, in the next launch.
    Once,
    /// Once, in the launch of this number of its entry in a process, from 0.
    Launch(u64),
}

/// A fault of one GPU.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// `cuInit` answers with this code.
    Init(u32),
    /// Loading a module answers with this code.
    Module(u32),
    /// Only so many thousandths of the memory are free.
    Left(u32),
    /// A launch (of this entry) fails with this code, and so does every call after it.
    Sticky(u32, Option<String>),
    /// Waiting does not end as long as this holds.
    Hang,
    /// Waiting reads this file first: where its file system does not answer, no signal reaches the process.
    ReadFile(PathBuf),
    /// Launches return and do nothing.
    Idle,
    /// This block of every launch does not run.
    Skip(u32),
    /// Launches take so many times as long.
    Slow(f64),
    /// A bit of memory, by the byte offset of its word of 8 bytes in the largest allocation.
    Word {
        /// Byte offset.
        offset: u64,
        /// Bit, 0 to 63.
        bit: u32,
        /// What happens to it.
        cell: Cell,
    },
    /// An element of a product.
    Product {
        /// Which entry; any if absent.
        entry: Option<String>,
        /// Tile.
        tile: u32,
        /// Row in it.
        row: u32,
        /// Column in it.
        column: u32,
        /// What becomes of it.
        spoiled: Spoiled,
        /// When.
        when: When,
    },
    /// On this multiprocessor, this bit of the first element of every tile is flipped.
    Multiprocessor(u32, u32),
}

/// A fault, the GPU it is of and a number that no other has.
#[derive(Debug, Clone, PartialEq)]
pub struct Ordered {
    /// Its number.
    pub number: u64,
    /// The GPU, by its position in the folder; all if absent.
    pub gpu: Option<usize>,
    /// What.
    pub fault: Fault,
}

struct Words<'a> {
    fault: &'a str,
    words: std::str::SplitWhitespace<'a>,
}

impl<'a> Words<'a> {
    fn word(&mut self, what: &'static str) -> Result<&'a str, FaultError> {
        self.words.next().ok_or_else(|| FaultError::Missing { fault: self.fault.to_owned(), what })
    }

    fn number<N: std::str::FromStr>(&mut self, what: &'static str) -> Result<N, FaultError> {
        let word = self.word(what)?;
        word.parse().map_err(|_| FaultError::Wrong { word: word.to_owned(), what })
    }

    fn below(&mut self, end: u32, what: &'static str) -> Result<u32, FaultError> {
        let number: u32 = self.number(what)?;
        if number < end { Ok(number) } else { Err(FaultError::Wrong { word: number.to_string(), what }) }
    }
}

/// Reads a fault and its GPU, such as `word 0 4096 17 stuck1`.
///
/// # Errors
/// Anything that is not one fault, whole.
pub fn parse(line: &str) -> Result<(Option<usize>, Fault), FaultError> {
    let mut words = line.split_whitespace();
    let fault = words.next().unwrap_or_default();
    let mut words = Words { fault, words };
    let gpu = match fault {
        "init" => None,
        _ => match words.word("a GPU")? {
            "all" => None,
            word => Some(word.parse().map_err(|_| FaultError::Wrong {
                word: word.to_owned(),
                what: "a GPU's position or `all`",
            })?),
        },
    };
    let fault = match fault {
        "init" => Fault::Init(words.number("a code")?),
        "module" => Fault::Module(words.number("a code")?),
        "left" => Fault::Left(words.below(1001, "thousandths of the memory")?),
        "sticky" => Fault::Sticky(words.number("a code")?, words.words.next().map(str::to_owned)),
        "hang" => Fault::Hang,
        "read-file" => Fault::ReadFile(words.word("a file")?.into()),
        "idle" => Fault::Idle,
        "skip" => Fault::Skip(words.number("a block")?),
        "slow" => Fault::Slow(words.number("a factor")?),
        "word" => {
            let (offset, bit) = (words.number("a byte offset")?, words.below(64, "a bit below 64")?);
            let cell = match words.word("stuck0, stuck1 or once")? {
                "stuck0" => Cell::Stuck(false),
                "stuck1" => Cell::Stuck(true),
                "once" => Cell::Once(words.word("the entry before which it flips")?.to_owned()),
                word => {
                    return Err(FaultError::Wrong { word: word.to_owned(), what: "stuck0, stuck1 or once" });
                }
            };
            Fault::Word { offset, bit, cell }
        }
        "product" => {
            let entry = Some(words.word("an entry or `*`")?).filter(|word| *word != "*").map(str::to_owned);
            let tile = words.number("a tile")?;
            let (row, column) =
                (words.below(128, "a row below 128")?, words.below(128, "a column below 128")?);
            let spoiled = match words.word("a bit, nan or inf")? {
                "nan" => Spoiled::Nan,
                "inf" => Spoiled::Infinity,
                word => match word.parse() {
                    Ok(bit) if bit < 64 => Spoiled::Bit(bit),
                    _ => {
                        return Err(FaultError::Wrong {
                            word: word.to_owned(),
                            what: "a bit below 64, nan or inf",
                        });
                    }
                },
            };
            let when = match words.word("always, once or at")? {
                "always" => When::Always,
                "once" => When::Once,
                "at" => When::Launch(words.number("a launch")?),
                word => {
                    return Err(FaultError::Wrong { word: word.to_owned(), what: "always, once or at" });
                }
            };
            Fault::Product { entry, tile, row, column, spoiled, when }
        }
        "sm" => Fault::Multiprocessor(words.number("a multiprocessor")?, words.below(64, "a bit below 64")?),
        _ => return Err(FaultError::Unknown(fault.to_owned())),
    };
    match words.words.next() {
        Some(word) => Err(FaultError::Surplus(word.to_owned())),
        None => Ok((gpu, fault)),
    }
}

/// Faults of a file's text. A line that is none is left out: whoever wrote it was told.
#[must_use]
pub fn read(text: &str) -> Vec<Ordered> {
    text.lines()
        .filter_map(|line| {
            let (number, fault) = line.split_once(' ')?;
            let (gpu, fault) = parse(fault).ok()?;
            Some(Ordered { number: number.parse().ok()?, gpu, fault })
        })
        .collect()
}

/// Adds a fault to a folder, or takes all away with `clear`.
///
/// # Errors
/// A line that is no fault, or a file that cannot be written.
pub fn order(folder: &Path, line: &str) -> Result<(), io::Error> {
    let path = folder.join(FILE);
    let text = fs::read_to_string(&path)?;
    let number =
        text.lines().filter_map(|line| line.split(' ').next()?.parse::<u64>().ok()).max().unwrap_or(0) + 1;
    let text = if line.trim() == "clear" {
        // Numbers go on: what happened once under one of them would not happen again.
        format!("{number} clear\n")
    } else {
        parse(line).map_err(io::Error::other)?;
        format!("{text}{number} {line}\n")
    };
    // A reader sees the old file or the new one.
    let unfinished = folder.join(format!("{FILE}.new"));
    fs::write(&unfinished, text)?;
    fs::rename(unfinished, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_read_whole_or_refused() {
        assert_eq!(parse("init 100"), Ok((None, Fault::Init(100))));
        assert_eq!(parse("sticky 1 700"), Ok((Some(1), Fault::Sticky(700, None))));
        assert_eq!(
            parse("word all 4096 63 once memory_invert"),
            Ok((None, Fault::Word { offset: 4096, bit: 63, cell: Cell::Once("memory_invert".to_owned()) }))
        );
        let spoiled = Fault::Product {
            entry: None,
            tile: 3,
            row: 5,
            column: 127,
            spoiled: Spoiled::Nan,
            when: When::Always,
        };
        assert_eq!(parse("product 0 * 3 5 127 nan always"), Ok((Some(0), spoiled)));
        assert_eq!(parse("read-file 0 /a/b"), Ok((Some(0), Fault::ReadFile("/a/b".into()))));
        assert_eq!(parse("hang 0 now"), Err(FaultError::Surplus("now".to_owned())));
        assert!(parse("word 0 4096 64 stuck0").is_err());
        assert!(parse("word 0 4096").is_err());
        assert_eq!(parse("melt 0"), Err(FaultError::Unknown("melt".to_owned())));
    }
}
