//! The client against a BMC that is none: real TLS, real HTTP, documents in the shapes of two makers.

pub mod documents;
mod facts;
mod fake;
mod limits;
mod measurements;
mod tls;
mod watched;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use fake::{Fake, Reply};
use rackmark_e2e::certificates::{Authority, Identity, Use};

use super::{Bmc, Patience, Turn};
use crate::config::{BmcAddress, BmcSettings};

pub const USERNAME: &str = "rackmark-ro";
pub const PASSWORD: &str = "correct horse \"battery\" staple";

/// Short, so that a test of patience is short; long enough for a busy machine.
pub const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(20),
    request: Duration::from_secs(20),
    look: Duration::from_secs(60),
    component: Duration::from_secs(20),
    task: Duration::from_millis(1),
};

/// A BMC's certificate with the authority that vouches for it, and the files of a client.
pub struct Site {
    pub folder: tempfile::TempDir,
    pub identity: Identity,
    pub ca_file: PathBuf,
}

impl Site {
    pub fn new() -> Self {
        let authority = Authority::new("site").expect("authority");
        Self::with(&authority, authority.issue(Use::Server, &["127.0.0.1"]).expect("certificate"))
    }

    pub fn with(authority: &Authority, identity: Identity) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, authority.pem()).expect("write");
        std::fs::write(folder.path().join("username"), format!("{USERNAME}\n")).expect("write");
        std::fs::write(folder.path().join("password"), format!("{PASSWORD}\n")).expect("write");
        Self { folder, identity, ca_file }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn settings(&self, port: u16) -> BmcSettings {
        BmcSettings {
            address: BmcAddress { host: "127.0.0.1".to_owned(), port },
            username_file: self.path("username"),
            password_file: self.path("password"),
            ca_file: Some(self.ca_file.clone()),
            certificate_sha256: None,
            every: Duration::from_secs(3600),
            spdm: true,
        }
    }
}

/// A BMC with these documents, and the client that is set up for it.
pub struct World {
    pub site: Site,
    pub fake: Fake,
    pub bmc: Bmc,
}

impl World {
    pub fn new(documents: Vec<(String, serde_json::Value)>) -> Self {
        let site = Site::new();
        let fake = Fake::start(&site.identity);
        for (path, document) in documents {
            fake.put(&path, Reply::json(&document));
        }
        let bmc = Bmc::new(site.settings(fake.port), PATIENCE, Turn::default());
        Self { site, fake, bmc }
    }

    pub fn impatient(&self, patience: Patience) -> Bmc {
        Bmc::new(self.site.settings(self.fake.port), patience, Turn::default())
    }
}

/// Every line of a certificate's chain of errors.
pub fn words(error: &super::BmcError) -> String {
    crate::exit::chain(error)
}

/// The files of a site that has no BMC.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    ["username", "password", "ca.pem"].map(|name| folder.join(name)).to_vec()
}
