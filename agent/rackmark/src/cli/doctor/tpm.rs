//! The TPM: who may open it, and what the agent makes of it.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::Value as Json;

use super::{Finding, fine, odd, wrong};
use crate::attesting::is_there;
use crate::config::{Config, TpmUse};
use crate::control::client::ask;
use crate::control::verbs::Verb;

pub(super) fn checks(config: &Config) -> Vec<Finding> {
    // Where no agent answers, its own check says so.
    let status = ask(&config.control_socket, &Verb::Status).ok();
    let identity = status.as_ref().map(|status| &status["identity"]).filter(|identity| !identity.is_null());
    let identity =
        identity.map(|identity| judge(identity, is_there(config) && config.attest.tpm != TpmUse::Off));
    [Some(device(config)), identity].into_iter().flatten().collect()
}

/// The device of the kernel's resource manager.
fn device(config: &Config) -> Finding {
    let check = "TPM";
    let path = config.dev_root.join("tpmrm0");
    match (fs::metadata(&path), config.attest.tpm) {
        (_, TpmUse::Off) => fine(check, "not used (attest.tpm is \"off\")"),
        (Err(_), TpmUse::Required) if !is_there(config) => wrong(
            check,
            "none, and attest.tpm is \"required\": the agent does not start",
            "switch the TPM on in the firmware, or set attest.tpm to \"auto\"",
        ),
        (Err(_), _) if !config.attest.tcti.starts_with("device:") => fine(check, config.attest.tcti.clone()),
        (Err(_), _) => fine(check, "none; the node's identity is a key in a file"),
        (Ok(node), _) if node.mode() & 0o060 == 0o060 => {
            fine(check, format!("{}, open to group {}", path.display(), node.gid()))
        }
        (Ok(node), _) => odd(
            check,
            format!("{} is open to its owner only ({:04o})", path.display(), node.mode() & 0o7777),
            "install tpm-udev or tpm2-tss, whose udev rules give it to the group tss",
        ),
    }
}

/// What the agent says of its identity; `tpm_is_there` and may be used.
fn judge(identity: &Json, tpm_is_there: bool) -> Finding {
    let check = "identity";
    let tpm = &identity["tpm"];
    if tpm.is_null() {
        return if tpm_is_there {
            odd(
                check,
                "a key in a file, though there is a TPM: this node began without it",
                "attest.tpm = \"required\" gives it the TPM's identity, which is another one; rackmark key succeed links the two",
            )
        } else {
            fine(check, "a key in a file")
        };
    }
    let maker = tpm["description"].as_str().unwrap_or("the TPM");
    match (tpm["answers"].as_bool(), tpm["trouble"].as_str()) {
        (None, _) => odd(check, "the TPM was not asked yet", "wait for the first evidence, then look again"),
        (Some(false), trouble) => {
            let trouble = trouble.unwrap_or("other");
            wrong(check, format!("{maker} does not do what it is asked ({trouble})"), hint(trouble))
        }
        (Some(true), _) if tpm["lockout"] == true => odd(
            check,
            format!("{maker} is locked out for keys with passwords; the node's own keys work on"),
            "something tries passwords, or the machine loses power often: tpm2_getcap properties-variable",
        ),
        (Some(true), _) if tpm["certified"] == false => odd(
            check,
            format!("{maker} has no certificate: verifiers see a TPM that nobody vouches for"),
            "get the certificate of its endorsement key from the maker, docs/attestation.md; virtual TPMs have none",
        ),
        (Some(true), _) => fine(check, format!("{maker}, certified by its maker")),
    }
}

/// What a person can do about it, by the link's reason.
fn hint(trouble: &str) -> &'static str {
    match trouble {
        "unreachable" => {
            "is rackmark-attest installed, is rackmark-attest.socket started? see attest.program"
        }
        "no_permission" => "the user of rackmark-attest has to be in the group of /dev/tpmrm0, mostly tss",
        "absent" => "look whether the firmware still shows the TPM",
        "cleared" => "the TPM was cleared or is another one: docs/attestation.md, \"succession\"",
        "lockout" => "wait for the TPM's recovery time, or tpm2_dictionarylockout --clear-lockout",
        "stuck" | "late" => "the TPM hangs; a power cycle of the machine resets it",
        _ => "journalctl -u rackmark has its words",
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::json;

    use super::*;
    use crate::attesting::REASONS;
    use crate::cli::doctor::{Outcome, fixture, put};

    #[test]
    fn a_tpm_is_no_must_unless_it_is_required_and_one_that_nobody_may_use_is_odd() {
        let root = tempfile::tempdir().expect("folder");
        let look = |tpm: &str| {
            let tcti = format!("device:{}", root.path().join("dev/tpmrm0").display());
            device(&fixture(root.path(), &format!("[attest]\ntcti = {tcti:?}\ntpm = {tpm:?}\n"))).outcome
        };
        assert_eq!(
            [look("auto"), look("required"), look("off")],
            [Outcome::Fine, Outcome::Wrong, Outcome::Fine]
        );
        put(root.path(), "dev/tpmrm0", "");
        for (mode, outcome) in [(0o600, Outcome::Odd), (0o640, Outcome::Odd), (0o660, Outcome::Fine)] {
            let node = root.path().join("dev/tpmrm0");
            fs::set_permissions(node, fs::Permissions::from_mode(mode)).expect("mode");
            assert_eq!(look("required"), outcome, "{mode:o}");
        }
    }

    #[test]
    fn what_the_agent_says_of_its_tpm_is_judged() {
        let tpm = |answers: Json, lockout: bool, certified: bool| {
            json!({ "class": "tpm", "tpm": {
                "answers": answers, "trouble": "lockout", "lockout": lockout,
                "description": "IBM", "certified": certified,
            }})
        };
        let of = |identity: &Json, there: bool| judge(identity, there).outcome;
        assert_eq!(of(&tpm(json!(true), false, true), true), Outcome::Fine);
        assert_eq!(of(&tpm(json!(true), false, false), true), Outcome::Odd);
        assert_eq!(of(&tpm(json!(true), true, true), true), Outcome::Odd);
        assert_eq!(of(&tpm(Json::Null, false, true), true), Outcome::Odd);
        assert_eq!(of(&tpm(json!(false), false, true), true), Outcome::Wrong);
        let software = json!({ "class": "software-key" });
        assert_eq!(of(&software, true), Outcome::Odd);
        assert_eq!(of(&software, false), Outcome::Fine);
    }

    #[test]
    fn reasons_with_a_hint_of_their_own_are_reasons_of_the_link() {
        let plain = hint("");
        let told = REASONS.iter().filter(|reason| hint(reason) != plain).count();
        assert_eq!(told, 7);
    }
}
