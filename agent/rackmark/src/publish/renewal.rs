//! The files that broker connections are made from, watched for their renewal.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::mqtt::{Credentials, PublisherStats};
use crate::attesting::Changes;
use crate::config::Config;
use crate::exit::chain;
use crate::tls::{FileWatch, TlsFileError, TlsSettings, TlsSettingsError, validity};

/// Time between looks at the files: three `stat` calls are nothing, and a
/// renewed certificate has days left on the old one.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The renewed files cannot be used.
#[derive(Debug, Error)]
enum RenewalError {
    /// Certificate, key or authorities.
    #[error("certificate files do not load")]
    Tls(#[from] TlsSettingsError),
    /// The own certificate has no readable validity.
    #[error("own certificate does not say how long it is valid")]
    Validity(#[from] TlsFileError),
    /// The password.
    #[error(transparent)]
    Password(#[from] PasswordError),
}

/// The password file cannot be read.
#[derive(Debug, Error)]
#[error("cannot read the broker password in {}", path.display())]
pub struct PasswordError {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

/// User name and password as the files say now; `None` where none are configured.
///
/// # Errors
/// [`PasswordError`].
pub fn read_credentials(config: &Config) -> Result<Option<Credentials>, PasswordError> {
    let Some(credentials) = &config.credentials else { return Ok(None) };
    let path = &credentials.password_file;
    let text = fs::read_to_string(path).map_err(|source| PasswordError { path: path.clone(), source })?;
    let password = Bytes::copy_from_slice(text.lines().next().unwrap_or("").as_bytes());
    Ok(Some(Credentials { username: credentials.username.clone(), password }))
}

/// The files of one publisher.
pub struct RenewableFiles {
    config: Arc<Config>,
    /// `None` where no broker is reached by TLS.
    tls: Option<TlsSettings>,
    files: FileWatch,
    stats: Arc<PublisherStats>,
    changes: Changes,
}

impl RenewableFiles {
    /// Notes how the files are now; to be called before they are read for the first connection.
    pub fn new(config: &Arc<Config>, stats: Arc<PublisherStats>, changes: Changes) -> Self {
        let tls = config.brokers.iter().any(|broker| broker.tls).then(|| config.broker_tls.clone());
        let password = config.credentials.iter().map(|credentials| credentials.password_file.clone());
        let files = tls.iter().flat_map(TlsSettings::files).chain(password);
        let files = FileWatch::new(files.collect::<Vec<_>>());
        let files = Self { config: Arc::clone(config), tls, files, stats, changes };
        // Where they do not load, the failed connection says so.
        let _ = files.load();
        // Another configuration may name another certificate.
        files.changes.certificate();
        files
    }

    /// Looks every 5 s and at SIGHUP, and tells `renew` when changed files load. Never ends.
    pub async fn watch(mut self, renew: watch::Sender<Option<Credentials>>) {
        let mut hangup = signal(SignalKind::hangup())
            .inspect_err(|error| tracing::warn!(%error, "certificate files are not looked at on SIGHUP"))
            .ok();
        let mut due = interval(LOOK_EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = due.tick() => {}
                Some(()) = async { hangup.as_mut()?.recv().await } => {}
            }
            if !self.files.changed() {
                continue;
            }
            match self.load() {
                Ok(credentials) => {
                    tracing::info!("files of the broker connection were replaced: connecting again");
                    renew.send_replace(credentials);
                    self.changes.certificate();
                }
                Err(error) => {
                    self.stats.note_renewal_failure();
                    tracing::error!(
                        error = chain(&error),
                        "replaced files of the broker connection are not used, the connection stays"
                    );
                }
            }
        }
    }

    fn load(&self) -> Result<Option<Credentials>, RenewalError> {
        if let Some(tls) = &self.tls {
            tls.client_config()?;
            let own = tls.certificate.as_ref().map(|own| validity(&own.cert_file)).transpose()?;
            self.stats.note_certificate(own.map(|own| own.not_after_unix_s));
        } else {
            self.stats.note_certificate(None);
        }
        Ok(read_credentials(&self.config)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::mqtt::PublisherStats;

    #[tokio::test(start_paused = true)]
    async fn a_replaced_password_is_read_and_a_missing_one_changes_nothing() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("password");
        fs::write(&file, "old\n").expect("write");
        let text = format!("[mqtt]\nusername = \"node\"\npassword_file = {file:?}\n");
        let config = Arc::new(Config::parse(&text, "test.toml".as_ref()).expect("configuration"));
        let stats = Arc::new(PublisherStats::default());
        let failures = || stats.snapshot().renewal_failures_total;
        let (renew, mut renewed) = watch::channel(None);
        let files = RenewableFiles::new(&config, stats.clone(), Changes::default());
        let task = tokio::spawn(files.watch(renew));

        fs::remove_file(&file).expect("remove");
        while failures() == 0 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        tokio::time::sleep(LOOK_EVERY * 10).await;
        assert_eq!((failures(), renewed.has_changed().expect("watched")), (1, false), "said once");
        fs::write(&file, "new\nsecond line").expect("write");
        renewed.changed().await.expect("watched");
        let now = renewed.borrow_and_update().clone().expect("credentials");
        assert_eq!((now.username.as_str(), &*now.password), ("node", &b"new"[..]));
        task.abort();
    }
}
