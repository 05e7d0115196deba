//! The brokers of `[mqtt]`: addresses, who may be spoken to in the clear, and
//! the files that TLS and the password come from.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::reader::Reader;
use crate::publish::mqtt::{Broker, Security};
use crate::tls::{CertificateFiles, TlsSettings};

/// Begins the name of a credential where a path is expected.
const CREDENTIAL: &str = "credential:";

/// Where systemd keeps the credentials of the packaged unit; for commands that
/// are run beside it and so are not told by `$CREDENTIALS_DIRECTORY`.
const CREDENTIALS_OF_THE_UNIT: &str = "/run/credentials/rackmark.service";

/// One broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerAddress {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// `mqtts`: by TLS.
    pub tls: bool,
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

impl BrokerAddress {
    /// Reads `mqtts://host:port` or `mqtt://host:port`; the port is 8883 or 1883 where none is given.
    pub fn parse(text: &str) -> Option<Self> {
        let (rest, tls, usual_port) = match text.strip_prefix("mqtts://") {
            Some(rest) => (rest, true, 8883),
            None => (text.strip_prefix("mqtt://")?, false, 1883),
        };
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok().filter(|port| *port != 0)?),
            _ => (rest, usual_port),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let plain = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-.:_".contains(c));
        plain.then(|| Self { host: host.to_owned(), port, tls })
    }

    /// The broker to connect to, by TLS as `tls` says where its address asks for it.
    pub fn broker(&self, tls: &TlsSettings) -> Broker {
        let security = if self.tls { Security::Tls(tls.clone()) } else { Security::Plain };
        Broker { host: self.host.clone(), port: self.port, security }
    }

    /// Whether what is sent there stays on this machine.
    fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    }
}

/// User name and where its password is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// File whose first line is the password.
    pub password_file: PathBuf,
}

pub(super) fn brokers(r: &mut Reader) -> Vec<BrokerAddress> {
    let texts = r.texts("mqtt", "brokers", 1..=8);
    let plain_hosts = r.texts("mqtt", "plain_hosts", 0..=8);
    let mut brokers = Vec::new();
    for text in texts {
        let Some(broker) = BrokerAddress::parse(&text) else {
            r.wrong("mqtt", "brokers", format!("{text:?}"), "is not mqtts://host:port or mqtt://host:port");
            continue;
        };
        if !broker.tls && !broker.is_loopback() && !plain_hosts.contains(&broker.host) {
            let problem = "would be spoken to without TLS";
            let hint = format!(
                "write mqtts://, or list \"{}\" in `mqtt.plain_hosts` if its network is protected otherwise",
                broker.host
            );
            r.wrong_with_hint("mqtt", "brokers", format!("{text:?}"), problem, hint);
        }
        brokers.push(broker);
    }
    brokers
}

pub(super) fn credentials(r: &mut Reader) -> Option<Credentials> {
    let username = r.text("mqtt", "username");
    let password_file = file(r, "mqtt", "password_file");
    match (username, password_file) {
        (Some(username), Some(password_file)) => Some(Credentials { username, password_file }),
        (Some(username), None) => {
            r.wrong("mqtt", "username", format!("{username:?}"), "has no `mqtt.password_file` beside it");
            None
        }
        (None, Some(file)) => {
            r.wrong("mqtt", "password_file", format!("{file:?}"), "has no `mqtt.username` beside it");
            None
        }
        (None, None) => None,
    }
}

pub(super) fn broker_tls(r: &mut Reader) -> Option<TlsSettings> {
    let ca_file = file(r, "mqtt", "ca_file");
    let cert_file = file(r, "mqtt", "cert_file");
    let key_file = file(r, "mqtt", "key_file");
    let server_name = r.text("mqtt", "server_name");
    let certificate = match (cert_file, key_file) {
        (Some(cert_file), Some(key_file)) => Some(CertificateFiles { cert_file, key_file }),
        (Some(file), None) => {
            r.wrong("mqtt", "cert_file", format!("{file:?}"), "has no `mqtt.key_file` beside it");
            None
        }
        (None, Some(file)) => {
            r.wrong("mqtt", "key_file", format!("{file:?}"), "has no `mqtt.cert_file` beside it");
            None
        }
        (None, None) => None,
    };
    let settings = TlsSettings { ca_file: ca_file?, certificate, server_name };
    if let Some(name) = settings.server_name.clone()
        && settings.expected_name("").is_err()
    {
        r.wrong("mqtt", "server_name", format!("{name:?}"), "is neither a host name nor an address");
    }
    Some(settings)
}

/// A path, or the credential that `credential:NAME` names.
pub(super) fn file(r: &mut Reader, section: &str, name: &str) -> Option<PathBuf> {
    let text = r.text(section, name)?;
    let Some(credential) = text.strip_prefix(CREDENTIAL) else { return Some(text.into()) };
    if credential.is_empty() || credential.starts_with('.') || credential.contains('/') {
        r.wrong(section, name, format!("{text:?}"), "is not `credential:` and the name of a credential");
        return None;
    }
    let told = std::env::var_os("CREDENTIALS_DIRECTORY");
    Some(told.as_deref().map_or(Path::new(CREDENTIALS_OF_THE_UNIT), Path::new).join(credential))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ConfigError};

    fn parse(mqtt: &str) -> Result<Config, Vec<String>> {
        match Config::parse(&format!("[mqtt]\n{mqtt}\n"), Path::new("test.toml")) {
            Ok(config) => Ok(config),
            Err(ConfigError::Mistakes { mistakes, .. }) => {
                Err(mistakes.iter().map(ToString::to_string).collect())
            }
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn broker_addresses() {
        let read = |text| BrokerAddress::parse(text).map(|broker| (broker.host, broker.port, broker.tls));
        assert_eq!(read("mqtt://127.0.0.1:1884"), Some(("127.0.0.1".to_owned(), 1884, false)));
        assert_eq!(read("mqtt://broker.example"), Some(("broker.example".to_owned(), 1883, false)));
        assert_eq!(read("mqtts://broker.example"), Some(("broker.example".to_owned(), 8883, true)));
        assert_eq!(read("mqtts://[::1]:1884"), Some(("::1".to_owned(), 1884, true)));
        for wrong in ["mqtt://", "mqtts://", "broker:1883", "mqtt://a b", "mqtt://x:0", "mqtt://x:70000"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        for text in ["mqtts://[::1]:1884", "mqtt://h:1", "mqtts://127.0.0.1:2"] {
            assert_eq!(BrokerAddress::parse(text).map(|broker| broker.to_string()).as_deref(), Some(text));
        }
    }

    #[test]
    fn without_tls_only_this_machine_and_listed_hosts_are_spoken_to() {
        for fine in
            ["mqtt://127.0.0.1:1", "mqtt://127.9.9.9", "mqtt://[::1]:1", "mqtt://localhost", "mqtts://b"]
        {
            assert!(parse(&format!("brokers = [{fine:?}]")).is_ok(), "{fine}");
        }
        for open in
            ["mqtt://10.0.0.1:1", "mqtt://broker.example", "mqtt://localhost.example", "mqtt://0.0.0.0"]
        {
            let mistakes = parse(&format!("brokers = [{open:?}]")).expect_err(open);
            assert_eq!(mistakes.len(), 1);
            assert!(mistakes[0].contains("mqtt.plain_hosts") && mistakes[0].contains(open), "{mistakes:?}");
        }
        let listed = |host| parse(&format!("brokers = [\"mqtt://10.0.0.1:1\"]\nplain_hosts = [{host:?}]"));
        assert!(listed("10.0.0.1").is_ok());
        assert!(listed("10.0.0.2").is_err());
    }

    #[test]
    fn certificate_and_key_come_together() {
        for (one, other) in [("cert_file", "key_file"), ("key_file", "cert_file")] {
            let mistakes = parse(&format!("{one} = \"/a\"")).expect_err(one);
            assert!(mistakes.len() == 1 && mistakes[0].contains(other), "{mistakes:?}");
        }
        let both = parse("cert_file = \"/a\"\nkey_file = \"/b\"").expect("both").broker_tls;
        let files = CertificateFiles { cert_file: "/a".into(), key_file: "/b".into() };
        assert_eq!(both.certificate, Some(files));
        assert!(parse("server_name = \"not a name\"").is_err());
    }

    #[test]
    fn a_credential_is_a_file_of_the_unit_and_nothing_else() {
        let config = parse("ca_file = \"credential:ca\"\nusername = \"u\"\npassword_file = \"credential:p\"");
        let config = config.expect("credentials");
        let folder = std::env::var_os("CREDENTIALS_DIRECTORY").unwrap_or(CREDENTIALS_OF_THE_UNIT.into());
        assert_eq!(config.broker_tls.ca_file, Path::new(&folder).join("ca"));
        assert_eq!(config.credentials.map(|known| known.password_file), Some(Path::new(&folder).join("p")));
        for wrong in ["credential:", "credential:../etc/passwd", "credential:a/b", "credential:.."] {
            assert!(parse(&format!("ca_file = {wrong:?}")).is_err(), "{wrong}");
        }
    }
}
