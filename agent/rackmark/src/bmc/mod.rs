//! The BMC over Redfish: what it says the machine is, and measurements that components sign through it.
//!
//! The BMC is known by its certificate, or not asked at all; everything it sends is a stranger's: bounded in size,
//! depth, number and time. One connection at a time, one request after the other, in a task of its own: a BMC that
//! hangs delays nothing else.

mod account;
mod client;
mod error;
mod inventory;
mod measurements;
mod task;
#[cfg(test)]
pub mod tests;
mod tls;

use std::sync::Arc;

use rackmark_firmware_hooks::inventory::redfish::{Component, ResourcePath, ServiceRoot};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, timeout, timeout_at};

use account::{Account, REFUSED, sign_in, sign_out};
use client::Client;
pub use client::Patience;
pub use error::{BmcError, REASONS};
pub use inventory::Seen;
use inventory::unusable;
pub use measurements::{ComponentEvidence, NoMeasurements};
pub use task::{BmcState, SharedBmc, watch};

use crate::config::BmcSettings;

/// One connection at a time, whoever asks: BMCs are small.
#[derive(Clone, Default)]
pub struct Turn(Arc<Mutex<LastRefused>>);

/// The account that the BMC refused, and when; none where the newest one was let in.
type LastRefused = Option<(Instant, Account)>;

/// One BMC.
pub struct Bmc {
    settings: BmcSettings,
    patience: Patience,
    turn: Turn,
}

/// A session, from its beginning to its end.
struct Visit {
    client: Client,
    root: ServiceRoot,
    session: Option<ResourcePath>,
}

/// What a look at the set-up finds, step by step; what follows a failure was not tried.
pub struct Examined {
    /// The service root, which is shown without an account.
    pub service: Result<ServiceRoot, BmcError>,
    /// Whether the account is let in, and may read.
    pub account: Option<Result<(), BmcError>>,
    /// What speaks SPDM.
    pub components: Option<Result<Vec<Component>, BmcError>>,
}

impl Bmc {
    /// Nothing is read or connected yet.
    pub const fn new(settings: BmcSettings, patience: Patience, turn: Turn) -> Self {
        Self { settings, patience, turn }
    }

    /// Reads what the BMC says the machine is.
    ///
    /// # Errors
    /// [`BmcError`].
    pub async fn facts(&self) -> Result<Seen, BmcError> {
        let mut turn = self.turn.0.lock().await;
        let account = Account::read(&self.settings)?;
        let seen = self.read(&account).await;
        note(&mut turn, &seen, account);
        seen
    }

    async fn read(&self, account: &Account) -> Result<Seen, BmcError> {
        let mut visit = self.begin(account).await?;
        let after = self.patience.look;
        let seen = timeout(after, inventory::read(&mut visit.client, &visit.root)).await;
        visit.end().await;
        seen.map_err(|_| BmcError::Late { what: "the inventory".to_owned(), after })?
    }

    /// Has every component that speaks SPDM sign its measurements, each with the nonce that `nonce` gives for its id,
    /// one after the other. What there is no time for is said to be late: waiting for the turn, all requests and all
    /// components have [`Patience::look`] together.
    ///
    /// # Errors
    /// [`BmcError`] where none could be asked. An account that the BMC refused within the last hour is not tried:
    /// strangers ask for evidence, and would lock it.
    pub async fn signed_measurements(
        &self,
        nonce: impl Fn(&str) -> [u8; 32],
    ) -> Result<Vec<ComponentEvidence>, BmcError> {
        let until = Instant::now() + self.patience.look;
        let late = |what: &str| BmcError::Late { what: what.to_owned(), after: self.patience.look };
        let mut turn: MutexGuard<'_, LastRefused> =
            timeout_at(until, self.turn.0.lock()).await.map_err(|_| late("what it was asked before"))?;
        let account = Account::read(&self.settings)?;
        if turn.as_ref().is_some_and(|(at, refused)| *refused == account && at.elapsed() < REFUSED) {
            return Err(BmcError::Withheld);
        }
        let evidence = async {
            let begun = timeout_at(until, self.begin(&account)).await;
            let mut visit = begun.map_err(|_| late("a session"))??;
            let evidence = self.ask(&mut visit, nonce, until).await;
            visit.end().await;
            evidence
        };
        let evidence = evidence.await;
        note(&mut turn, &evidence, account);
        evidence
    }

    async fn ask(
        &self,
        visit: &mut Visit,
        nonce: impl Fn(&str) -> [u8; 32],
        until: Instant,
    ) -> Result<Vec<ComponentEvidence>, BmcError> {
        let late = |_| BmcError::Late { what: "ComponentIntegrity".to_owned(), after: self.patience.look };
        let components = measurements::components(&mut visit.client, &visit.root);
        let mut evidence = Vec::new();
        for component in timeout_at(until, components).await.map_err(late)?? {
            let (id, own) = (component.id.clone(), nonce(&component.id));
            let asked = measurements::measure(&mut visit.client, component, &own, &self.patience);
            evidence.push(timeout_at(until, asked).await.unwrap_or_else(|_| ComponentEvidence {
                id,
                measurements: Err(NoMeasurements::Late(self.patience.look)),
                certificate_chain: None,
            }));
        }
        Ok(evidence)
    }

    /// Looks whether everything is set up, and reads no more than that takes.
    pub async fn examine(&self) -> Examined {
        let _turn = self.turn.0.lock().await;
        let mut examined =
            Examined { service: Err(BmcError::NotOffered("root")), account: None, components: None };
        let mut client = match self.greet().await {
            Ok((client, root)) => {
                examined.service = Ok(root);
                client
            }
            Err(error) => {
                examined.service = Err(error);
                return examined;
            }
        };
        let Ok(root) = &examined.service else { return examined };
        let signed_in = match Account::read(&self.settings) {
            Ok(account) => sign_in(&mut client, root, &account).await,
            Err(error) => Err(error),
        };
        let session = match signed_in {
            Ok(session) => session,
            Err(error) => {
                examined.account = Some(Err(error));
                return examined;
            }
        };
        let read = match &root.managers {
            Some(managers) => client.get(managers).await.map(drop),
            None => Err(BmcError::NotOffered("Managers")),
        };
        if read.is_ok() {
            let after = self.patience.look;
            let found = timeout(after, measurements::components(&mut client, root)).await;
            let late = || BmcError::Late { what: "ComponentIntegrity".to_owned(), after };
            examined.components = Some(found.unwrap_or_else(|_| Err(late())));
        }
        examined.account = Some(read);
        sign_out(&mut client, session).await;
        examined
    }

    async fn greet(&self) -> Result<(Client, ServiceRoot), BmcError> {
        let mut client = Client::new(&self.settings, self.patience)?;
        let at = ResourcePath::service_root();
        let bytes = client.get(&at).await?;
        let root = ServiceRoot::parse(&bytes).map_err(|source| unusable(&at, source))?;
        Ok((client, root))
    }

    async fn begin(&self, account: &Account) -> Result<Visit, BmcError> {
        let (mut client, root) = self.greet().await?;
        let session = sign_in(&mut client, &root, account).await?;
        Ok(Visit { client, root, session })
    }
}

/// Remembers whether the account was refused. What failed before anybody looked at it says nothing.
fn note<T>(last: &mut LastRefused, came: &Result<T, BmcError>, account: Account) {
    match came {
        Ok(_) => *last = None,
        Err(BmcError::NotAuthorised { .. }) => *last = Some((Instant::now(), account)),
        Err(_) => {}
    }
}

impl Visit {
    async fn end(mut self) {
        sign_out(&mut self.client, self.session.take()).await;
    }
}
