//! `demo-broker PORT`: the broker of `rackmark demo`, in memory and on loopback.
//! It ends when its standard input does, so with whoever started it.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::thread::Builder;

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

/// Exit code of a wrong command line, after `sysexits`.
const USAGE: u8 = 64;
/// Exit code of a broker that cannot run.
const UNAVAILABLE: u8 = 69;

fn main() -> ExitCode {
    let Some(port) = std::env::args().nth(1).and_then(|port| port.parse().ok()) else {
        return say("usage: demo-broker PORT", USAGE);
    };
    let mut broker = Broker::new(config(port));
    let started = Builder::new().name("broker".to_owned()).spawn(move || {
        if let Err(error) = broker.start() {
            say(&format!("the broker ended: {error}"), UNAVAILABLE);
            std::process::exit(i32::from(UNAVAILABLE));
        }
    });
    if let Err(error) = started {
        return say(&format!("no thread for the broker: {error}"), UNAVAILABLE);
    }
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    ExitCode::SUCCESS
}

fn say(words: &str, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "demo-broker: {words}");
    ExitCode::from(code)
}

fn config(port: u16) -> Config {
    let server = ServerSettings {
        name: "demo".to_owned(),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        tls: None,
        next_connection_delay_ms: 1,
        connections: ConnectionSettings {
            connection_timeout_ms: 10_000,
            max_payload_size: 256 * 1024,
            max_inflight_count: 100,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        },
    };
    Config {
        router: RouterConfig {
            max_connections: 16,
            max_outgoing_packet_count: 200,
            max_segment_size: 4 << 20,
            max_segment_count: 4,
            ..RouterConfig::default()
        },
        v5: Some(HashMap::from([("demo".to_owned(), server)])),
        ..Config::default()
    }
}
