//! The BMC: does it answer, is it the one that is meant, does it let us in, do components sign through it?

use std::time::Duration;

use rackmark_firmware_hooks::inventory::redfish::{Component, ServiceRoot};

use super::{Finding, fine, odd, wrong};
use crate::bmc::{Bmc, BmcError, Examined, Patience, Turn};
use crate::cli::one_shot::block_on;
use crate::config::BmcSettings;
use crate::exit::chain;

/// A person waits; the daemon is more patient.
const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(5),
    request: Duration::from_secs(15),
    look: Duration::from_secs(60),
    component: Duration::from_secs(60),
    task: Duration::from_secs(2),
};

/// Everything about the BMC.
pub(super) fn check(settings: &BmcSettings) -> Vec<Finding> {
    let bmc = Bmc::new(settings.clone(), PATIENCE, Turn::default());
    match block_on(async { Ok(bmc.examine().await) }) {
        Ok(examined) => judge(settings, &examined),
        Err(failure) => vec![wrong("BMC", chain(&*failure.error), "")],
    }
}

fn judge(settings: &BmcSettings, examined: &Examined) -> Vec<Finding> {
    let mut findings = vec![match &examined.service {
        Ok(root) => fine("BMC", format!("{} answers, {}", settings.address, words(root))),
        Err(error) => wrong("BMC", format!("{}: {}", settings.address, chain(error)), hint(error)),
    }];
    findings.extend(examined.account.as_ref().map(|account| match account {
        Ok(()) => fine("BMC account", "is let in and may read"),
        Err(error) => wrong("BMC account", chain(error), hint(error)),
    }));
    findings.extend(examined.components.as_ref().and_then(|found| spdm(settings, found)));
    findings
}

fn words(root: &ServiceRoot) -> String {
    let said = [&root.vendor, &root.product].into_iter().flatten().cloned();
    let version = root.version.as_ref().map(|version| format!("Redfish {version}"));
    let line = said.chain(version).collect::<Vec<_>>().join(", ");
    line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(120).collect()
}

/// Without `spdm` nobody asks for it, and there is nothing to find.
fn spdm(settings: &BmcSettings, found: &Result<Vec<Component>, BmcError>) -> Option<Finding> {
    const CHECK: &str = "BMC SPDM";
    const OFF: &str =
        "switch SPDM on in the BMC's security settings (HPE ships it off), or set bmc.spdm = false";
    if !settings.spdm {
        return None;
    }
    let components = match found {
        Ok(components) => components,
        Err(error @ BmcError::NotOffered(_)) => {
            return Some(odd(CHECK, chain(error), "this BMC signs nothing; set bmc.spdm = false"));
        }
        Err(error) => return Some(odd(CHECK, chain(error), hint(error))),
    };
    let ready = components.iter().filter(|component| component.enabled && component.action.is_some()).count();
    let off = components.iter().filter(|component| !component.enabled).count();
    let found = format!("{ready} of {} components can sign, SPDM is off for {off}", components.len());
    Some(if ready > 0 { fine(CHECK, found) } else { odd(CHECK, found, OFF) })
}

fn hint(error: &BmcError) -> &'static str {
    match error {
        BmcError::Authorities(_) => "see bmc.ca_file; run doctor as the agent's user or root",
        BmcError::Account { .. } => {
            "see bmc.username_file and bmc.password_file; run doctor as the agent's user or root"
        }
        BmcError::Connect { .. } | BmcError::Late { .. } => {
            "is the BMC reachable from this host, and bmc.url right? see docs/bmc.md"
        }
        BmcError::Handshake(_) | BmcError::AnotherCertificate { .. } => {
            "compare its certificate on its own console, then name its authority in bmc.ca_file or the certificate in bmc.certificate_sha256"
        }
        BmcError::NotAuthorised { .. } => {
            "are name and password right, is the account locked, may it read? BMCs lock accounts after a few attempts"
        }
        _ => "is it a BMC with Redfish that listens there? see bmc.url",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Outcome;
    use super::*;
    use crate::bmc::tests::{Reply, World, documents};

    fn found(world: &World, spdm: bool) -> Vec<(&'static str, Outcome, String)> {
        let settings = BmcSettings { spdm, ..world.site.settings(world.fake.port) };
        check(&settings).into_iter().map(|found| (found.check, found.outcome, found.found)).collect()
    }

    #[test]
    fn each_step_is_a_finding() {
        let world = World::new(documents::baseboard());
        let steps = found(&world, true);
        let outcomes: Vec<_> = steps.iter().map(|(check, outcome, _)| (*check, *outcome)).collect();
        let fine = Outcome::Fine;
        assert_eq!(outcomes, [("BMC", fine), ("BMC account", fine), ("BMC SPDM", fine)], "{steps:?}");
        assert!(steps[2].2.starts_with("2 of 2"), "{steps:?}");
        assert_eq!(found(&world, false).len(), 2, "nobody asks for SPDM");
        assert_eq!(world.fake.count("DELETE /redfish/v1/SessionService/Sessions/1"), 2);
    }

    #[test]
    fn spdm_that_is_switched_off_or_absent_is_odd() {
        let world = World::new(documents::server());
        let steps = found(&world, true);
        assert!(steps[2].1 == Outcome::Odd && steps[2].2.contains("off for 1"), "{steps:?}");
        world.fake.put("/redfish/v1/ComponentIntegrity/", Reply::status(404));
        let steps = found(&world, true);
        assert!(steps[2].1 == Outcome::Odd && steps[2].2.contains("no ComponentIntegrity"), "{steps:?}");
    }

    #[test]
    fn what_fails_ends_the_list_with_its_hint() {
        let world = World::new(documents::server());
        world.fake.put("/redfish/v1/Managers/", Reply::status(403));
        let steps = found(&world, true);
        assert!(steps.len() == 2 && steps[1].1 == Outcome::Wrong, "{steps:?}");
        std::fs::write(world.site.path("password"), "wrong").expect("write");
        let steps = found(&world, true);
        assert!(steps.len() == 2 && steps[1].1 == Outcome::Wrong, "{steps:?}");
        std::fs::remove_file(world.site.path("password")).expect("remove");
        assert!(found(&world, true)[1].2.contains("password"));
        world.fake.put("/redfish/v1/", Reply::json(&json!({})));
        let steps = found(&world, true);
        assert!(steps.len() == 1 && steps[0].1 == Outcome::Wrong, "{steps:?}");
        let mut settings = world.site.settings(world.fake.port);
        settings.certificate_sha256 = Some([0; 32]);
        let findings = check(&settings);
        assert!(findings[0].hint.contains("certificate_sha256") && findings[0].found.contains("SHA-256"));
        settings.ca_file = Some("/no/such/file".into());
        assert!(check(&settings)[0].hint.contains("ca_file"));
    }
}
