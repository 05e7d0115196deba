//! What waits for its hooks. Events of one class run in order, one at a time; classes do not wait for each other, so
//! that a slow hook for the inventory holds up no lease.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use rackmark_model::hook::HookEvent;
use tokio::sync::{Notify, oneshot};

use super::content::Content;
use super::runner::Outcome;

/// Most runs that wait in one class. Verdicts become one for each GPU and the node, so they never get there.
pub(super) const WAITING_MAX: usize = 128;

/// Events whose order among each other counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Inventory,
    Verdict,
    BurnIn,
    Operator,
    Lease,
}

impl Class {
    pub(super) const ALL: [Self; 5] =
        [Self::Inventory, Self::Verdict, Self::BurnIn, Self::Operator, Self::Lease];

    pub(super) const fn of(event: HookEvent) -> Self {
        match event {
            HookEvent::InventoryChanged => Self::Inventory,
            HookEvent::VerdictChanged => Self::Verdict,
            HookEvent::BeforeBurnIn | HookEvent::AfterBurnIn => Self::BurnIn,
            HookEvent::Quarantine | HookEvent::Unquarantine | HookEvent::Maintenance => Self::Operator,
            HookEvent::LeaseStart | HookEvent::LeaseEnd => Self::Lease,
        }
    }
}

/// A run that is wanted.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) content: Content,
    /// When it happened.
    pub(super) at_unix_ms: u64,
    /// Somebody tries the hooks.
    pub(super) test: bool,
    /// Who waits for the outcome.
    pub(super) answer: Option<oneshot::Sender<Outcome>>,
}

/// What became of a run that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Added {
    /// It waits.
    Waits,
    /// It became one with a run that waits.
    Merged,
    /// There is no room.
    Dropped,
}

/// The runs of one class that wait.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<VecDeque<Wanted>>,
    more: Notify,
}

impl Queue {
    pub(super) fn add(&self, wanted: Wanted) -> Added {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if merged(&mut waiting, &wanted) {
            return Added::Merged;
        }
        if waiting.len() >= WAITING_MAX {
            return Added::Dropped;
        }
        waiting.push_back(wanted);
        self.more.notify_one();
        Added::Waits
    }

    /// The next one; waits for it.
    pub(super) async fn next(&self) -> Wanted {
        loop {
            let next = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            if let Some(wanted) = next {
                return wanted;
            }
            self.more.notified().await;
        }
    }
}

/// Makes a verdict one with an earlier one on the same GPU, or the node, that no hook has seen yet: what counts is
/// what it was when hooks saw it last, and what it is now. Where both are the same there is nothing to tell.
fn merged(waiting: &mut VecDeque<Wanted>, new: &Wanted) -> bool {
    let Content::Verdict { gpu, to, reason, .. } = &new.content else { return false };
    if new.test || new.answer.is_some() {
        return false;
    }
    let slot = gpu.as_ref().map(|gpu| gpu.slot);
    let before = waiting.iter_mut().enumerate().find_map(|(at, wanted)| match &mut wanted.content {
        Content::Verdict { gpu, from, to, reason }
            if !wanted.test && gpu.as_ref().map(|gpu| gpu.slot) == slot =>
        {
            Some((at, *from, to, reason, &mut wanted.at_unix_ms))
        }
        _ => None,
    });
    let Some((at, from, earlier_to, earlier_reason, at_unix_ms)) = before else { return false };
    *earlier_to = *to;
    earlier_reason.clone_from(reason);
    *at_unix_ms = new.at_unix_ms;
    if from == *to {
        waiting.remove(at);
    }
    true
}

#[cfg(test)]
mod tests {
    use rackmark_model::Verdict;

    use super::super::GpuName;
    use super::*;
    use crate::sampling::roster::Roster;

    fn wanted(content: Content) -> Wanted {
        Wanted { content, at_unix_ms: 1, test: false, answer: None }
    }

    fn verdict(slot: Option<u8>, from: Verdict, to: Verdict) -> Wanted {
        let gpu = slot.map(|slot| GpuName::of(slot, &Roster::default()));
        wanted(Content::Verdict { gpu, from, to, reason: to.name().to_owned() })
    }

    fn waiting(queue: &Queue) -> Vec<(Vec<u8>, Verdict, Verdict)> {
        let waiting = queue.waiting.lock().expect("queue");
        let verdicts = waiting.iter().filter_map(|wanted| match &wanted.content {
            Content::Verdict { from, to, .. } => Some((wanted.content.slots(), *from, *to)),
            _ => None,
        });
        verdicts.collect()
    }

    #[test]
    fn verdicts_become_one_for_each_gpu() {
        use Verdict::{Draining, Schedulable, Unknown, Unusable};
        let queue = Queue::default();
        assert_eq!(queue.add(verdict(Some(1), Schedulable, Draining)), Added::Waits);
        assert_eq!(queue.add(verdict(None, Schedulable, Draining)), Added::Waits);
        assert_eq!(queue.add(verdict(Some(1), Draining, Unusable)), Added::Merged);
        let expected = [(vec![1], Schedulable, Unusable), (vec![], Schedulable, Draining)];
        assert_eq!(waiting(&queue), expected);
        // Back to what hooks have seen: nothing happened.
        assert_eq!(queue.add(verdict(None, Draining, Schedulable)), Added::Merged);
        assert_eq!(waiting(&queue), [(vec![1], Schedulable, Unusable)]);
        // A thousand changes of 64 GPUs do not fill it.
        for round in 0..1000 {
            for slot in 0..64 {
                let (from, to) = if round % 2 == 0 { (Unusable, Unknown) } else { (Unknown, Unusable) };
                assert_ne!(queue.add(verdict(Some(slot), from, to)), Added::Dropped);
            }
        }
        assert!(waiting(&queue).len() <= 64);
    }

    #[test]
    fn there_is_an_end_to_what_waits() {
        let queue = Queue::default();
        let lease = || wanted(Content::LeaseEnd { lease: "job".to_owned(), gpus: Vec::new() });
        for _ in 0..WAITING_MAX {
            assert_eq!(queue.add(lease()), Added::Waits);
        }
        assert_eq!(queue.add(lease()), Added::Dropped);
    }

    #[tokio::test]
    async fn what_came_first_runs_first() {
        let queue = Queue::default();
        for lease in ["a", "b"] {
            queue.add(wanted(Content::LeaseEnd { lease: lease.to_owned(), gpus: Vec::new() }));
        }
        for expected in ["a", "b"] {
            match queue.next().await.content {
                Content::LeaseEnd { lease, .. } => assert_eq!(lease, expected),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn every_event_has_a_class() {
        for event in HookEvent::ALL {
            assert!(Class::ALL.contains(&Class::of(event)));
        }
        for (at, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, at);
        }
    }
}
