//! The verb table: what can be asked of a running agent, and what it answers.
//! The control socket and signed commands end here.

mod check;
mod command;
mod health;
mod history;
mod hook;
mod inventory;
mod status;
mod testing;

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rackmark_feed::Succession;
use rackmark_model::PciAddress;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use tokio::sync::{mpsc, oneshot, watch};

use crate::attesting::{self, Counts};
use crate::burn_in;
use crate::clock;
use crate::config::Config;
use crate::hooks::{self, Hooks};
use crate::inventory::{Noticing, SharedInventory};
use crate::judging::{Announcer, History};
use crate::publish::feed::SharedFeed;
use crate::publish::mqtt::PublisherStats;
use crate::publish::spool::Spool;
use crate::sampling::narrator::Narrator;
use crate::sampling::roster::{Gpu, Roster};
use crate::sampling::task::{Request, SharedRoster};

pub use history::ENTRIES_MAX;
pub use status::{condition_json, gpu_json, insert};

/// Longest pause, so that a forgotten one ends: a day.
pub const PAUSE_MAX: Duration = Duration::from_secs(24 * 3600);

/// How long a declared swap counts where nothing else is said: work orders are done within the week (ours).
pub const SWAP_DECLARED_SECS: u64 = 7 * 24 * 3600;

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
    /// Somebody knows of a condition: one that lasts until then is over, another one is marked.
    Ack {
        /// Slot, UUID, serial number or PCI address; the node's own conditions where absent.
        gpu: Option<String>,
        /// Code, alone or with its key (`xid`, `xid_79`, `gpu_lost`); `all` for everything.
        condition: String,
        /// What else there is to say, kept with the name of who asked.
        note: Option<String>,
    },
    /// Planned work begins.
    MaintenanceStart {
        /// Slot, UUID, serial number or PCI address; the whole node where absent.
        gpu: Option<String>,
        /// When it ends by itself, milliseconds since 1970.
        until_unix_ms: u64,
        /// Why, as told to buyers.
        reason: String,
    },
    /// Planned work ends.
    MaintenanceEnd {
        /// Slot, UUID, serial number or PCI address; the whole node where absent.
        gpu: Option<String>,
    },
    /// Running work may finish, nothing new is placed.
    Drain {
        /// Slot, UUID, serial number or PCI address; all GPUs where absent.
        gpu: Option<String>,
        /// Why.
        reason: String,
    },
    /// New work may be placed again.
    Undrain {
        /// Slot, UUID, serial number or PCI address; all GPUs where absent.
        gpu: Option<String>,
    },
    /// A lease begins, or a reservation does.
    LeaseStart {
        /// Slot, UUID, serial number or PCI address.
        gpu: String,
        /// Name of the lease.
        lease: String,
        /// Promised only.
        reserved: bool,
        /// When it ends at the latest, milliseconds since 1970.
        until_unix_ms: Option<u64>,
    },
    /// A lease ends, on all its GPUs.
    LeaseEnd {
        /// Name of the lease.
        lease: String,
    },
    /// The card in a slot is going to be swapped, or was.
    Swap {
        /// Slot, UUID, serial number or PCI address.
        gpu: String,
        /// The ticket.
        ticket: String,
        /// For how long the word counts.
        for_secs: u64,
        /// Who or what tested the card that is there now.
        tested_by: Option<String>,
    },
    /// What happened, newest last.
    History {
        /// Slot, UUID, serial number or PCI address, as they were then; everything where absent.
        gpu: Option<String>,
        /// Number of entries, 1 to [`ENTRIES_MAX`].
        limit: usize,
    },
    /// What this server is.
    Inventory,
    /// Test GPUs.
    BurnInStart {
        /// Slot, UUID, serial number or PCI address; all GPUs where absent.
        gpu: Option<String>,
        /// `probe`, `quick`, `acceptance` or `soak`.
        mode: String,
        /// Hours of a soak.
        hours: u16,
        /// One after the other, not all together.
        one_by_one: bool,
    },
    /// End the test of GPUs, and give them back.
    BurnInStop {
        /// Slot, UUID, serial number or PCI address; all GPUs where absent.
        gpu: Option<String>,
    },
    /// What is tested now, and what came of the last tests.
    BurnInShow,
    /// Everything that is known of the last test of a GPU.
    BurnInRecord {
        /// Slot, UUID, serial number or PCI address.
        gpu: String,
    },
    /// What hooks of the site each event would run.
    HookList,
    /// Run the hooks of an event, although nothing happened.
    HookTest {
        /// Name of the event.
        event: String,
        /// What they read; a sample where absent.
        document: Option<serde_json::Map<String, Json>>,
    },
    /// The verdict on one GPU or on the node, from what is judged already.
    Check {
        /// Slot, UUID, serial number or PCI address; the node where absent.
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
    /// What this server is.
    pub inventory: SharedInventory,
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
    /// How evidence and the TPM fare; absent where the feed is off.
    pub attesting: Option<Counts>,
    /// What operators signed of the node's earlier ids, oldest first.
    pub successions: Vec<Succession>,
    /// The door through which people change the judgement.
    pub people: People,
    /// The hooks of the site.
    pub hooks: Hooks,
    /// Where the history is.
    pub state_dir: std::path::PathBuf,
    /// Burn-ins: where wishes go.
    pub burn_ins: mpsc::Sender<burn_in::Request>,
    /// Burn-ins: what runs, and what came of them.
    pub board: burn_in::Board,
    /// Places for those who read the history.
    pub reading: Arc<tokio::sync::Semaphore>,
}

/// What people change, and whoever is told of it.
pub type People = Announcer<Noticing<History<Narrator<hooks::Noticing<attesting::Noticing<SharedFeed>>>>>>;

impl Verbs {
    /// Carries out one verb for `by`, whose name is asked for only where it is kept.
    pub async fn carry_out(&self, verb: Verb, by: impl FnOnce() -> String) -> Answer {
        let answer = match verb {
            Verb::Status => Ok(self.status()),
            Verb::Inventory => self.inventory(),
            Verb::Check { gpu } => self.check(gpu.as_deref()),
            Verb::History { gpu, limit } => self.history(gpu, limit).await,
            Verb::Pause { gpu, for_secs } => self.pause(gpu.as_deref(), Duration::from_secs(for_secs)).await,
            Verb::Resume { gpu } => self.resume(gpu.as_deref()),
            Verb::BurnInStart { gpu, mode, hours, one_by_one } => {
                self.burn_in_start(gpu.as_deref(), &mode, hours, one_by_one, by()).await
            }
            Verb::BurnInStop { gpu } => self.burn_in_stop(gpu.as_deref(), by()).await,
            Verb::BurnInShow => Ok(self.burn_in_show()),
            Verb::BurnInRecord { gpu } => self.burn_in_record(&gpu),
            Verb::HookList => Ok(self.hook_list().await),
            Verb::HookTest { event, document } => self.hook_test(&event, document).await,
            verb => self.change(&verb, &by()),
        };
        match answer {
            Ok(answer) => Answer::Ok(answer),
            Err(why) => Answer::Refused(why),
        }
    }

    async fn pause(&self, gpu: Option<&str>, length: Duration) -> Result<Json, String> {
        let (until_unix_ms, closed) = self.begin_pause(gpu, length)?;
        closed.await.map_err(|_| stopping())?;
        Ok(json!({ "until_unix_ms": until_unix_ms }))
    }

    /// Orders a pause; when it ends, and word of when the handles are closed.
    fn begin_pause(
        &self,
        gpu: Option<&str>,
        length: Duration,
    ) -> Result<(u64, oneshot::Receiver<()>), String> {
        if length.is_zero() || length > PAUSE_MAX {
            return Err(format!("a pause lasts 1 to {} seconds", PAUSE_MAX.as_secs()));
        }
        let gpu = self.address(gpu)?;
        let (done, closed) = oneshot::channel();
        self.order(Request::Pause { gpu, length, done })?;
        tracing::info!(
            gpu = gpu.map(tracing::field::display),
            seconds = length.as_secs(),
            "sampling paused on request"
        );
        Ok((clock::unix_ms() + length.as_millis() as u64, closed))
    }

    fn resume(&self, gpu: Option<&str>) -> Result<Json, String> {
        let gpu = self.address(gpu)?;
        self.order(Request::Resume { gpu })?;
        tracing::info!(gpu = gpu.map(tracing::field::display), "pause ended on request");
        Ok(Json::Null)
    }

    fn order(&self, request: Request) -> Result<(), String> {
        self.sampling.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                "sampling is busy with other requests; ask again".to_owned()
            }
            mpsc::error::TrySendError::Closed(_) => stopping(),
        })
    }

    fn address(&self, gpu: Option<&str>) -> Result<Option<PciAddress>, String> {
        let roster = self.roster.read().unwrap_or_else(PoisonError::into_inner);
        gpu.map(|gpu| which(&roster, gpu).map(|gpu| gpu.address)).transpose()
    }
}

/// The GPU that answers to a name.
fn which<'a>(roster: &'a Roster, name: &str) -> Result<&'a Gpu, String> {
    roster.find(name).ok_or_else(|| {
        format!("no GPU is called {name:?}; name it by slot, UUID, serial number or PCI address")
    })
}

fn stopping() -> String {
    "the agent is stopping".to_owned()
}
