//! How the node shows what it is.

use super::reader::Reader;
use super::validated::{CollectLaunch, launch};

/// Whether the TPM is the node's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TpmUse {
    /// A node that starts for the first time takes the TPM's identity, where there is a TPM; after that it stays
    /// what it was.
    Auto,
    /// The TPM's, whatever the node was before.
    Required,
    /// A software key's.
    Off,
}

/// The TPM and the process that talks to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attest {
    /// Whether it is used.
    pub tpm: TpmUse,
    /// How the process comes to be.
    pub launch: CollectLaunch,
    /// The TPM, for a process started directly.
    pub tcti: String,
}

/// The table `attest`.
pub fn attest(r: &mut Reader) -> Option<Attest> {
    let launch = launch(r, "attest");
    let tcti = tcti(r);
    let text = r.text("attest", "tpm")?;
    let tpm = match text.as_str() {
        "auto" => Some(TpmUse::Auto),
        "required" => Some(TpmUse::Required),
        "off" => Some(TpmUse::Off),
        _ => {
            r.wrong("attest", "tpm", format!("{text:?}"), "is not \"auto\", \"required\" or \"off\"");
            None
        }
    };
    Some(Attest { tpm: tpm?, launch: launch?, tcti: tcti? })
}

/// The TPM's name. tpm2-tss ignores options that it does not know and would then talk to another TPM, so only what is
/// known passes.
fn tcti(r: &mut Reader) -> Option<String> {
    let text = r.text("attest", "tcti")?;
    let known = match text.split_once(':') {
        Some(("device", path)) => path.starts_with('/'),
        Some(("swtpm", options)) => options.split(',').all(|option| match option.split_once('=') {
            Some(("host", host)) => !host.is_empty(),
            Some(("port", port)) => port.parse::<u16>().is_ok_and(|port| port > 0),
            _ => false,
        }),
        _ => false,
    };
    if known {
        return Some(text);
    }
    r.wrong("attest", "tcti", format!("{text:?}"), "is not device:/PATH or swtpm:host=HOST,port=PORT");
    None
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn parse(lines: &str) -> Result<Attest, String> {
        let text = format!("[attest]\n{lines}\n");
        let config = Config::parse(&text, Path::new("test.toml"));
        config.map(|config| config.attest).map_err(|error| error.to_string())
    }

    #[test]
    fn the_process_is_started_or_reached() {
        let plain = parse("").expect("defaults");
        assert_eq!(plain.tpm, TpmUse::Auto);
        assert_eq!(plain.launch, CollectLaunch::Program("rackmark-attest".into()));
        assert_eq!(plain.tcti, "device:/dev/tpmrm0");
        let reached = parse("tpm = \"off\"\nsocket = \"/run/a.sock\"").expect("socket");
        assert_eq!(reached.tpm, TpmUse::Off);
        assert_eq!(reached.launch, CollectLaunch::Socket("/run/a.sock".into()));
        let mistakes = parse("socket = \"/run/a.sock\"\nprogram = \"b\"").expect_err("both");
        assert!(mistakes.contains("attest.socket"), "{mistakes}");
        assert!(parse("tpm = \"yes\"").expect_err("neither").contains("attest.tpm"));
    }

    #[test]
    fn only_names_of_a_tpm_that_tpm2_tss_does_not_misread_pass() {
        for good in ["device:/dev/tpm0", "swtpm:host=127.0.0.1,port=2321", "swtpm:port=2321"] {
            assert_eq!(parse(&format!("tcti = {good:?}")).expect(good).tcti, good);
        }
        for bad in [
            "",
            "device",
            "device:",
            "device:tpm0",
            "/dev/tpm0",
            "swtpm",
            "swtpm:",
            "swtpm:path=/a.sock",
            "swtpm:host=,port=1",
            "swtpm:port=0",
            "swtpm:port=70000",
            "swtpm:port=1,host=a,x=y",
            "mssim:port=2321",
            "tabrmd:",
        ] {
            let mistakes = parse(&format!("tcti = {bad:?}")).expect_err(bad);
            assert!(mistakes.contains("attest.tcti"), "{bad}: {mistakes}");
        }
    }
}
