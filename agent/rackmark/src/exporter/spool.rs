//! What waits for delivery, and what was lost.

use rackmark_feed::LossCause;

use super::{Decimal, Kind, Sink};
use crate::publish::spool::{Health, STREAMS};

const CLASSES: [&str; 2] = ["series", "edge"];

/// Hands the figures of the spool to `sink`.
pub fn spool(health: &Health, sink: &mut dyn Sink) {
    sink.family("rackmark_spool_records", Kind::Gauge, "Records that wait to be acknowledged.");
    by_class(health.waiting, sink);
    sink.family("rackmark_spool_bytes", Kind::Gauge, "Disk used, delivered records that are kept included.");
    by_class(health.bytes, sink);
    sink.family("rackmark_spool_durable", Kind::Gauge, "1 while records outlive the machine.");
    sink.point(&[], Decimal::whole(u64::from(health.durable && health.trouble.is_empty())));
    if !health.confirmed.is_empty() {
        sink.family(
            "rackmark_spool_confirmed_below",
            Kind::Gauge,
            "Every record below has been confirmed by the consumer.",
        );
    }
    for (consumer, streams) in &health.confirmed {
        for (stream, below) in STREAMS.iter().zip(streams) {
            if let Some(below) = below {
                let labels = [("consumer", consumer.as_str()), ("stream", stream.0.name())];
                sink.point(&labels, Decimal::whole(*below));
            }
        }
    }
    sink.family("rackmark_spool_lost", Kind::Counter, "Records lost and declared on the feed.");
    for (stream, lost) in STREAMS.iter().zip(&health.lost) {
        for (cause, count) in LossCause::ALL.iter().zip(lost) {
            let labels = [("stream", stream.0.name()), ("cause", cause.name())];
            sink.point(&labels, Decimal::whole(*count));
        }
    }
}

fn by_class(values: [u64; 2], sink: &mut dyn Sink) {
    for (class, value) in CLASSES.into_iter().zip(values) {
        sink.point(&[("class", class)], Decimal::whole(value));
    }
}
