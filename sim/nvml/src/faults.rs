//! Faults of calls: a GPU that is lost, and rules that block a call or answer in its place.

use crate::abi::{GPU_IS_LOST, Ret};
use crate::control::Fault;
use crate::world::World;
use std::io::Read;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const LOST: u32 = 1;
const RULES: u32 = 2;

#[derive(Debug, Clone)]
struct Rule {
    number: u64,
    function: String,
    fault: Fault,
}

/// The faults of one GPU. Without any, a call pays one atomic load.
#[derive(Debug, Default)]
pub struct Faults {
    flags: AtomicU32,
    rules: Mutex<(u64, Vec<Rule>)>,
}

impl Faults {
    /// Takes the GPU off the bus, or puts it back.
    pub fn set_lost(&self, lost: bool) {
        if lost {
            self.flags.fetch_or(LOST, Ordering::AcqRel);
        } else {
            self.flags.fetch_and(!LOST, Ordering::AcqRel);
        }
    }

    /// True when the GPU is off the bus.
    pub fn is_lost(&self) -> bool {
        self.flags.load(Ordering::Acquire) & LOST != 0
    }

    /// Adds a rule; it replaces one of the same kind for the same function.
    pub fn add(&self, function: &str, fault: Fault) {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = std::mem::discriminant(&fault);
        rules.1.retain(|rule| rule.function != function || std::mem::discriminant(&rule.fault) != kind);
        rules.0 += 1;
        let number = rules.0;
        rules.1.push(Rule { number, function: function.to_owned(), fault });
        self.flags.fetch_or(RULES, Ordering::AcqRel);
    }

    /// Removes the rules of one function, or all.
    pub fn clear(&self, function: Option<&str>) {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.1.retain(|rule| function.is_some_and(|function| rule.function != function));
        if rules.1.is_empty() {
            self.flags.fetch_and(!RULES, Ordering::AcqRel);
        }
    }

    /// The present rules as text, for people.
    pub fn describe(&self) -> Vec<String> {
        let rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.1.iter().map(|rule| format!("{} {:?}", rule.function, rule.fault)).collect()
    }

    fn holds(&self, number: u64) -> bool {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).1.iter().any(|rule| rule.number == number)
    }

    /// What a call named `function` meets: blocks, reads a file, or fails; then a lost GPU fails it.
    /// `any` says whether rules for `*` count.
    ///
    /// # Errors
    /// The return code that the call must answer with.
    pub fn pass(&self, world: &World, function: &str, any: bool) -> Result<(), Ret> {
        let flags = self.flags.load(Ordering::Acquire);
        if flags == 0 {
            return Ok(());
        }
        if flags & RULES != 0 {
            self.meet_rules(world, function, any)?;
        }
        if self.is_lost() { Err(GPU_IS_LOST) } else { Ok(()) }
    }

    fn meet_rules(&self, world: &World, function: &str, any: bool) -> Result<(), Ret> {
        let matching: Vec<Rule> = {
            let rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
            rules
                .1
                .iter()
                .filter(|rule| rule.function == function || (any && rule.function == "*"))
                .cloned()
                .collect()
        };
        let mut answer = Ok(());
        for rule in matching {
            match &rule.fault {
                Fault::Block(seconds) => self.block(world, rule.number, *seconds),
                Fault::ReadFile(path) => {
                    // What the file says does not matter: opening and reading it is what may hang.
                    let mut byte = [0];
                    let _ = std::fs::File::open(path).and_then(|mut file| file.read(&mut byte));
                }
                Fault::Return(code) if *code != 0 => answer = Err(*code),
                Fault::Return(_) => {}
            }
        }
        answer
    }

    /// Sleeps until the time is over or the rule is cleared.
    fn block(&self, world: &World, number: u64, seconds: Option<u32>) {
        let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(u64::from(seconds)));
        loop {
            let seen = world.generation().now();
            world.sync();
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) || !self.holds(number) {
                return;
            }
            world.generation().wait(seen, left);
        }
    }
}
