//! Cards that somebody said were taken out, so that a verifier can tell a declared move from an unexplained one.

use super::fact::{Component, Facts};

/// A card that was taken out, or is going to be, under a ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredSwap {
    /// Its UUID, where it is known.
    pub removed_uuid: Option<String>,
    /// Its serial number, where it has one.
    pub removed_serial: Option<String>,
    /// The ticket.
    pub ticket: String,
}

/// The instance is the card's own name, so that a card which comes and goes again has its newest ticket.
pub(super) fn put(swaps: &[DeclaredSwap], facts: &mut Facts) {
    for swap in swaps {
        let Some(instance) = swap.removed_uuid.as_ref().or(swap.removed_serial.as_ref()) else { continue };
        facts.put_some(Component::Swap, instance, "removed_uuid", swap.removed_uuid.as_ref());
        facts.put_some(Component::Swap, instance, "removed_serial", swap.removed_serial.as_ref());
        facts.put(Component::Swap, instance, "ticket", &swap.ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_is_told_by_the_name_of_the_card() {
        let swap = |uuid: Option<&str>, serial: Option<&str>, ticket: &str| DeclaredSwap {
            removed_uuid: uuid.map(str::to_owned),
            removed_serial: serial.map(str::to_owned),
            ticket: ticket.to_owned(),
        };
        let mut facts = Facts::default();
        put(
            &[swap(Some("GPU-a"), Some("1"), "T-1"), swap(None, Some("2"), "T-2"), swap(None, None, "T-3")],
            &mut facts,
        );
        let (facts, _) = facts.finish();
        let told: Vec<_> = facts.iter().map(|fact| (&*fact.instance, &*fact.field, &*fact.value)).collect();
        assert_eq!(
            told,
            [
                ("2", "removed_serial", "2"),
                ("2", "ticket", "T-2"),
                ("GPU-a", "removed_serial", "1"),
                ("GPU-a", "removed_uuid", "GPU-a"),
                ("GPU-a", "ticket", "T-1")
            ]
        );
    }
}
