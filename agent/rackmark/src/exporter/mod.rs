//! The Prometheus endpoint: reads the roster, never the driver, and runs on a
//! thread of its own so that it answers while everything else is busy.

mod attesting;
mod auth;
mod bmc;
mod burn_in;
mod client_certificates;
mod collect;
mod dcgm;
mod health;
mod hooks;
mod mig;
mod names;
mod openmetrics;
mod page;
pub use page::html;
#[cfg(test)]
mod reference_tests;
mod scrape;
mod server;
mod spool;
mod text;
pub mod web_config;

pub use scrape::Exporter;
pub use server::serve;

use rackmark_model::Value;

/// What a metric family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only goes up, save for restarts of what counts.
    Counter,
}

/// A value as an integer of some number of decimals, so that 627400 mW are
/// written as 627.4 W without rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal {
    /// Below zero.
    pub negative: bool,
    /// The digits.
    pub digits: u64,
    /// How many of them stand behind the point; negative adds zeros.
    pub decimals: i8,
}

impl Decimal {
    /// A whole number.
    pub const fn whole(value: u64) -> Self {
        Self::scaled(value, 0)
    }

    /// `value` in units of ten to the power of minus `decimals`.
    pub const fn scaled(value: u64, decimals: i8) -> Self {
        Self { negative: false, digits: value, decimals }
    }

    /// A reading in a unit that stands `decimals` places below the wanted one; texts have no number.
    pub const fn of(value: Value<'_>, decimals: i8) -> Option<Self> {
        let (negative, digits) = match value {
            Value::Unsigned(number) => (false, number),
            Value::Signed(number) => (number < 0, number.unsigned_abs()),
            Value::Flag(flag) => (false, flag as u64),
            Value::Text(_) => return None,
        };
        Some(Self { negative, digits, decimals })
    }

    /// The nearest floating point number.
    pub fn as_f64(self) -> f64 {
        let value = self.digits as f64 / 10f64.powi(i32::from(self.decimals));
        if self.negative { -value } else { value }
    }
}

/// Takes metrics in order: a family, then its points.
pub trait Sink {
    /// Begins a family. `name` has no `_total`; the format adds it to counters.
    fn family(&mut self, name: &str, kind: Kind, help: &str);
    /// One point of the family begun last.
    fn point(&mut self, labels: &[(&str, &str)], value: Decimal);
}
