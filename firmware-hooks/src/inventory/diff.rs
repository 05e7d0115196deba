//! What changed from one list to the next.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::catalogue::{self, Source};
use super::fact::{Component, Fact};
use super::finding::{Finding, FindingCode};
use super::gpu::DRIVER;

/// A fact that came, went or became another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Changed {
    /// Of which kind of part.
    pub component: Component,
    /// Which one.
    pub instance: String,
    /// What about it.
    pub field: String,
    /// What it was; absent where it came.
    pub from: Option<String>,
    /// What it is; absent where it went.
    pub to: Option<String>,
}

/// A source that could not be looked at, for one part or for all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unseen {
    /// Where its facts come from.
    pub source: Source,
    /// For which instance; for all where absent.
    pub instance: Option<String>,
}

impl Unseen {
    /// Whether it is the source of a field of this instance.
    pub(super) fn hides(&self, (component, instance, field): (Component, &str, &str)) -> bool {
        catalogue::field(component, field).is_some_and(|field| field.source == self.source)
            && self.instance.as_ref().is_none_or(|own| own == instance)
    }
}

/// What changed from `old` to `new`, in order. Both lists are in order, without doubles, as [`super::gather()`] makes them.
pub fn diff(old: &[Fact], new: &[Fact]) -> Vec<Changed> {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    let mut changes = Vec::new();
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return changes,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(from), Some(to)) => from.key().cmp(&to.key()),
        };
        let from = if order == Ordering::Greater { None } else { old.next() };
        let to = if order == Ordering::Less { None } else { new.next() };
        let value = |fact: Option<&Fact>| fact.map(|fact| fact.value.clone());
        let (was, is) = (value(from), value(to));
        if let Some(fact) = from.or(to).filter(|_| was != is) {
            let Fact { component, instance, field, .. } = fact.clone();
            changes.push(Changed { component, instance, field, from: was, to: is });
        }
    }
}

/// Adds to `new` what was known before of whatever could not be looked at now: a sleeping GPU is no other GPU.
pub(super) fn carry_over(old: &[Fact], new: &mut Vec<Fact>, unseen: &[Unseen]) {
    let kept = old.iter().filter(|fact| unseen.iter().any(|unseen| unseen.hides(fact.key())));
    // What was read now comes first, and the older of two facts of one key goes.
    new.extend(kept.cloned());
    new.sort_by(|one, other| one.key().cmp(&other.key()));
    new.dedup_by(|later, kept| later.key() == kept.key());
    new.truncate(super::FACTS_MAX);
}

/// What contradicts itself between two lists.
pub(super) fn findings_since(old: &[Fact], new: &[Fact]) -> Vec<Finding> {
    fn value<'a>(list: &'a [Fact], field: &str) -> Option<&'a str> {
        let key = (Component::Driver, DRIVER, field);
        list.iter().find(|fact| fact.key() == key).map(|fact| fact.value.as_str())
    }
    let both = |field| value(old, field).zip(value(new, field));
    let same_version = both("version").filter(|(before, now)| before == now);
    let other_library = both("nvml_library_sha256").filter(|(before, now)| before != now);
    let (Some((version, _)), Some((before, now))) = (same_version, other_library) else { return Vec::new() };
    let short = |digest: &str| digest.get(..16).unwrap_or(digest).to_owned();
    let detail = format!("SHA-256 {}… became {}…, the driver is still {version}", short(before), short(now));
    vec![Finding::new(FindingCode::LibraryReplaced, DRIVER, detail)]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Key = (Component, String, String);

    fn list(map: &BTreeMap<Key, String>) -> Vec<Fact> {
        let fact = |((component, instance, field), value): (&Key, &String)| Fact {
            component: *component,
            instance: instance.clone(),
            field: field.clone(),
            value: value.clone(),
        };
        map.iter().map(fact).collect()
    }

    fn maps() -> impl Strategy<Value = BTreeMap<Key, String>> {
        let component = prop_oneof![Just(Component::Bios), Just(Component::Gpu), Just(Component::Nic)];
        let key = (component, "[ab]", "[xyz]");
        proptest::collection::btree_map(key, "[12]", 0..12)
    }

    proptest! {
        #[test]
        fn a_difference_leads_from_the_one_list_to_the_other(old in maps(), new in maps()) {
            let changes = diff(&list(&old), &list(&new));
            let mut led = old.clone();
            for change in &changes {
                prop_assert_ne!(&change.from, &change.to);
                let key = (change.component, change.instance.clone(), change.field.clone());
                prop_assert_eq!(led.get(&key), change.from.as_ref());
                match &change.to {
                    Some(value) => { led.insert(key, value.clone()); }
                    None => { led.remove(&key); }
                }
            }
            prop_assert_eq!(&led, &new);
            prop_assert!(diff(&list(&new), &list(&new)).is_empty());
            let keys: Vec<_> = changes.iter().map(|c| (c.component, &c.instance, &c.field)).collect();
            prop_assert!(keys.is_sorted_by(|one, next| one < next));
        }
    }

    fn fact(component: Component, instance: &str, field: &str, value: &str) -> Fact {
        let [instance, field, value] = [instance, field, value].map(ToOwned::to_owned);
        Fact { component, instance, field, value }
    }

    #[test]
    fn what_could_not_be_looked_at_stays_as_it_was() {
        let old = [
            fact(Component::Bios, "0", "version", "1"),
            fact(Component::Gpu, "a", "serial", "1"),
            fact(Component::Gpu, "b", "serial", "2"),
            fact(Component::Nic, "c", "mac", "3"),
        ];
        let unseen =
            |source, instance: Option<&str>| Unseen { source, instance: instance.map(str::to_owned) };
        let mut new = vec![fact(Component::Gpu, "a", "serial", "9")];
        carry_over(&old, &mut new, &[unseen(Source::Nvml, Some("a")), unseen(Source::Smbios, None)]);
        assert_eq!(new, [old[0].clone(), fact(Component::Gpu, "a", "serial", "9")]);
        carry_over(&old, &mut new, &[unseen(Source::Nvml, Some("b"))]);
        assert_eq!(new.last(), Some(&old[2]));
    }

    #[test]
    fn another_library_under_the_same_driver_is_found() {
        let list = |version: &str, digest: &str| {
            vec![
                fact(Component::Driver, "nvidia", "nvml_library_sha256", digest),
                fact(Component::Driver, "nvidia", "version", version),
            ]
        };
        let found = |old: &[Fact], new: &[Fact]| findings_since(old, new).len();
        assert_eq!(found(&list("580", "aa"), &list("580", "bb")), 1);
        assert_eq!(found(&list("580", "aa"), &list("590", "bb")), 0, "an upgrade");
        assert_eq!(found(&list("580", "aa"), &list("580", "aa")), 0);
        assert_eq!(found(&list("580", "aa")[1..], &list("580", "bb")), 0, "not known before");
    }
}
