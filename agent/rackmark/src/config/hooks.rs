//! The hooks of the site.

use std::path::PathBuf;
use std::time::Duration;

use rackmark_model::hook::HookEvent;

use super::reader::Reader;
use super::validated::{CollectLaunch, launch};

/// Whether, where and for how long hooks run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookSettings {
    /// They do.
    pub enabled: bool,
    /// Has a folder for each event. An event without one has no hooks, and nothing is started for it.
    pub dir: PathBuf,
    /// How the process that runs them comes to be.
    pub launch: CollectLaunch,
    /// How long each hook may take.
    pub timeout: Duration,
    /// The same for single events.
    pub timeouts: Vec<(HookEvent, Duration)>,
}

impl HookSettings {
    /// How long each hook of an event may take.
    pub fn timeout(&self, event: HookEvent) -> Duration {
        let own = self.timeouts.iter().find(|(of, _)| *of == event);
        own.map_or(self.timeout, |(_, timeout)| *timeout)
    }
}

/// Longest time for a hook, in seconds.
const TIMEOUT_SECS_MAX: u32 = 3600;

/// The table `hooks`.
pub fn hooks(r: &mut Reader) -> Option<HookSettings> {
    let enabled = r.flag("hooks", "enabled");
    let dir = dir(r);
    let launch = launch(r, "hooks");
    let timeout_secs = r.number("hooks", "timeout_secs", 1..=TIMEOUT_SECS_MAX);
    let timeouts = timeouts(r);
    let timeout = Duration::from_secs(timeout_secs?.into());
    Some(HookSettings { enabled, dir: dir?, launch: launch?, timeout, timeouts })
}

fn dir(r: &mut Reader) -> Option<PathBuf> {
    let dir = PathBuf::from(r.text("hooks", "dir")?);
    if dir.is_absolute() {
        return Some(dir);
    }
    r.wrong("hooks", "dir", format!("{dir:?}"), "is not an absolute path");
    None
}

fn timeouts(r: &mut Reader) -> Vec<(HookEvent, Duration)> {
    let mut timeouts: Vec<(HookEvent, Duration)> = Vec::new();
    for text in r.texts("hooks", "timeouts", 0..=HookEvent::ALL.len()) {
        let parsed = text.split_once('=').and_then(|(event, seconds)| {
            let seconds = seconds.trim().parse().ok().filter(|secs| (1..=TIMEOUT_SECS_MAX).contains(secs))?;
            Some((HookEvent::by_name(event.trim())?, Duration::from_secs(seconds.into())))
        });
        match parsed {
            Some((event, _)) if timeouts.iter().any(|(known, _)| *known == event) => {
                r.wrong("hooks", "timeouts", format!("{text:?}"), "names an event twice");
            }
            Some(timeout) => timeouts.push(timeout),
            None => {
                let problem = format!("is not event=seconds, with 1 to {TIMEOUT_SECS_MAX} seconds");
                r.wrong("hooks", "timeouts", format!("{text:?}"), problem);
            }
        }
    }
    timeouts
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn parse(lines: &str) -> Result<HookSettings, String> {
        let text = format!("[hooks]\n{lines}\n");
        let config = Config::parse(&text, Path::new("test.toml"));
        config.map(|config| config.hooks).map_err(|error| error.to_string())
    }

    #[test]
    fn an_event_may_have_a_time_of_its_own() {
        let plain = parse("").expect("defaults");
        assert!(plain.enabled);
        assert_eq!(plain.dir, Path::new("/etc/rackmark/hooks.d"));
        assert_eq!(plain.launch, CollectLaunch::Program("rackmark-hook".into()));
        assert_eq!(plain.timeout(HookEvent::LeaseEnd), Duration::from_secs(30));
        let own = parse("timeout_secs = 5\ntimeouts = [\"before-burn-in = 600\"]\nsocket = \"/run/h.sock\"")
            .expect("own");
        assert_eq!(own.timeout(HookEvent::BeforeBurnIn), Duration::from_secs(600));
        assert_eq!(own.timeout(HookEvent::LeaseEnd), Duration::from_secs(5));
        assert_eq!(own.launch, CollectLaunch::Socket("/run/h.sock".into()));
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for bad in ["lease", "lease=5", "lease-end=0", "lease-end=3601", "lease-end=x"] {
            let mistakes = parse(&format!("timeouts = [{bad:?}]")).expect_err(bad);
            assert!(mistakes.contains("hooks.timeouts"), "{mistakes}");
        }
        let twice = parse("timeouts = [\"lease-end=5\", \"lease-end=6\"]").expect_err("twice");
        assert!(twice.contains("twice"), "{twice}");
        assert!(parse("dir = \"hooks.d\"").expect_err("relative").contains("hooks.dir"));
        let both = parse("socket = \"/a\"\nprogram = \"b\"").expect_err("both");
        assert!(both.contains("hooks.socket"), "{both}");
    }
}
