//! What others tell the attester: something that evidence speaks of is another than before, perhaps.

use std::sync::Arc;

use rackmark_feed::EvidenceCause;
use rackmark_model::ipc::SamplerReport;
use tokio::sync::Notify;

use crate::sampling::roster::{Change, Roster};
use crate::sampling::task::Observer;

/// Word of changes. Several of one sort are one until they are heard.
#[derive(Debug, Clone, Default)]
pub struct Changes(Arc<Told>);

#[derive(Debug, Default)]
struct Told {
    inventory: Notify,
    driver: Notify,
    certificate: Notify,
}

impl Changes {
    /// The inventory says something else.
    pub fn inventory(&self) {
        self.0.inventory.notify_one();
    }

    /// The certificate for the broker may be another one.
    pub fn certificate(&self) {
        self.0.certificate.notify_one();
    }

    /// Waits for the next word.
    pub async fn heard(&self) -> EvidenceCause {
        tokio::select! {
            () = self.0.driver.notified() => EvidenceCause::DriverChanged,
            () = self.0.certificate.notified() => EvidenceCause::CertificateChanged,
            () = self.0.inventory.notified() => EvidenceCause::InventoryChanged,
        }
    }
}

/// An observer that hears of drivers that are loaded, for another one.
#[derive(Clone)]
pub struct Noticing<O> {
    changes: Changes,
    /// The driver that answered last.
    version: Option<String>,
    /// It was gone since.
    gone: bool,
    next: O,
}

impl<O> Noticing<O> {
    /// Stands before `next`.
    pub const fn new(changes: Changes, next: O) -> Self {
        Self { changes, version: None, gone: false, next }
    }
}

impl<O: Observer> Observer for Noticing<O> {
    fn reported(&mut self, roster: &Roster, report: Option<&SamplerReport>, changes: &[Change]) {
        for change in changes {
            match change {
                Change::DriverGone { .. } => self.gone = true,
                // A sampler that starts again finds the driver as it was. The first one belongs to the start.
                Change::DriverBack { version } => {
                    let before = self.version.replace(version.clone());
                    if std::mem::take(&mut self.gone) || before.is_some_and(|before| before != *version) {
                        self.changes.0.driver.notify_one();
                    }
                }
                _ => {}
            }
        }
        self.next.reported(roster, report, changes);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// What waits to be heard, if anything.
    fn heard(told: &Changes) -> Option<EvidenceCause> {
        match pin!(told.heard()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(cause) => Some(cause),
            Poll::Pending => None,
        }
    }

    struct Nobody;

    impl Observer for Nobody {
        fn reported(&mut self, _: &Roster, _: Option<&SamplerReport>, _: &[Change]) {}
    }

    #[test]
    fn a_driver_counts_when_it_is_another_one_or_was_gone() {
        let told = Changes::default();
        let mut noticing = Noticing::new(told.clone(), Nobody);
        let mut told_of = |change: Change| {
            noticing.reported(&Roster::default(), None, &[change]);
            heard(&told)
        };
        let back = |version: &str| Change::DriverBack { version: version.to_owned() };
        let gone = || Change::DriverGone { cause: String::new() };
        assert_eq!(told_of(back("580.1")), None, "the start tells of it");
        assert_eq!(told_of(back("580.1")), None, "another sampler, the same driver");
        assert_eq!(told_of(back("580.2")), Some(EvidenceCause::DriverChanged));
        assert_eq!(told_of(gone()), None);
        assert_eq!(told_of(gone()), None);
        assert_eq!(told_of(back("580.2")), Some(EvidenceCause::DriverChanged), "loaded anew");
        assert_eq!(told_of(back("580.2")), None);
    }

    #[test]
    fn words_of_one_sort_are_one() {
        let told = Changes::default();
        told.inventory();
        told.inventory();
        told.certificate();
        let mut causes = Vec::new();
        while let Some(cause) = heard(&told) {
            causes.push(cause.name());
        }
        causes.sort_unstable();
        assert_eq!(causes, ["certificate_changed", "inventory_changed"]);
    }
}
