//! What the BMC says the machine is.

use rackmark_firmware_hooks::inventory::Fact;
use rackmark_firmware_hooks::inventory::redfish::{
    Collection, Described, DocumentError, Resource, ResourcePath, ServiceRoot, firmware_inventory,
};

use super::client::Client;
use super::error::BmcError;
use crate::exit::chain;

/// Pages of one collection that are followed.
const PAGES_MAX: usize = 16;

/// The collections, and how many members of each are read: a baseboard of eight GPUs has some forty enclosures and
/// sixty pieces of firmware.
const MANAGERS_MAX: usize = 16;
const CHASSIS_MAX: usize = 128;
const SYSTEMS_MAX: usize = 16;
const FIRMWARE_MAX: usize = 128;

/// What one look gave.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// In order.
    pub facts: Vec<Fact>,
    /// Documents that were not shown to this account, are not there, cannot be used, or were too many.
    pub skipped: usize,
}

/// Reads managers, chassis, systems and firmware. A single document that cannot be had is skipped and counted.
///
/// # Errors
/// [`BmcError`] where the connection fails, or nothing may be read.
pub async fn read(client: &mut Client, root: &ServiceRoot) -> Result<Seen, BmcError> {
    let mut reading = Reading { client, described: Described::default(), skipped: 0, read: 0, refused: None };
    reading.described.service(root);
    for (kind, collection, most) in [
        (Resource::Manager, &root.managers, MANAGERS_MAX),
        (Resource::Chassis, &root.chassis, CHASSIS_MAX),
        (Resource::System, &root.systems, SYSTEMS_MAX),
    ] {
        if let Some(collection) = collection {
            reading.collection(kind, collection, most).await?;
        }
    }
    if let Some(service) = &root.update_service
        && let Some(document) = reading.document(service).await?
        && let Some(collection) = reading.usable(service, firmware_inventory(&document)).flatten()
    {
        reading.collection(Resource::Firmware, &collection, FIRMWARE_MAX).await?;
    }
    match reading.refused {
        Some(error) if reading.read == 0 => Err(error),
        _ => Ok(Seen { facts: reading.described.finish(), skipped: reading.skipped }),
    }
}

/// The members of a collection, page by page, at most `most`; how many are left out beside them.
///
/// # Errors
/// [`BmcError`].
pub async fn members(
    client: &mut Client,
    collection: &ResourcePath,
    most: usize,
) -> Result<(Vec<ResourcePath>, usize), BmcError> {
    let (mut found, mut left_out) = (Vec::new(), 0);
    let mut next = Some(collection.clone());
    for _ in 0..PAGES_MAX {
        let Some(at) = next.take() else { break };
        let bytes = client.get(&at).await?;
        let page = Collection::parse(&bytes).map_err(|source| unusable(&at, source))?;
        found.extend(page.members);
        left_out += page.left_out;
        next = page.next.filter(|_| found.len() < most);
    }
    left_out += found.len().saturating_sub(most);
    found.truncate(most);
    Ok((found, left_out))
}

/// A document that is not what it should be.
pub fn unusable(at: &ResourcePath, source: DocumentError) -> BmcError {
    BmcError::Document { path: at.as_str().to_owned(), source }
}

struct Reading<'a> {
    client: &'a mut Client,
    described: Described,
    skipped: usize,
    read: usize,
    /// The first time that the account was not let in.
    refused: Option<BmcError>,
}

impl Reading<'_> {
    async fn collection(&mut self, kind: Resource, at: &ResourcePath, most: usize) -> Result<(), BmcError> {
        let listed = members(self.client, at, most).await;
        let Some((members, left_out)) = self.had(listed)? else { return Ok(()) };
        self.skipped += left_out;
        for member in members {
            if let Some(document) = self.document(&member).await? {
                let taken = self.described.resource(kind, &member, &document);
                self.read += usize::from(self.usable(&member, taken).is_some());
            }
        }
        Ok(())
    }

    async fn document(&mut self, at: &ResourcePath) -> Result<Option<hyper::body::Bytes>, BmcError> {
        let answer = self.client.get(at).await;
        self.had(answer)
    }

    /// What is missing, forbidden or broken by itself is no reason to give up the rest.
    fn had<T>(&mut self, answer: Result<T, BmcError>) -> Result<Option<T>, BmcError> {
        let error = match answer {
            Ok(value) => return Ok(Some(value)),
            Err(error) if error.is_of_one_document() => error,
            Err(error) => return Err(error),
        };
        tracing::debug!(error = chain(&error), "a document of the BMC is skipped");
        self.skipped += 1;
        if matches!(error, BmcError::NotAuthorised { .. }) {
            self.refused.get_or_insert(error);
        }
        Ok(None)
    }

    fn usable<T>(&mut self, at: &ResourcePath, taken: Result<T, DocumentError>) -> Option<T> {
        match taken {
            Ok(value) => Some(value),
            Err(source) => {
                let error = unusable(at, source);
                tracing::debug!(error = chain(&error), "a document of the BMC is skipped");
                self.skipped += 1;
                None
            }
        }
    }
}
