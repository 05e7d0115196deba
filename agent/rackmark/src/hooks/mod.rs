//! Lets the hooks of the site run when something happens ([`Noticing`] and the verbs tell of it), one after the other
//! for each class of events ([`queue`]), in a process of their own ([`link`]), and tells log, feed and metrics how it
//! went ([`runner`]). Whoever tells of something never waits for a hook.

mod content;
mod counts;
mod link;
mod noticing;
mod queue;
mod runner;

use std::sync::Arc;

use rackmark_model::hook::HookEvent;
use serde_json::Value as Json;
use tokio::sync::{oneshot, watch};

pub use content::{Content, GpuName};
pub use counts::{EventCounts, Results};
pub use noticing::{Noticing, of_verb};
pub use runner::{Listed, Outcome, Runner};

use crate::clock;
use crate::config::Config;
use counts::Counts;
use queue::{Class, Queue, Wanted};

/// The near side: what happened is told here.
#[derive(Clone)]
pub struct Hooks(Arc<Inner>);

struct Inner {
    config: watch::Receiver<Arc<Config>>,
    node_id: String,
    queues: [Queue; Class::ALL.len()],
    counts: Counts,
}

impl Hooks {
    /// Nothing runs before a [`Runner`] does.
    pub fn new(config: watch::Receiver<Arc<Config>>, node_id: &str) -> Self {
        Self(Arc::new(Inner {
            config,
            node_id: node_id.to_owned(),
            queues: Class::ALL.map(|_| Queue::default()),
            counts: Counts::default(),
        }))
    }

    /// Something happened: its hooks run as soon as those of its class before it are done.
    pub fn happened(&self, content: Content) {
        if self.0.config.borrow().hooks.enabled {
            self.want(content, None, false);
        }
    }

    /// Runs the hooks of an event and waits for them. With `test` the document says that nothing happened.
    ///
    /// # Errors
    /// Why they are not run, in one sentence.
    pub async fn run(&self, content: Content, test: bool) -> Result<Outcome, String> {
        if !self.0.config.borrow().hooks.enabled {
            return Err("hooks.enabled is false".to_owned());
        }
        let (answer, answered) = oneshot::channel();
        let event = content.event();
        if !self.want(content, Some(answer), test) {
            return Err(format!("too many runs wait for hooks of the class of {}", event.name()));
        }
        answered.await.map_err(|_| "the agent is stopping".to_owned())
    }

    /// How runs went so far, for each event that had any.
    pub fn counts(&self) -> Vec<(HookEvent, EventCounts)> {
        self.0.counts.snapshot()
    }

    fn want(&self, content: Content, answer: Option<oneshot::Sender<Outcome>>, test: bool) -> bool {
        let event = content.event();
        let wanted = Wanted { content, at_unix_ms: clock::unix_ms(), test, answer };
        match self.queue(Class::of(event)).add(wanted) {
            queue::Added::Waits => true,
            queue::Added::Merged => {
                self.0.counts.merged(event);
                true
            }
            queue::Added::Dropped => {
                self.0.counts.dropped(event);
                tracing::error!(event = event.name(), "hooks are not run: too many runs wait already");
                false
            }
        }
    }

    fn queue(&self, class: Class) -> &Queue {
        &self.0.queues[class as usize]
    }

    /// What a hook reads: one line of JSON.
    fn document(&self, wanted: &Wanted) -> Vec<u8> {
        let config = self.0.config.borrow();
        let around = [
            ("version", Json::from(content::VERSION)),
            ("event", wanted.content.event().name().into()),
            ("test", wanted.test.into()),
            ("site", config.site.as_str().into()),
            ("node", config.node.as_str().into()),
            ("node_id", self.0.node_id.as_str().into()),
            ("at_unix_ms", wanted.at_unix_ms.into()),
        ];
        content::line(&wanted.content, around)
    }
}
