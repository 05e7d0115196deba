//! The embedded broker: in memory, on loopback, for one demo.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread::Builder;

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

use crate::exit::{Code, Failure};

/// Starts it on a thread that lives as long as the process.
pub fn start(port: u16) -> Result<(), Failure> {
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
    let config = Config {
        router: RouterConfig {
            max_connections: 16,
            max_outgoing_packet_count: 200,
            max_segment_size: 4 << 20,
            max_segment_count: 4,
            ..RouterConfig::default()
        },
        v5: Some(HashMap::from([("demo".to_owned(), server)])),
        ..Config::default()
    };
    let mut broker = Broker::new(config);
    Builder::new()
        .name("demo-broker".to_owned())
        .spawn(move || {
            if let Err(error) = broker.start() {
                tracing::error!(%error, "the embedded broker ended");
            }
        })
        .map(|_| ())
        .map_err(|error| Failure::new(Code::Internal, error))
}
