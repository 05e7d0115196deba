//! Conditions: what stands against a GPU or a node, since when, and how it ends.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::advice::{Action, Effect, Severity};
use crate::catalogue::{Code, Ends};
use crate::clock::{MINUTE_MS, Now};
use crate::transition::{ClearedBy, Transition};
use crate::xid::Lasts;

/// Most conditions of one GPU or node; an XID storm of every code of the catalogue stays below.
pub const CONDITIONS_MAX: usize = 256;

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
}

impl<'de> Deserialize<'de> for Conditions {
    /// Conditions that this version does not know are passed over, so that a newer judgement can be read.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
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
        Ok(Self { list: known.take(CONDITIONS_MAX).collect() })
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
        match self.list.iter_mut().find(|condition| condition.is(code, key, instance)) {
            Some(known) => {
                known.timers.began_boot_ms.get_or_insert(now.boot_ms);
                known.timers.held_boot_ms = Some(now.boot_ms);
                known.last_unix_ms = now.unix_ms;
                known.severity = known.severity.max(advised.severity);
                known.effect = known.effect.max(advised.effect);
                known.action = advised.action;
                known.lasts = Some(advised.lasts);
            }
            None => self.begin(code, key, instance, advised, Some(advised.lasts), &detail(), now),
        }
    }

    /// Words, and the instance, that came later for the same XID.
    pub(crate) fn tell(&mut self, key: u32, instance: Option<Instance>, detail: &str) {
        let same = |one: &Condition| {
            one.code == Code::Xid && one.key == key && (one.instance == instance || one.instance.is_none())
        };
        if let Some(known) = self.list.iter_mut().find(|condition| same(condition)) {
            known.instance = instance;
            known.detail = cut(detail);
        }
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
            let began = *condition.timers.began_boot_ms.get_or_insert(now.boot_ms);
            condition.ripe |= now.since(began) >= condition.code.entry().visible_after_ms;
        }
        for at in 0..self.list.len() {
            let causes = self.list[at].code.entry().hidden_by;
            let counts = |of: &Self| of.list.iter().any(|one| one.ripe && causes.contains(&one.code));
            let hidden = !causes.is_empty() && (counts(self) || above.is_some_and(counts));
            let condition = &mut self.list[at];
            condition.hidden = hidden;
            if condition.is_visible() && !condition.announced {
                condition.announced = true;
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
    ) -> usize {
        let before = self.list.len();
        let mut at = 0;
        while at < self.list.len() {
            if wanted(&self.list[at]) {
                self.end(slot, at, by, out);
            } else {
                at += 1;
            }
        }
        before - self.list.len()
    }

    /// Changes what an XID asks for, because the driver itself says something else.
    pub(crate) fn readvise(&mut self, wanted: impl Fn(&Condition) -> bool, advised: Advised) {
        for condition in self.list.iter_mut().filter(|condition| wanted(condition)) {
            condition.severity = advised.severity;
            condition.action = advised.action;
            condition.effect = advised.effect;
            condition.lasts = condition.lasts.map(|_| advised.lasts);
        }
    }

    /// Notes that somebody knows; how many that were.
    pub(crate) fn note(&mut self, wanted: impl Fn(&Condition) -> bool, by: &Acknowledged) -> usize {
        let mut noted = 0;
        for condition in self.list.iter_mut().filter(|condition| wanted(condition)) {
            condition.acknowledged = Some(by.clone());
            noted += 1;
        }
        noted
    }

    /// Takes out what belongs to the card rather than to the slot.
    pub(crate) fn take_latched(&mut self) -> Vec<Condition> {
        let (latched, rest) = std::mem::take(&mut self.list).into_iter().partition(|one| one.lasts.is_some());
        self.list = rest;
        latched
    }

    /// Puts back what was taken out.
    pub(crate) fn put_back(&mut self, latched: Vec<Condition>) {
        let room = CONDITIONS_MAX.saturating_sub(self.list.len());
        self.list.extend(latched.into_iter().take(room));
    }

    fn end(&mut self, slot: Option<u8>, at: usize, by: ClearedBy, out: &mut Vec<Transition>) {
        let condition = self.list.remove(at);
        if condition.announced {
            out.push(Transition::Cleared { slot, condition: Box::new(condition), by });
        }
    }
}

impl Condition {
    fn is_quiet(&self, now: Now) -> bool {
        let quiet_ms = match (self.lasts, self.code.entry().ends) {
            (Some(Lasts::Minutes(minutes)), _) => u64::from(minutes) * MINUTE_MS,
            (Some(_), _) => return false,
            (None, Ends::QuietFor(quiet_ms)) => quiet_ms,
            (None, _) => return false,
        };
        // After a restart the time begins anew: rather too long than too short.
        self.timers.held_boot_ms.is_some_and(|held| now.since(held) >= quiet_ms)
    }

    /// After a restart, timers begin at the first look.
    pub(crate) fn wake(&mut self, now: Now) {
        self.timers =
            Timers { began_boot_ms: None, held_boot_ms: Some(now.boot_ms), over_since_boot_ms: None };
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
