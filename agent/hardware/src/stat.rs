//! One line of `/proc/<pid>/stat` (proc(5)).

/// Positions after the name; proc(5) counts them from 3.
const MINOR_FAULTS: usize = 7;
const MAJOR_FAULTS: usize = 9;
const USER_TICKS: usize = 11;
const SYSTEM_TICKS: usize = 12;
const THREADS: usize = 17;
const START_TICKS: usize = 19;

/// A `stat` line of which only the name and the state are taken apart at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat<'a> {
    /// The name without its parentheses, as the process chose it: any bytes.
    pub name: &'a [u8],
    /// `R`, `S`, `D`, `Z` and so on.
    pub state: u8,
    fields: &'a [u8],
}

impl<'a> Stat<'a> {
    /// `None` for what is no such line. A process may put parentheses and spaces
    /// into its name, and it ends at the last one.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let begin = line.iter().position(|byte| *byte == b'(')? + 1;
        let end = line.iter().rposition(|byte| *byte == b')').filter(|end| *end >= begin)?;
        let fields = line.get(end + 2..)?;
        Some(Self { name: &line[begin..end], state: *fields.first()?, fields })
    }

    /// Threads of its process.
    pub fn threads(&self) -> Option<u64> {
        self.number(THREADS)
    }

    /// When it was started, in ticks since boot; with its id it names a process
    /// for good.
    pub fn start_ticks(&self) -> Option<u64> {
        self.number(START_TICKS)
    }

    /// A number that moves on when it has done anything at all.
    pub fn progress(&self) -> u64 {
        [MINOR_FAULTS, MAJOR_FAULTS, USER_TICKS, SYSTEM_TICKS]
            .into_iter()
            .filter_map(|at| self.number(at))
            .fold(0, u64::wrapping_add)
    }

    fn number(&self, at: usize) -> Option<u64> {
        let field = self.fields.split(|byte| *byte == b' ').nth(at)?;
        std::str::from_utf8(field.trim_ascii()).ok()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_name_may_hold_whatever_a_process_likes() {
        let line = b"7 (a) D (b) S 1 7 7 0 -1 4194560 5 0 3 0 250 50 0 0 20 0 3 0 123 2 3\n";
        let stat = Stat::parse(line).expect("stat");
        assert_eq!((stat.name, stat.state), (&b"a) D (b"[..], b'S'));
        assert_eq!((stat.threads(), stat.start_ticks(), stat.progress()), (Some(3), Some(123), 308));
        for line in [&b""[..], b"7", b"7 (", b"7 )", b") S (", b"7 (a)", b"7 (a) "] {
            assert_eq!(Stat::parse(line), None, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_without_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(stat) = Stat::parse(&line) {
                let _ = (stat.threads(), stat.start_ticks(), stat.progress());
            }
        }

        #[test]
        fn what_was_written_is_read(
            name in "[ -~]{0,15}", state in "[RSDZTI]", start: u64, threads: u64, user in 0..u64::MAX / 4, faults in 0..u64::MAX / 4,
        ) {
            let line = format!("9 ({name}) {state} 1 9 9 0 -1 0 {faults} 0 0 0 {user} 0 0 0 20 0 {threads} 0 {start} 1\n");
            let stat = Stat::parse(line.as_bytes()).expect("a line of the kernel");
            prop_assert_eq!(stat.name, name.as_bytes());
            prop_assert_eq!(stat.state, state.as_bytes()[0]);
            prop_assert_eq!(stat.start_ticks(), Some(start));
            prop_assert_eq!(stat.threads(), Some(threads));
            prop_assert_eq!(stat.progress(), user + faults);
        }
    }
}
