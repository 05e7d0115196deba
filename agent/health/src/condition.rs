//! Conditions: what stands against a GPU or a node, since when, and how it ends.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::advice::{Action, Effect, Severity};
use crate::catalogue::{Code, Ends};
use crate::clock::{MINUTE_MS, Now};
use crate::transition::{ClearedBy, Transition};
use crate::xid::Lasts;

/// Most conditions of one GPU or node; an XID storm of every code of the catalogue stays below.
pub const CONDITIONS_MAX: usize = 256;

/// Most of them that may come from XIDs and other messages: the rest is kept for what readings say.
const LATCHED_MAX: usize = 192;

/// Longest detail in bytes.
pub const DETAIL_BYTES_MAX: usize = 400;

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::by_name(&name).ok_or_else(|| serde::de::Error::custom(format!("no condition {name:?}")))
    }
}

/// A MIG instance that an XID names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Instance {
    /// GPU instance.
    pub gpu_instance: u32,
    /// Compute instance in it.
    pub compute_instance: Option<u32>,
}

/// Who said that it is known, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// Who.
    pub by: String,
    /// When, milliseconds since 1970.
    pub at_unix_ms: u64,
}

/// Something that stands against a GPU or a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// What.
    pub code: Code,
    /// Which of its kind: the XID, the SXid, the number of the link; otherwise 0.
    pub key: u32,
    /// The MIG instance it is confined to.
    pub instance: Option<Instance>,
    /// How much it matters.
    pub severity: Severity,
    /// What is to be done.
    pub action: Action,
    /// What it does to the verdict.
    pub effect: Effect,
    /// When it began, milliseconds since 1970. Stays over restarts.
    pub since_unix_ms: u64,
    /// When it was last put up, milliseconds since 1970.
    pub last_unix_ms: u64,
    /// Figures, or the kernel's words.
    pub detail: String,
    /// Somebody knows of it.
    pub acknowledged: Option<Acknowledged>,
    /// For an XID: what ends it.
    pub lasts: Option<Lasts>,
    /// It was announced; only then its end is announced.
    announced: bool,
    /// Held long enough to be shown.
    ripe: bool,
    /// A cause of it is shown instead.
    hidden: bool,
    #[serde(skip)]
    timers: Timers,
}

/// On the clock since boot, so not kept: after a restart they begin anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Timers {
    /// When it was first seen by this daemon.
    began_boot_ms: Option<u64>,
    /// Last time it was found to hold.
    held_boot_ms: Option<u64>,
    /// Since when it is found not to.
    over_since_boot_ms: Option<u64>,
}

impl Condition {
    /// Is shown: held long enough, and no cause is shown instead.
    pub fn is_visible(&self) -> bool {
        self.ripe && !self.hidden
    }

    /// Counts for the verdict: held long enough, shown or not.
    pub fn counts(&self) -> bool {
        self.ripe
    }

    /// Is a consequence of something that is shown instead.
    pub fn is_hidden(&self) -> bool {
        self.hidden
    }

    /// A few words.
    pub fn title(&self) -> &'static str {
        match self.code {
            Code::Xid => crate::xid::advice(self.key).title,
            _ => self.code.entry().title,
        }
    }

    /// What to do.
    pub fn text(&self) -> &'static str {
        match self.code {
            Code::Xid => {
                let advice = crate::xid::advice(self.key);
                if self.action == advice.action {
                    advice.text
                } else {
                    asked_by_driver(self.action, advice.text)
                }
            }
            Code::SxId => crate::xid::sxid_advice(self.key, Some(self.severity == Severity::Critical)).text,
            _ => self.code.entry().text,
        }
    }

    /// Code and key in one word: `xid_79`, `nvlink_down_3`, `gpu_lost`.
    pub fn id(&self) -> String {
        self.code.id(self.key)
    }

    fn is(&self, code: Code, key: u32, instance: Option<Instance>) -> bool {
        self.code == code && self.key == key && self.instance == instance
    }
}

/// What to do where the driver asks for something else than the table does.
const fn asked_by_driver(action: Action, otherwise: &'static str) -> &'static str {
    match action {
        Action::None => "The driver itself asks for nothing since. Watch whether it comes again.",
        Action::ResetGpu => "The driver itself asks for a reset of the GPU. Let the work end and reset it.",
        Action::RebootNode => "The driver itself asks for a reboot. Let the work end and reboot the node.",
        Action::Drain => "The driver itself asks to end peer-to-peer work. Drain the GPU.",
        _ => otherwise,
    }
}

/// What a rule found in the readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// There is no reading to judge by: what stands stays.
    NoData,
    /// Fine.
    Fine,
    /// Not fine.
    Wrong,
}

impl Finding {
    /// Wrong where `wrong`.
    pub const fn wrong_if(wrong: bool) -> Self {
        if wrong { Self::Wrong } else { Self::Fine }
    }

    /// Wrong where the reading is so; no data where there is no reading.
    pub fn of<T>(reading: Option<T>, wrong: impl FnOnce(T) -> bool) -> Self {
        reading.map_or(Self::NoData, |value| Self::wrong_if(wrong(value)))
    }
}

/// What an XID or SXid puts up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advised {
    /// How much it matters.
    pub severity: Severity,
    /// What is to be done.
    pub action: Action,
    /// What it does to the verdict.
    pub effect: Effect,
    /// What ends it.
    pub lasts: Lasts,
}

/// All conditions of one GPU, or of the node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Conditions {
    list: Vec<Condition>,
    /// Something changed that is worth keeping, since [`Self::take_changed`].
    #[serde(skip)]
    changed: bool,
}

/// Reads conditions and passes over those that this version does not know.
pub(crate) fn read_known<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Condition>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Kept {
        Known(Box<Condition>),
        Other(serde::de::IgnoredAny),
    }
    let kept = Vec::<Kept>::deserialize(deserializer)?;
    let known = kept.into_iter().filter_map(|kept| match kept {
        Kept::Known(condition) => Some(*condition),
        Kept::Other(_) => None,
    });
    Ok(known.take(CONDITIONS_MAX).collect())
}

impl<'de> Deserialize<'de> for Conditions {
    /// Conditions that this version does not know are passed over, so that a newer judgement can be read.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { list: read_known(deserializer)?, changed: false })
    }
}

impl Conditions {
    /// Everything that stands, oldest first, whether shown or not.
    pub fn all(&self) -> &[Condition] {
        &self.list
    }

    /// What is shown, in no particular order.
    pub fn visible(&self) -> impl Iterator<Item = &Condition> {
        self.list.iter().filter(|condition| condition.is_visible())
    }

    /// Nothing stands.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether this one is shown.
    pub fn shows(&self, code: Code) -> bool {
        self.visible().any(|condition| condition.code == code)
    }

    /// Takes what a rule found. `detail` is asked for once, when the condition begins.
    pub(crate) fn level(
        &mut self,
        slot: Option<u8>,
        (code, key): (Code, u32),
        finding: Finding,
        detail: impl FnOnce() -> String,
        now: Now,
        out: &mut Vec<Transition>,
    ) {
        let at = self.list.iter().position(|condition| condition.is(code, key, None));
        match (finding, at) {
            (Finding::NoData, _) | (Finding::Fine, None) => {}
            (Finding::Wrong, None) => {
                let entry = code.entry();
                let advised = Advised {
                    severity: entry.severity,
                    action: entry.action,
                    effect: entry.effect,
                    lasts: Lasts::UntilAcknowledged,
                };
                self.begin(code, key, None, advised, None, &detail(), now);
            }
            (Finding::Wrong, Some(at)) => {
                let timers = &mut self.list[at].timers;
                timers.began_boot_ms.get_or_insert(now.boot_ms);
                timers.held_boot_ms = Some(now.boot_ms);
                timers.over_since_boot_ms = None;
            }
            (Finding::Fine, Some(at)) => {
                let condition = &mut self.list[at];
                let hold_ms = match code.entry().ends {
                    Ends::ReadingsFor(hold_ms) if condition.announced => hold_ms,
                    _ => 0,
                };
                let since = *condition.timers.over_since_boot_ms.get_or_insert(now.boot_ms);
                if now.since(since) >= hold_ms {
                    self.end(slot, at, ClearedBy::Recovered, out);
                }
            }
        }
    }

    /// Puts up what an XID or an event says, or keeps it up.
    pub(crate) fn latch(
        &mut self,
        (code, key, instance): (Code, u32, Option<Instance>),
        advised: Advised,
        detail: impl FnOnce() -> String,
        now: Now,
    ) {
        let room = self.list.len() < LATCHED_MAX;
        match self.list.iter_mut().find(|condition| condition.is(code, key, instance)) {
            Some(known) => {
                known.timers.began_boot_ms.get_or_insert(now.boot_ms);
                // One witness may be dated earlier than the other.
                known.timers.held_boot_ms = known.timers.held_boot_ms.max(Some(now.boot_ms));
                known.last_unix_ms = known.last_unix_ms.max(now.unix_ms);
                // As a whole or not at all: the worst that was said, with its own action and end.
                if (advised.effect, advised.severity) >= (known.effect, known.severity) {
                    known.advise(advised);
                }
                self.changed = true;
            }
            None if room => {
                self.begin(code, key, instance, advised, Some(advised.lasts), &detail(), now);
            }
            None => {}
        }
    }

    /// Words, and the instance, that came later for an XID that stands as `known`. The instance that it stands
    /// as from now on: what was announced keeps its name, so that its end can be told under the same one.
    pub(crate) fn tell(
        &mut self,
        key: u32,
        known: Option<Instance>,
        instance: Option<Instance>,
        detail: &str,
    ) -> Option<Instance> {
        let taken = self.list.iter().any(|one| one.is(Code::Xid, key, instance));
        let Some(one) = self.list.iter_mut().find(|one| one.is(Code::Xid, key, known)) else {
            return instance;
        };
        one.detail = cut(detail);
        self.changed = true;
        if !one.announced && !taken {
            one.instance = instance;
        }
        one.instance
    }

    #[expect(clippy::too_many_arguments, reason = "one private constructor")]
    fn begin(
        &mut self,
        code: Code,
        key: u32,
        instance: Option<Instance>,
        advised: Advised,
        lasts: Option<Lasts>,
        detail: &str,
        now: Now,
    ) {
        if self.list.len() >= CONDITIONS_MAX {
            return;
        }
        self.changed = true;
        let timers = Timers {
            began_boot_ms: Some(now.boot_ms),
            held_boot_ms: Some(now.boot_ms),
            over_since_boot_ms: None,
        };
        self.list.push(Condition {
            code,
            key,
            instance,
            severity: advised.severity,
            action: advised.action,
            effect: advised.effect,
            since_unix_ms: now.unix_ms,
            last_unix_ms: now.unix_ms,
            detail: cut(detail),
            acknowledged: None,
            lasts,
            announced: false,
            ripe: false,
            hidden: false,
            timers,
        });
    }

    /// Lets what is quiet for long enough go, and shows what held long enough. `above` hides too.
    pub(crate) fn settle(
        &mut self,
        slot: Option<u8>,
        above: Option<&Self>,
        now: Now,
        out: &mut Vec<Transition>,
    ) {
        let mut at = 0;
        while at < self.list.len() {
            if self.list[at].is_quiet(now) {
                self.end(slot, at, ClearedBy::Expired, out);
            } else {
                at += 1;
            }
        }
        for condition in &mut self.list {
            // As far as it was seen: time without a reading does not make it ripe.
            let Timers { began_boot_ms, held_boot_ms, .. } = condition.timers;
            let held_ms =
                began_boot_ms.zip(held_boot_ms).map_or(0, |(began, held)| held.saturating_sub(began));
            condition.ripe |= held_ms >= condition.code.entry().visible_after_ms;
        }
        for at in 0..self.list.len() {
            let causes = self.list[at].code.entry().hidden_by;
            let counts = |of: &Self| of.list.iter().any(|one| one.ripe && causes.contains(&one.code));
            let hidden = !causes.is_empty() && (counts(self) || above.is_some_and(counts));
            let condition = &mut self.list[at];
            condition.hidden = hidden;
            if condition.is_visible() && !condition.announced {
                condition.announced = true;
                self.changed = true;
                out.push(Transition::Raised { slot, condition: Box::new(condition.clone()) });
            }
        }
    }

    /// Ends everything that such an end clears.
    pub(crate) fn clear(
        &mut self,
        slot: Option<u8>,
        by: ClearedBy,
        wanted: impl Fn(&Condition) -> bool,
        out: &mut Vec<Transition>,
    ) {
        let mut at = 0;
        while at < self.list.len() {
            if wanted(&self.list[at]) {
                self.end(slot, at, by, out);
            } else {
                at += 1;
            }
        }
    }

    /// Changes what an XID asks for, because the driver itself says something else.
    pub(crate) fn readvise(&mut self, wanted: impl Fn(&Condition) -> bool, advised: Advised) {
        for condition in self.list.iter_mut().filter(|condition| wanted(condition)) {
            self.changed |= condition.advise(advised);
        }
    }

    /// Notes that somebody knows.
    pub(crate) fn note(&mut self, wanted: impl Fn(&Condition) -> bool, by: &Acknowledged) {
        for condition in self.list.iter_mut().filter(|condition| wanted(condition)) {
            condition.acknowledged = Some(by.clone());
            self.changed = true;
        }
    }

    /// The card leaves the slot: everything ends there. What belongs to the card is handed out, to be shown anew
    /// where the card appears again.
    pub(crate) fn leave(&mut self, slot: Option<u8>, out: &mut Vec<Transition>) -> Vec<Condition> {
        let of_card: Vec<Condition> = self.list.iter().filter(|one| one.lasts.is_some()).cloned().collect();
        self.clear(slot, ClearedBy::Removed, |_| true, out);
        let anew = |one: Condition| Condition { announced: false, hidden: false, ..one };
        of_card.into_iter().map(anew).collect()
    }

    /// Puts up what came with a card.
    pub(crate) fn arrive(&mut self, of_card: Vec<Condition>, now: Now) {
        for mut one in of_card {
            let known = self.list.iter().any(|known| known.is(one.code, one.key, one.instance));
            if !known && self.list.len() < LATCHED_MAX {
                one.timers.held_boot_ms.get_or_insert(now.boot_ms);
                one.last_unix_ms = one.last_unix_ms.min(now.unix_ms);
                self.list.push(one);
                self.changed = true;
            }
        }
    }

    /// Whether something changed that is worth keeping, since this was asked last.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// The wall clock was set back: nothing was put up later than now.
    pub(crate) fn clock_set_back(&mut self, now: Now) {
        for condition in &mut self.list {
            condition.last_unix_ms = condition.last_unix_ms.min(now.unix_ms);
        }
    }

    fn end(&mut self, slot: Option<u8>, at: usize, by: ClearedBy, out: &mut Vec<Transition>) {
        let condition = self.list.remove(at);
        self.changed = true;
        if condition.announced {
            out.push(Transition::Cleared { slot, condition: Box::new(condition), by });
        }
    }
}

impl Condition {
    /// Takes over an advice; whether that changed anything. One that the readings keep up has no other end.
    fn advise(&mut self, advised: Advised) -> bool {
        let lasts = self.lasts.map(|_| advised.lasts);
        let new = (advised.severity, advised.action, advised.effect, lasts);
        let changed = new != (self.severity, self.action, self.effect, self.lasts);
        (self.severity, self.action, self.effect, self.lasts) = new;
        changed
    }

    fn is_quiet(&self, now: Now) -> bool {
        let Some(Lasts::Minutes(minutes)) = self.lasts else { return false };
        let quiet_ms = u64::from(minutes) * MINUTE_MS;
        // After a restart the time begins anew: rather too long than too short.
        self.timers.held_boot_ms.is_some_and(|held| now.since(held) >= quiet_ms)
    }

    /// After a restart, timers begin at the first look.
    pub(crate) fn wake(&mut self, now: Now) {
        self.timers =
            Timers { began_boot_ms: None, held_boot_ms: Some(now.boot_ms), over_since_boot_ms: None };
        self.last_unix_ms = self.last_unix_ms.min(now.unix_ms);
    }
}

impl Conditions {
    /// After a restart: timers begin now.
    pub(crate) fn wake(&mut self, now: Now) {
        for condition in &mut self.list {
            condition.wake(now);
        }
    }
}

/// At most [`DETAIL_BYTES_MAX`] bytes, on a character boundary.
pub(crate) fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(DETAIL_BYTES_MAX)].to_owned()
}
