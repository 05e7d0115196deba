//! The local door: a Unix socket with one JSON request and one JSON answer per
//! connection. Every verb here has, or will have, a twin that a signed command
//! may use over MQTT; both end in [`verbs`].

pub mod client;
pub mod server;
pub mod verbs;
