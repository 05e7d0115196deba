//! OpenMetrics text, through prometheus-client.

use std::fmt;
use std::sync::Mutex;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::{Decimal, Kind, Sink};

/// Families and points as they were collected.
#[derive(Debug, Default)]
pub struct Collected {
    families: Vec<Family>,
}

#[derive(Debug)]
struct Family {
    name: String,
    kind: Kind,
    help: String,
    points: Vec<(Vec<(String, String)>, f64)>,
}

impl Sink for Collected {
    fn family(&mut self, name: &str, kind: Kind, help: &str) {
        // prometheus-client ends the help text itself.
        let help = help.strip_suffix('.').unwrap_or(help).to_owned();
        self.families.push(Family { name: name.to_owned(), kind, help, points: Vec::new() });
    }

    fn point(&mut self, labels: &[(&str, &str)], value: Decimal) {
        if let Some(family) = self.families.last_mut() {
            let labels = labels.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
            family.points.push((labels, value.as_f64()));
        }
    }
}

/// Hands what was collected to the encoder, once.
#[derive(Debug)]
struct Once(Mutex<Collected>);

impl Collector for Once {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let collected = self.0.lock().map_err(|_| fmt::Error)?;
        for family in &collected.families {
            let kind = match family.kind {
                Kind::Gauge => MetricType::Gauge,
                Kind::Counter => MetricType::Counter,
            };
            let mut metric = encoder.encode_descriptor(&family.name, &family.help, None, kind)?;
            for (labels, value) in &family.points {
                // An empty label set would be written as `{}`.
                if labels.is_empty() {
                    encode_point(family.kind, *value, metric)?;
                    break;
                }
                encode_point(family.kind, *value, metric.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}

fn encode_point(kind: Kind, value: f64, encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
    match kind {
        Kind::Gauge => ConstGauge::new(value).encode(encoder),
        Kind::Counter => ConstCounter::new(value).encode(encoder),
    }
}

impl Collected {
    /// The OpenMetrics text.
    ///
    /// # Errors
    /// [`fmt::Error`] where the encoder gives up.
    pub fn into_text(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Once(Mutex::new(self))));
        let mut out = String::new();
        prometheus_client::encoding::text::encode(&mut out, &registry)?;
        Ok(out)
    }
}
