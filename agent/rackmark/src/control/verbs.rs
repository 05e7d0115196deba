//! The verb table: what can be asked of a running agent, and what it answers.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rackmark_model::readings::{Descriptor, Fast, Inventory};
use rackmark_model::{Bytes, MigInstance, PciAddress, Reading, Value};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock;
use crate::config::Config;
use crate::judging::{Announcer, History};
use crate::publish::feed::SharedFeed;
use crate::publish::mqtt::PublisherStats;
use crate::publish::spool::Spool;
use crate::sampling::narrator::Narrator;
use crate::sampling::roster::{Gpu, Standing};
use crate::sampling::task::{Request, SharedRoster};

/// Longest pause, so that a forgotten one ends: a day.
pub const PAUSE_MAX: Duration = Duration::from_secs(24 * 3600);

/// A request as it stands on the socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Verb {
    /// Everything known now.
    Status,
    /// Close the driver handles of one GPU or of all.
    Pause {
        /// Slot, UUID, serial number or PCI address; all GPUs where absent.
        gpu: Option<String>,
        /// For how long.
        for_secs: u64,
    },
    /// End a pause.
    Resume {
        /// Slot, UUID, serial number or PCI address; all GPUs where absent.
        gpu: Option<String>,
    },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    /// Done; what was asked for.
    Ok(Json),
    /// Not done, and why.
    Refused(String),
}

/// What the verbs act on.
pub struct Verbs {
    /// What is known of the GPUs.
    pub roster: SharedRoster,
    /// The configuration in force.
    pub config: watch::Receiver<Arc<Config>>,
    /// The sampling task.
    pub sampling: mpsc::Sender<Request>,
    /// The publisher; absent where the feed is off.
    pub mqtt: Option<Arc<PublisherStats>>,
    /// What waits for delivery; absent where the feed is off.
    pub spool: Option<Spool>,
    /// The node id of the feed.
    pub node_id: String,
    /// The door through which people change the judgement.
    pub people: People,
    /// Where the history is.
    pub state_dir: std::path::PathBuf,
}

/// What people change, and whoever is told of it.
pub type People = Announcer<History<Narrator<SharedFeed>>>;

impl Verbs {
    /// Carries out one verb.
    pub async fn carry_out(&self, verb: Verb) -> Answer {
        match verb {
            Verb::Status => Answer::Ok(self.status()),
            Verb::Pause { gpu, for_secs } => self.pause(gpu, Duration::from_secs(for_secs)).await,
            Verb::Resume { gpu } => match self.which(gpu.as_deref()) {
                Ok(gpu) => {
                    let sent = self.sampling.send(Request::Resume { gpu }).await;
                    tracing::info!(gpu = gpu.map(tracing::field::display), "pause ended on request");
                    sent.map_or_else(|_| stopping(), |()| Answer::Ok(Json::Null))
                }
                Err(answer) => answer,
            },
        }
    }

    async fn pause(&self, gpu: Option<String>, length: Duration) -> Answer {
        if length.is_zero() || length > PAUSE_MAX {
            return Answer::Refused(format!("a pause lasts 1 to {} seconds", PAUSE_MAX.as_secs()));
        }
        let gpu = match self.which(gpu.as_deref()) {
            Ok(gpu) => gpu,
            Err(answer) => return answer,
        };
        let (done, closed) = oneshot::channel();
        if self.sampling.send(Request::Pause { gpu, length, done }).await.is_err() {
            return stopping();
        }
        tracing::info!(
            gpu = gpu.map(tracing::field::display),
            seconds = length.as_secs(),
            "sampling paused on request"
        );
        match closed.await {
            Ok(()) => Answer::Ok(json!({ "until_unix_ms": clock::unix_ms() + length.as_millis() as u64 })),
            Err(_) => stopping(),
        }
    }

    fn which(&self, gpu: Option<&str>) -> Result<Option<PciAddress>, Answer> {
        let Some(text) = gpu else { return Ok(None) };
        let roster = self.roster.read().unwrap_or_else(PoisonError::into_inner);
        match roster.find(text) {
            Some(gpu) => Ok(Some(gpu.address)),
            None => Err(Answer::Refused(format!(
                "no GPU is called {text:?}; name it by slot, UUID, serial number or PCI address"
            ))),
        }
    }

    fn status(&self) -> Json {
        let config = self.config.borrow().clone();
        let roster = self.roster.read().unwrap_or_else(PoisonError::into_inner);
        let now = clock::boot_ms();
        let driver = roster.driver.as_ref();
        json!({
            "node": { "site": config.site, "name": config.node, "id": self.node_id },
            "agent_version": env!("CARGO_PKG_VERSION"),
            "simulated": roster.simulated(),
            "driver": {
                "up": driver.is_some(),
                "driver_version": driver.and_then(|driver| driver.driver_version.as_deref().ok()),
                "cuda_driver_version": driver.and_then(|driver| driver.cuda_driver_version.as_deref().ok()),
                "cause": roster.driver_cause,
            },
            "sample": roster.taken.map(|taken| json!({
                "seq": taken.seq,
                "age_ms": now.saturating_sub(taken.boot_ms),
                "took_us": taken.took_us,
            })),
            "sampler": {
                "pid": roster.sampler.pid,
                "starts_total": roster.sampler.starts_total,
                "walked_away_total": roster.sampler.walked_away_total,
                "stuck_pids": roster.sampler.stuck,
            },
            "mqtt": self.mqtt.as_ref().map(|stats| {
                let stats = stats.snapshot();
                json!({
                    "connected": stats.connected == 1,
                    "acknowledged_total": stats.acked_total,
                })
            }),
            "spool": self.spool.as_ref().map(|spool| {
                let health = spool.health();
                json!({
                    "durable": health.durable,
                    "trouble": health.trouble,
                    "records": { "series": health.waiting[0], "edge": health.waiting[1] },
                    "bytes": { "series": health.bytes[0], "edge": health.bytes[1] },
                })
            }),
            "gpus": roster.gpus.iter().map(gpu_json).collect::<Vec<_>>(),
        })
    }
}

fn stopping() -> Answer {
    Answer::Refused("the agent is stopping".to_owned())
}

/// One GPU with every reading by its edge name; absent ones say why.
pub fn gpu_json(gpu: &Gpu) -> Json {
    let mut readings = Map::new();
    gpu.fast.each(|at, reading| insert(&mut readings, &Fast::DESCRIPTORS[at], reading));
    if let Some(inventory) = &gpu.inventory {
        inventory.each(|at, reading| insert(&mut readings, &Inventory::DESCRIPTORS[at], reading));
    }
    let (standing, function) = match &gpu.standing {
        Standing::Answering => ("answering", None),
        Standing::Slow => ("slow", gpu.in_call.as_ref().map(|call| call.function.as_str())),
        Standing::Unresponsive { function } => ("unresponsive", Some(function.as_str())),
        Standing::Absent(why) => (why.name(), None),
    };
    json!({
        "slot": gpu.identity.slot,
        "index": gpu.identity.index,
        "name": gpu.identity.name,
        "uuid": gpu.identity.uuid,
        "serial": gpu.identity.serial,
        "pci_address": gpu.identity.address,
        "standing": standing,
        "hangs_in": function,
        "state": gpu.state.name(),
        "verdict": gpu.verdict.name(),
        "readings": readings,
        "mig": gpu.mig.iter().map(mig_json).collect::<Vec<_>>(),
    })
}

/// A part of a GPU; what is not known is null.
fn mig_json(mig: &MigInstance) -> Json {
    let bytes = |reading: &Reading<Bytes>| reading.ok().map(|bytes| bytes.0);
    json!({
        "index": mig.index,
        "gpu_instance": mig.gpu_instance_id.ok(),
        "compute_instance": mig.compute_instance_id.ok(),
        "uuid": mig.uuid.as_deref().ok(),
        "profile": mig.name.as_deref().ok(),
        "multiprocessors": mig.multiprocessors.ok(),
        "memory_total_bytes": bytes(&mig.memory_total),
        "memory_used_bytes": bytes(&mig.memory_used),
        "memory_free_bytes": bytes(&mig.memory_free),
        "memory_reserved_bytes": bytes(&mig.memory_reserved),
        "ecc_uncorrected_sram_total": mig.ecc_uncorrected_sram.ok(),
    })
}

/// Adds one reading under its edge name.
pub fn insert(into: &mut Map<String, Json>, descriptor: &Descriptor, reading: Reading<Value<'_>>) {
    let value = match reading {
        Ok(Value::Unsigned(number)) => json!(number),
        Ok(Value::Signed(number)) => json!(number),
        Ok(Value::Text(text)) => json!(text),
        Ok(Value::Flag(flag)) => json!(flag),
        Err(why) => json!({ "no_data": why.to_string() }),
    };
    into.insert(descriptor.edge_name(), value);
}
