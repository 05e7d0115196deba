//! One thing that a server is, and the list of them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::catalogue;

/// Most facts of one machine. An eight-GPU server with 32 memory modules and 24 disks has about a thousand.
pub const FACTS_MAX: usize = 4096;

/// Longest value, in bytes; a longer one is cut.
pub const VALUE_BYTES_MAX: usize = 256;

/// Longest name of an instance, in bytes; a longer one is cut.
const INSTANCE_BYTES_MAX: usize = 96;

macro_rules! components {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A kind of part. Names are stable; the order is that of the list.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Component {
            $($(#[$doc])* $variant,)*
        }

        impl Component {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The stable name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

components! {
    /// The server as its maker sells it.
    System = "system",
    /// Its firmware.
    Bios = "bios",
    /// What UEFI tells the operating system.
    Uefi = "uefi",
    /// A baseboard.
    Board = "board",
    /// The enclosure.
    Chassis = "chassis",
    /// A processor; the instance `all` is what is the same for all.
    Cpu = "cpu",
    /// A memory module, or the place for one.
    Memory = "memory",
    /// A place for a card.
    Slot = "slot",
    /// The trusted platform module.
    Tpm = "tpm",
    /// A PCI device.
    Pci = "pci",
    /// A GPU.
    Gpu = "gpu",
    /// An NVMe controller.
    Nvme = "nvme",
    /// A network interface.
    Nic = "nic",
    /// An RDMA device, or a port of one.
    Rdma = "rdma",
    /// The baseboard management controller.
    Bmc = "bmc",
    /// A piece of firmware, as the baseboard management controller lists it.
    Firmware = "firmware",
    /// The kernel of the operating system.
    Kernel = "kernel",
    /// A driver that is not part of the kernel.
    Driver = "driver",
    /// A card that was taken out, or is going to be: somebody said so.
    Swap = "swap",
}

/// One thing that a server is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fact {
    /// Of which kind of part.
    pub component: Component,
    /// Which one: a place on the board, a PCI address, a number.
    pub instance: String,
    /// What about it: one of [`super::FIELDS`].
    pub field: String,
    /// What it is, at most [`VALUE_BYTES_MAX`] bytes, without control characters.
    pub value: String,
}

impl Fact {
    /// What the fact is about; no list has it twice.
    pub fn key(&self) -> (Component, &str, &str) {
        (self.component, &self.instance, &self.field)
    }
}

/// Takes facts from the readers.
#[derive(Debug, Default)]
pub(super) struct Facts {
    facts: Vec<Fact>,
    left_out: usize,
}

impl Facts {
    /// Notes a fact; one without a value is none.
    pub(super) fn put(&mut self, component: Component, instance: &str, field: &str, value: impl AsRef<str>) {
        debug_assert!(catalogue::field(component, field).is_some(), "{} {field}", component.name());
        let value = clean(value.as_ref(), VALUE_BYTES_MAX);
        if value.is_empty() {
            return;
        }
        if self.facts.len() == FACTS_MAX {
            self.left_out += 1;
            return;
        }
        let instance = clean(instance, INSTANCE_BYTES_MAX);
        self.facts.push(Fact { component, instance, field: field.to_owned(), value });
    }

    /// The same where there may be no value.
    pub(super) fn put_some<V: AsRef<str>>(
        &mut self,
        component: Component,
        instance: &str,
        field: &str,
        value: Option<V>,
    ) {
        if let Some(value) = value {
            self.put(component, instance, field, value);
        }
    }

    /// The list in order, and how many facts there was no room for.
    pub(super) fn finish(mut self) -> (Vec<Fact>, usize) {
        self.facts.sort_unstable();
        self.facts.dedup_by(|one, kept| one.key() == kept.key());
        (self.facts, self.left_out)
    }
}

/// Gives parts of the same name names of their own: the second `DIMM 0` is `DIMM 0 (2)`.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeSet<String>);

impl Names {
    pub(super) fn unique(&mut self, name: &str) -> String {
        let mut own = name.to_owned();
        let mut number = 2;
        while !self.0.insert(own.clone()) {
            own = format!("{name} ({number})");
            number += 1;
        }
        own
    }
}

/// A text that is safe to show, without white space at its ends: control characters and those that
/// turn the direction of writing become U+FFFD, what is too long is cut between characters.
pub(super) fn clean(text: &str, bytes_max: usize) -> String {
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    let mut out = String::new();
    for c in text.chars() {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let c = if c.is_control() || turns { char::REPLACEMENT_CHARACTER } else { c };
        if out.len() + c.len_utf8() > bytes_max {
            break;
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_those_of_the_wire() {
        for component in Component::ALL {
            let json = serde_json::to_string(component).expect("name");
            assert_eq!(json, format!("{:?}", component.name()));
        }
    }

    #[test]
    fn a_list_is_in_order_without_doubles_and_has_an_end() {
        let mut facts = Facts::default();
        facts.put(Component::Nvme, "b", "model", "two");
        facts.put(Component::Bios, "0", "vendor", " one\n");
        facts.put(Component::Nvme, "b", "model", "two");
        facts.put(Component::Nvme, "a", "model", "");
        let (list, left_out) = facts.finish();
        let values: Vec<_> = list.iter().map(|fact| fact.value.as_str()).collect();
        assert_eq!((values, left_out), (vec!["one", "two"], 0));
        let mut facts = Facts::default();
        for number in 0..FACTS_MAX + 3 {
            facts.put(Component::Nvme, &number.to_string(), "model", "x");
        }
        let (list, left_out) = facts.finish();
        assert_eq!((list.len(), left_out), (FACTS_MAX, 3));
    }

    #[test]
    fn what_would_move_the_cursor_or_turn_the_line_is_replaced() {
        assert_eq!(clean(" a\u{1b}[31m\u{202e}b\0 \n", 64), "a\u{fffd}[31m\u{fffd}b");
        assert_eq!(clean("ä€", 4), "ä");
    }

    #[test]
    fn parts_of_one_name_are_told_apart() {
        let mut names = Names::default();
        let given: Vec<_> = ["A", "A", "B", "A"].iter().map(|name| names.unique(name)).collect();
        assert_eq!(given, ["A", "A (2)", "B", "A (3)"]);
    }

    proptest! {
        #[test]
        fn whatever_stands_somewhere_can_be_shown(text: Vec<char>, longest in 0_usize..64) {
            let shown = clean(&text.into_iter().collect::<String>(), longest);
            prop_assert!(shown.len() <= longest && !shown.contains(char::is_control));
        }
    }
}
