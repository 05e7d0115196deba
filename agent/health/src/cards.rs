//! Which card sits in which slot: cards that are replaced or moved, and what was declared of that.
//!
//! A card takes what stands against it along. One that this node never had before, in the place of another, is
//! unknown until somebody vouches for it.

use serde::{Deserialize, Serialize};

use crate::advice::Effect;
use crate::catalogue::Code;
use crate::clock::Now;
use crate::condition::{Acknowledged, Advised};
use crate::occupancy::{Refusal, check_until, check_words};
use crate::state::{Gpu, Memory, State};
use crate::transition::{ClearedBy, Transition};
use crate::view::{GpuView, Gpus};
use crate::xid::Lasts;

/// Cards whose conditions are kept after they left, oldest forgotten first.
pub const SHELF_MAX: usize = 32;

/// Occupants remembered per slot, oldest forgotten first.
pub const OCCUPANTS_MAX: usize = 16;

/// Swaps remembered, oldest forgotten first.
pub const SWAPS_MAX: usize = 32;

/// The names of a card that go with it wherever it is put. Consumer cards have no serial number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Card {
    /// Its serial number.
    pub serial: Option<String>,
    /// Its UUID.
    pub uuid: Option<String>,
}

impl Card {
    /// Of a GPU as it is seen; none where neither name was read yet.
    fn of(view: &GpuView<'_>) -> Option<Self> {
        let card = Self { serial: view.serial.map(str::to_owned), uuid: view.uuid.map(str::to_owned) };
        (card != Self::default()).then_some(card)
    }

    /// Whether it is this one: by serial number where both have one, else by UUID. None where there is nothing to
    /// compare.
    fn is(&self, serial: Option<&str>, uuid: Option<&str>) -> Option<bool> {
        match (self.serial.as_deref(), serial, self.uuid.as_deref(), uuid) {
            (Some(mine), Some(other), ..) => Some(mine == other),
            (_, _, Some(mine), Some(other)) => Some(mine == other),
            _ => None,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        self.is(other.serial.as_deref(), other.uuid.as_deref()) == Some(true)
    }

    /// The name that people know it by.
    pub fn name(&self) -> &str {
        self.serial.as_deref().or(self.uuid.as_deref()).unwrap_or("unknown")
    }
}

/// A card that was in a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occupant {
    /// Which.
    #[serde(flatten)]
    pub card: Card,
    /// First seen there, milliseconds since 1970.
    pub since_unix_ms: u64,
}

/// A card that left, and what stood against it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shelved {
    /// Which.
    #[serde(flatten)]
    pub card: Card,
    /// What stood against it.
    #[serde(deserialize_with = "crate::condition::read_known")]
    pub conditions: Vec<crate::Condition>,
}

/// Somebody's word that the card in a slot is going to be taken out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declared {
    /// The ticket.
    pub ticket: String,
    /// Who says so.
    pub by: String,
    /// The card.
    pub card: Card,
    /// When it was said, milliseconds since 1970.
    pub at_unix_ms: u64,
    /// Until when it counts, milliseconds since 1970.
    pub until_unix_ms: u64,
}

/// A card that was replaced by another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    /// In which slot.
    pub slot: u8,
    /// The card that left.
    pub removed: Card,
    /// The card that came.
    pub arrived: Card,
    /// When it was seen, milliseconds since 1970.
    pub at_unix_ms: u64,
    /// The ticket it was declared under; none while nobody declared it.
    pub ticket: Option<String>,
}

/// Notes which card sits in which slot; a card takes its own history with it.
pub(crate) fn seat(state: &mut State, gpus: &dyn Gpus, now: Now, out: &mut Vec<Transition>) {
    if !(0..gpus.count()).any(|at| is_news(&state.gpus[at], &gpus.gpu(at))) {
        return;
    }
    state.revision += 1;
    // All leave before the first one arrives: two cards may have changed places.
    let mut vacant = Vec::with_capacity(gpus.count());
    for at in 0..gpus.count() {
        let view = gpus.gpu(at);
        let Some(occupant) = state.gpus[at].occupants.last_mut() else {
            vacant.push((at, None));
            continue;
        };
        if occupant.card.is(view.serial, view.uuid) == Some(false) {
            let removed = occupant.card.clone();
            leave(state, at, view.slot, &removed, out);
            vacant.push((at, Some(removed)));
        } else {
            // A name that could not be read before.
            let learn = |known: &mut Option<String>, new: Option<&str>| {
                *known = known.take().or_else(|| new.map(str::to_owned));
            };
            learn(&mut occupant.card.serial, view.serial);
            learn(&mut occupant.card.uuid, view.uuid);
        }
    }
    for (at, removed) in vacant {
        if let Some(card) = Card::of(&gpus.gpu(at)) {
            arrive(state, (at, gpus.gpu(at).slot), removed, card, now, out);
        }
    }
}

/// Another card than the one that is known to be there, or a name of it that was not.
fn is_news(gpu: &Gpu, view: &GpuView<'_>) -> bool {
    let Some(Occupant { card, .. }) = gpu.occupants.last() else {
        return view.serial.is_some() || view.uuid.is_some();
    };
    card.is(view.serial, view.uuid) == Some(false)
        || (card.serial.is_none() && view.serial.is_some())
        || (card.uuid.is_none() && view.uuid.is_some())
}

fn leave(state: &mut State, at: usize, slot: u8, card: &Card, out: &mut Vec<Transition>) {
    let gpu = &mut state.gpus[at];
    let conditions = gpu.conditions.leave(Some(slot), out);
    gpu.memory = Memory::default();
    // What ran on this card says nothing of the next one.
    gpu.occupancy.burn_in = None;
    gpu.links_seen = 0;
    gpu.retired.clear();
    state.shelf.retain(|shelved| !shelved.card.is_same(card));
    if !conditions.is_empty() {
        if state.shelf.len() >= SHELF_MAX {
            state.shelf.remove(0);
        }
        state.shelf.push(Shelved { card: card.clone(), conditions });
    }
}

fn arrive(
    state: &mut State,
    (at, slot): (usize, u8),
    removed: Option<Card>,
    card: Card,
    now: Now,
    out: &mut Vec<Transition>,
) {
    let before = last_seen(state, &card);
    if let Some(known) = state.shelf.iter().position(|shelved| shelved.card.is_same(&card)) {
        let shelved = state.shelf.remove(known);
        state.gpus[at].conditions.arrive(shelved.conditions, now);
    }
    let gpu = &mut state.gpus[at];
    if gpu.occupants.len() >= OCCUPANTS_MAX {
        gpu.occupants.remove(0);
    }
    gpu.occupants.push(Occupant { card: card.clone(), since_unix_ms: now.unix_ms });
    if let Some(removed) = removed {
        let declared = gpu.declared.take_if(|declared| declared.card.is_same(&removed));
        let ticket =
            declared.filter(|declared| declared.until_unix_ms > now.unix_ms).map(|declared| declared.ticket);
        if before.is_none() {
            let words = match &ticket {
                Some(ticket) => format!("card {}, ticket {ticket}", card.name()),
                None => format!("card {}, which nobody declared", card.name()),
            };
            put_up_untested(gpu, words, now);
        }
        let (from, to) = (removed.clone(), card.clone());
        out.push(Transition::CardChanged { slot, from, to, ticket: ticket.clone() });
        if state.swaps.len() >= SWAPS_MAX {
            state.swaps.remove(0);
        }
        state.swaps.push(Swap { slot, removed, arrived: card, at_unix_ms: now.unix_ms, ticket });
    }
    if let Some(from_slot) = before.filter(|from_slot| *from_slot != slot) {
        out.push(Transition::CardMoved { slot, from_slot });
    }
}

/// The slot that a card was seen in last.
fn last_seen(state: &State, card: &Card) -> Option<u8> {
    let slots = (0_u8..).zip(&state.gpus);
    let stays = slots.flat_map(|(slot, gpu)| gpu.occupants.iter().map(move |occupant| (slot, occupant)));
    let known = stays.filter(|(_, occupant)| occupant.card.is_same(card));
    known.max_by_key(|(_, occupant)| occupant.since_unix_ms).map(|(slot, _)| slot)
}

fn put_up_untested(gpu: &mut Gpu, words: String, now: Now) {
    let entry = Code::CardUntested.entry();
    let advised = Advised {
        severity: entry.severity,
        action: entry.action,
        effect: Effect::Unknown,
        lasts: Lasts::UntilAcknowledged,
    };
    gpu.conditions.latch((Code::CardUntested, 0, None), advised, || words, now);
}

/// Takes somebody's word on a swap: it explains the one that was seen and that nobody declared, or announces one. With
/// `tested_by`, the present card has been tested.
pub(crate) fn declare(
    state: &mut State,
    slot: u8,
    (ticket, until_unix_ms): (&str, u64),
    tested_by: Option<&str>,
    by: &str,
    now: Now,
    out: &mut Vec<Transition>,
) -> Result<(), Refusal> {
    check_words(ticket)?;
    check_until(until_unix_ms, now)?;
    tested_by.map_or(Ok(()), check_words)?;
    let gpu = state.gpus.get_mut(usize::from(slot)).ok_or(Refusal::Nothing("there is no such GPU"))?;
    let Some(Occupant { card, .. }) = gpu.occupants.last().cloned() else {
        return Err(Refusal::Nothing("neither serial number nor UUID of the card was read yet"));
    };
    let last = state.swaps.iter_mut().rev().find(|swap| swap.slot == slot);
    let explained = last.filter(|swap| swap.arrived.is_same(&card));
    let known = explained.as_ref().and_then(|swap| swap.ticket.as_deref());
    if let Some(tester) = tested_by {
        if !gpu.conditions.all().iter().any(is_untested) {
            return Err(Refusal::Nothing("the card needs no test"));
        }
        if known.is_some_and(|known| known != ticket) {
            return Err(Refusal::Nothing("the card came under another ticket"));
        }
        tested(gpu, slot, format!("{by}, tested by {tester}"), now, out);
    }
    match explained {
        Some(swap) if swap.ticket.is_none() => swap.ticket = Some(ticket.to_owned()),
        // The word on the test comes under the ticket that the swap is known by.
        _ if tested_by.is_some() => return Ok(()),
        _ => {
            let (ticket, by) = (ticket.to_owned(), by.to_owned());
            gpu.declared = Some(Declared { ticket, by, card, at_unix_ms: now.unix_ms, until_unix_ms });
        }
    }
    let (ticket, by) = (ticket.to_owned(), by.to_owned());
    out.push(Transition::SwapDeclared { slot, ticket, by, until_unix_ms });
    Ok(())
}

pub(crate) fn is_untested(condition: &crate::Condition) -> bool {
    condition.code == Code::CardUntested
}

/// Somebody vouches for the card.
pub(crate) fn tested(gpu: &mut Gpu, slot: u8, by: String, now: Now, out: &mut Vec<Transition>) {
    gpu.conditions.note(is_untested, &Acknowledged { by: by.clone(), at_unix_ms: now.unix_ms });
    gpu.conditions.clear(Some(slot), ClearedBy::Acknowledged, is_untested, out);
    let code = Code::CardUntested.name().to_owned();
    out.push(Transition::Acknowledged { slot: Some(slot), code, key: 0, by });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(serial: &str, uuid: &str) -> Card {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Card { serial: some(serial), uuid: some(uuid) }
    }

    #[test]
    fn a_card_is_known_by_its_serial_number_and_without_one_by_its_uuid() {
        let whole = card("1", "GPU-a");
        assert_eq!(whole.is(Some("1"), Some("GPU-b")), Some(true));
        assert_eq!(whole.is(Some("2"), Some("GPU-a")), Some(false));
        assert_eq!(whole.is(None, Some("GPU-b")), Some(false));
        assert_eq!(card("", "GPU-a").is(Some("2"), Some("GPU-a")), Some(true));
        assert_eq!(card("1", "").is(None, Some("GPU-a")), None, "nothing to compare is no other card");
    }

    #[test]
    fn cards_of_a_version_that_knew_serial_numbers_only_are_read() {
        let read: Occupant = serde_json::from_str(r#"{"serial":"1","since_unix_ms":5}"#).expect("read");
        assert_eq!(read, Occupant { card: card("1", ""), since_unix_ms: 5 });
    }
}
