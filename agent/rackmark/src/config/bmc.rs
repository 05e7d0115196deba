//! The BMC of `[bmc]`: its address, how it is known, and the account.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::brokers::file;
use super::reader::Reader;

/// The port of `https`.
const HTTPS: u16 = 443;

/// Where a BMC listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BmcAddress {
    /// Host name or address, an IPv6 address without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// A BMC that is to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BmcSettings {
    /// Where it listens.
    pub address: BmcAddress,
    /// File whose first line is the user name.
    pub username_file: PathBuf,
    /// File whose first line is the password.
    pub password_file: PathBuf,
    /// Who may vouch for its certificate; this or `certificate_sha256` is there.
    pub ca_file: Option<PathBuf>,
    /// SHA-256 of its certificate.
    pub certificate_sha256: Option<[u8; 32]>,
    /// Time between two looks.
    pub every: Duration,
    /// Ask for signed measurements.
    pub spdm: bool,
}

impl BmcSettings {
    /// The files that are read, to be watched.
    pub fn files(&self) -> Vec<PathBuf> {
        let account = [self.username_file.clone(), self.password_file.clone()];
        account.into_iter().chain(self.ca_file.clone()).collect()
    }
}

impl BmcAddress {
    /// Reads `https://host` or `https://host:port`, with or without a slash at its end.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("https://")?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok().filter(|port| *port != 0)?),
            _ => (rest, HTTPS),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        let plain = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c) || (bare.is_some() && c == ':');
        (!host.is_empty() && host.chars().all(plain)).then(|| Self { host: host.to_owned(), port })
    }

    /// `host:port`, an IPv6 address in brackets.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for BmcAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority())
    }
}

/// The table `bmc`; absent where it has no `url`.
pub fn bmc(r: &mut Reader) -> Option<BmcSettings> {
    let [has_url, has_username, has_password, has_ca, has_pin] =
        ["url", "username_file", "password_file", "ca_file", "certificate_sha256"]
            .map(|name| r.is_typed("bmc", name));
    let text = r.text("bmc", "url");
    let username_file = file(r, "bmc", "username_file");
    let password_file = file(r, "bmc", "password_file");
    let ca_file = file(r, "bmc", "ca_file");
    let certificate_sha256 = fingerprint(r);
    let every_secs = r.number("bmc", "every_secs", 60..=86_400);
    let spdm = r.flag("bmc", "spdm");
    let account = [("username_file", has_username), ("password_file", has_password)];
    let Some(text) = text else {
        let alone = account.into_iter().chain([("ca_file", has_ca), ("certificate_sha256", has_pin)]);
        for (name, _) in alone.filter(|(_, typed)| *typed && !has_url) {
            r.wrong("bmc", name, "set", "has no `bmc.url` beside it");
        }
        return None;
    };
    let address = BmcAddress::parse(&text);
    if address.is_none() {
        let problem = match text.starts_with("http://") {
            true => "would send the password without TLS",
            false => "is not https://host or https://host:port",
        };
        r.wrong("bmc", "url", format!("{text:?}"), problem);
    }
    for (name, _) in account.iter().filter(|(_, typed)| !typed) {
        r.wrong("bmc", "url", format!("{text:?}"), format!("has no `bmc.{name}` beside it"));
    }
    if !has_ca && !has_pin {
        let problem = "has neither `bmc.ca_file` nor `bmc.certificate_sha256` beside it: nothing would say that it is this BMC";
        let hint = "`openssl s_client -connect HOST:443 </dev/null | openssl x509 -noout -fingerprint -sha256` shows its certificate; compare it with what its own console shows";
        r.wrong_with_hint("bmc", "url", format!("{text:?}"), problem, hint);
    }
    Some(BmcSettings {
        address: address?,
        username_file: username_file?,
        password_file: password_file?,
        ca_file,
        certificate_sha256,
        every: Duration::from_secs(every_secs?.into()),
        spdm,
    })
}

fn fingerprint(r: &mut Reader) -> Option<[u8; 32]> {
    let text = r.text("bmc", "certificate_sha256")?;
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| *c != ':')
        .map(|c| c.to_digit(16).map_or(u8::MAX, |digit| digit as u8))
        .collect();
    let mut bytes = [0; 32];
    let fits = digits.len() == 2 * bytes.len() && !digits.contains(&u8::MAX);
    if !fits {
        r.wrong("bmc", "certificate_sha256", format!("{text:?}"), "is not 64 hexadecimal digits");
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = pair.iter().fold(0, |sum, digit| sum << 4 | digit);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, ConfigError};

    fn parse(bmc: &str) -> Result<Option<BmcSettings>, Vec<String>> {
        match Config::parse(&format!("[bmc]\n{bmc}\n"), Path::new("test.toml")) {
            Ok(config) => Ok(config.bmc),
            Err(ConfigError::Mistakes { mistakes, .. }) => {
                Err(mistakes.iter().map(|mistake| format!("{}: {}", mistake.key, mistake.problem)).collect())
            }
            Err(other) => panic!("{other}"),
        }
    }

    const ACCOUNT: &str = "username_file = \"/u\"\npassword_file = \"credential:p\"\n";

    #[test]
    fn addresses() {
        let read = |text| BmcAddress::parse(text).map(|address| (address.host.clone(), address.authority()));
        let known = |host: &str, authority: &str| Some((host.to_owned(), authority.to_owned()));
        assert_eq!(read("https://bmc.example"), known("bmc.example", "bmc.example:443"));
        assert_eq!(read("https://192.0.2.1:8443/"), known("192.0.2.1", "192.0.2.1:8443"));
        assert_eq!(read("https://[fd00::1]"), known("fd00::1", "[fd00::1]:443"));
        assert_eq!(read("https://[fd00::1]:1"), known("fd00::1", "[fd00::1]:1"));
        for wrong in [
            "http://bmc",
            "bmc",
            "https://",
            "https://u:p@bmc",
            "https://bmc/redfish",
            "https://a b",
            "https://bmc:0",
            "https://fd00::1",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_bmc_needs_an_account_and_something_that_says_who_it_is() {
        assert_eq!(parse(""), Ok(None));
        let digits = "0a".repeat(32);
        let colons = ["0A"; 32].join(":");
        for pin in [digits, colons] {
            let read = parse(&format!("url = \"https://b\"\n{ACCOUNT}certificate_sha256 = \"{pin}\""));
            let settings = read.expect("configuration").expect("settings");
            assert_eq!(settings.certificate_sha256, Some([10; 32]));
            assert_eq!((settings.every, settings.spdm), (Duration::from_secs(3600), false));
            assert_eq!(settings.files().len(), 2);
        }
        let read = parse(&format!("url = \"https://b\"\n{ACCOUNT}ca_file = \"/ca\"\nspdm = true"));
        assert!(read.expect("configuration").expect("settings").spdm);
    }

    #[test]
    fn every_mistake_is_told_once() {
        let mistakes = |text: &str| parse(text).expect_err("mistakes");
        let nothing_beside = mistakes("url = \"https://b\"");
        assert_eq!(nothing_beside.len(), 3, "{nothing_beside:?}");
        let several = mistakes(
            "url = \"http://b\"\nusername_file = 7\npassword_file = \"credential:../x\"\ncertificate_sha256 = \"0g\"\nevery_secs = 1",
        );
        let keys: Vec<_> =
            several.iter().filter_map(|line| line.split_once(": ")).map(|(key, _)| key).collect();
        let expected = ["username_file", "password_file", "certificate_sha256", "every_secs", "url"];
        assert_eq!(keys, expected.map(|key| format!("bmc.{key}")), "{several:?}");
        assert!(several[4].contains("without TLS"), "{several:?}");
        let alone = mistakes("password_file = \"/p\"\nca_file = \"/c\"");
        assert!(alone.len() == 2 && alone[0].contains("bmc.url"), "{alone:?}");
    }
}
