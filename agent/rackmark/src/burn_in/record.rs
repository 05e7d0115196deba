//! What is kept of a burn-in: everything that its judgement was made of, and what a person wants to see of it.

use rackmark_health::burn_in::{Judgement, Mode, Seen, Worked};
use rackmark_model::gpu_work::FigureKind;
use serde::{Deserialize, Serialize};

/// Form of the document; a reader of another form leaves it alone.
pub const VERSION: u32 = 1;

/// Most points of a record; a longer run keeps every second, then every fourth.
const POINTS_MAX: usize = 3_600;

/// The card that was tested.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Card {
    /// Its slot on this node.
    pub slot: u8,
    /// UUID as NVML gives it.
    pub uuid: String,
    /// Serial number.
    pub serial: Option<String>,
    /// Product name.
    pub name: Option<String>,
    /// PCI address.
    pub address: String,
    /// What is printed on the chassis.
    pub physical_slot: Option<String>,
    /// Firmware of the card.
    pub vbios_version: Option<String>,
}

/// How the GPU was at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Point {
    /// Since the burn-in began, in milliseconds.
    pub at_ms: u64,
    /// The stage that ran, by its position in the plan.
    pub stage: Option<u32>,
    /// Core temperature, degrees Celsius.
    pub celsius: Option<i32>,
    /// Power, milliwatts.
    pub milliwatts: Option<u32>,
    /// SM clock, MHz.
    pub clock_mhz: Option<u32>,
    /// How fast the work was, in the unit of `kind`.
    pub rate: Option<u64>,
    /// What `rate` is.
    pub kind: Option<FigureKind>,
}

/// One burn-in of one GPU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`VERSION`].
    pub version: u32,
    /// Version of the agent.
    pub agent_version: String,
    /// Name of the node.
    pub node: String,
    /// The GPU is simulated.
    pub simulated: bool,
    /// The card.
    pub card: Card,
    /// Version of the driver.
    pub driver_version: Option<String>,
    /// How thorough.
    pub mode: Mode,
    /// Who asked for it.
    pub by: String,
    /// What operands and patterns grew from.
    pub seed: u64,
    /// When it began, milliseconds since 1970.
    pub began_unix_ms: u64,
    /// When it ended; absent while it runs.
    pub ended_unix_ms: Option<u64>,
    /// From the order to stop to the end of the process, which gives the memory back; where it was stopped.
    pub gave_back_ms: Option<u64>,
    /// What the GPU's process said.
    pub worked: Worked,
    /// What samples said meanwhile.
    pub seen: Seen,
    /// How the GPU was, over time.
    pub points: Vec<Point>,
    /// What it means; absent while it runs.
    pub judgement: Option<Judgement>,
}

impl Record {
    /// As JSON. The one way of writing it, as [`Record::of_json`] is the one of reading: each other one is another tenth of
    /// a megabyte of program.
    ///
    /// # Errors
    /// None that a record can have.
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }

    /// From JSON.
    ///
    /// # Errors
    /// It is no record.
    pub fn of_json(text: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(text)
    }

    /// Adds a moment.
    pub fn point(&mut self, point: Point) {
        if self.points.len() >= POINTS_MAX {
            let mut number = 0_usize;
            self.points.retain(|_| {
                number += 1;
                number % 2 == 1
            });
        }
        self.points.push(point);
    }

    /// Time between moments that are kept now, in milliseconds; `period_ms` apart at first.
    pub fn point_every_ms(&self, period_ms: u64) -> u64 {
        match &self.points[..] {
            [first, second, ..] => (second.at_ms - first.at_ms).max(period_ms),
            _ => period_ms,
        }
    }

    /// The gravest reason in one line; empty where there is none.
    pub fn reason(&self) -> String {
        let reasons = self.judgement.iter().flat_map(|judgement| &judgement.reasons);
        let outcome = self.judgement.as_ref().map(|judgement| judgement.outcome);
        let told =
            |reason: &&rackmark_health::burn_in::Reason| Some(reason.code.weight().outcome()) == outcome;
        reasons.into_iter().find(told).map(rackmark_health::burn_in::Reason::line).unwrap_or_default()
    }

    /// From the beginning to the end, in milliseconds.
    pub fn took_ms(&self) -> u64 {
        self.ended_unix_ms.unwrap_or(self.began_unix_ms).saturating_sub(self.began_unix_ms)
    }

    /// Memory that was held and tested, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.worked.held.map_or(0, |(held, _)| held)
    }
}
