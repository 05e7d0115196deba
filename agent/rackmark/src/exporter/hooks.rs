//! How the hooks of the site went.

use rackmark_model::hook::HookEvent;

use super::{Decimal, Kind, Sink};
use crate::hooks::{EventCounts, Results};

/// Hands the figures of events that had any to `sink`.
pub fn hooks(events: &[(HookEvent, EventCounts)], sink: &mut dyn Sink) {
    if events.is_empty() {
        return;
    }
    sink.family("rackmark_hook_runs", Kind::Counter, "Hooks of the site that ran, or did not, by result.");
    for (event, counts) in events {
        for (at, count) in counts.results.iter().enumerate() {
            let labels = [("event", event.name()), ("result", Results::name(at))];
            sink.point(&labels, Decimal::whole(*count));
        }
    }
    sink.family(
        "rackmark_hook_last_duration_seconds",
        Kind::Gauge,
        "How long the newest run of all hooks of an event took.",
    );
    for (event, counts) in events {
        sink.point(&[("event", event.name())], Decimal::scaled(counts.last.as_millis() as u64, 3));
    }
    sink.family(
        "rackmark_hook_dropped",
        Kind::Counter,
        "Events whose hooks were not run because too many waited.",
    );
    for (event, counts) in events {
        sink.point(&[("event", event.name())], Decimal::whole(counts.dropped));
    }
    sink.family(
        "rackmark_hook_merged",
        Kind::Counter,
        "Events that became one with an earlier one that waited for its hooks.",
    );
    for (event, counts) in events {
        sink.point(&[("event", event.name())], Decimal::whole(counts.merged));
    }
}
