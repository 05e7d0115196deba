//! A BMC that misbehaves.

use std::time::Duration;

use hyper::body::Bytes;
use rackmark_firmware_hooks::inventory::redfish::DOCUMENT_BYTES_MAX;
use serde_json::json;
use tokio::net::TcpListener;

use super::documents::server;
use super::fake::Then;
use super::{PATIENCE, Reply, World, words};
use crate::bmc::{Bmc, BmcError, Patience, Turn};

const SYSTEM: &str = "/redfish/v1/Systems/1/";
const SHORT: Duration = Duration::from_millis(300);

fn serials(seen: &crate::bmc::Seen) -> usize {
    seen.facts.iter().filter(|fact| fact.field == "redfish_serial").count()
}

#[tokio::test]
async fn a_body_without_end_is_cut_off() {
    let world = World::new(server());
    let piece = Bytes::from(vec![b' '; 64 << 10]);
    for (reply, name) in [
        (Reply::bytes("{").then(Then::Again(piece)), "chunked"),
        (Reply::bytes(vec![b' '; DOCUMENT_BYTES_MAX + 1]), "with its length"),
    ] {
        world.fake.put(SYSTEM, reply);
        let error = world.bmc.facts().await.expect_err(name);
        assert!(matches!(error, BmcError::TooLong { .. }), "{name}: {error:?}");
    }
}

#[tokio::test]
async fn a_document_of_the_largest_size_in_chunks_is_read() {
    let world = World::new(server());
    let document = json!({ "SerialNumber": "S1", "Filler": "x".repeat(DOCUMENT_BYTES_MAX - 64) }).to_string();
    assert!(document.len() <= DOCUMENT_BYTES_MAX);
    let mut reply = Reply::bytes("").then(Then::Chunked);
    reply.pieces = document.as_bytes().chunks(1000).map(Bytes::copy_from_slice).collect();
    world.fake.put(SYSTEM, reply);
    let seen = world.bmc.facts().await.expect("facts");
    assert_eq!((serials(&seen), seen.skipped), (2, 0));
}

#[tokio::test]
async fn one_document_that_is_deep_cut_or_no_json_is_skipped() {
    let world = World::new(server());
    let whole = json!({ "SerialNumber": "S1" }).to_string();
    for (body, name) in [
        (format!("{{\"x\":{}", "[".repeat(100_000)), "deep"),
        (format!("{{\"SerialNumber\":\"S1\",\"x\":{}{}}}", "[".repeat(40), "]".repeat(40)), "deep and whole"),
        (whole[..whole.len() - 1].to_owned(), "cut"),
        ("<html><body>login</body></html>".to_owned(), "html"),
        (String::new(), "empty"),
        ("[]".to_owned(), "a list"),
    ] {
        world.fake.put(SYSTEM, Reply::bytes(body));
        let seen = world.bmc.facts().await.expect(name);
        assert_eq!((serials(&seen), seen.skipped), (1, 1), "{name}");
    }
}

#[tokio::test]
async fn a_root_that_is_no_redfish_gets_no_password() {
    let world = World::new(server());
    for body in ["<html>", "{}", "{\"RedfishVersion\":"] {
        world.fake.put("/redfish/v1/", Reply::bytes(body));
        let error = world.bmc.facts().await.expect_err(body);
        assert!(matches!(error, BmcError::Document { .. }), "{error:?}");
    }
    assert!(world.fake.heard().iter().all(|heard| heard.method == "GET" && heard.path == "/redfish/v1/"));
}

#[tokio::test]
async fn redirections_stay_on_the_bmc() {
    let world = World::new(server());
    let port = world.fake.port;
    world.fake.put("/redfish/v1/Elsewhere", Reply::json(&json!({ "SerialNumber": "S1" })));
    for location in
        ["/redfish/v1/Elsewhere".to_owned(), format!("https://127.0.0.1:{port}/redfish/v1/Elsewhere")]
    {
        world.fake.put(SYSTEM, Reply::status(308).with("Location", location));
        let seen = world.bmc.facts().await.expect("facts");
        assert_eq!((serials(&seen), seen.skipped), (2, 0));
    }
    let other = World::new(server());
    for location in [
        format!("https://127.0.0.1:{}/redfish/v1/Elsewhere", other.fake.port),
        format!("https://localhost:{port}/redfish/v1/Elsewhere"),
        format!("http://127.0.0.1:{port}/redfish/v1/Elsewhere"),
        format!("https://x@127.0.0.1:{port}/redfish/v1/Elsewhere"),
        format!("//127.0.0.1:{}/redfish/v1/Elsewhere", other.fake.port),
        "/elsewhere".to_owned(),
        "file:///etc/passwd".to_owned(),
        String::new(),
    ] {
        world.fake.put("/redfish/v1/", Reply::status(307).with("Location", location.as_str()));
        let error = world.bmc.facts().await.expect_err(&location);
        assert!(matches!(error, BmcError::Redirected { .. }), "{location}: {error:?}");
    }
    assert_eq!(other.fake.connections().1, 0);
}

#[tokio::test]
async fn redirections_have_an_end() {
    let world = World::new(server());
    world.fake.put(SYSTEM, Reply::status(302).with("Location", SYSTEM));
    let seen = world.bmc.facts().await.expect("facts");
    assert_eq!((serials(&seen), seen.skipped), (1, 1));
    assert_eq!(world.fake.count(&format!("GET {SYSTEM}")), 4);
}

#[tokio::test]
async fn a_request_that_trickles_or_hangs_ends_the_look() {
    let world = World::new(server());
    let bmc = world.impatient(Patience { request: SHORT, ..PATIENCE });
    for then in [Then::Hang, Then::Chunked] {
        let hangs = then == Then::Hang;
        world.fake.put(SYSTEM, Reply::bytes("{").then(then));
        let seen = bmc.facts().await;
        assert_eq!(matches!(seen, Err(BmcError::Late { .. })), hangs, "{seen:?}");
    }
    // The look that was given up has ended its session over a new connection.
    assert_eq!(world.fake.count("DELETE /redfish/v1/SessionService/Sessions/1"), 2);
}

#[tokio::test]
async fn a_look_as_a_whole_has_an_end() {
    let world = World::new(server());
    let bmc = world.impatient(Patience { look: SHORT, ..PATIENCE });
    world.fake.put(SYSTEM, Reply::bytes("{").then(Then::Hang));
    let error = bmc.facts().await.expect_err("late");
    assert!(words(&error).contains("the inventory"), "{}", words(&error));
    assert_eq!(world.fake.count("DELETE /redfish/v1/SessionService/Sessions/1"), 1);
}

#[tokio::test]
async fn whoever_listens_and_says_nothing_is_left() {
    let world = World::new(server());
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let mut settings = world.site.settings(silent.local_addr().expect("address").port());
    let patience = Patience { connect: SHORT, ..PATIENCE };
    let error = Bmc::new(settings.clone(), patience, Turn::default()).facts().await.expect_err("silent");
    assert!(matches!(error, BmcError::Late { .. }), "{error:?}");
    drop(silent);
    let error = Bmc::new(settings.clone(), PATIENCE, Turn::default()).facts().await.expect_err("closed");
    assert!(matches!(error, BmcError::Connect { .. }), "{error:?}");
    settings.address.host = "no-such-host.invalid".to_owned();
    let error = Bmc::new(settings, PATIENCE, Turn::default()).facts().await.expect_err("name");
    assert!(matches!(error, BmcError::Connect { .. }), "{error:?}");
}

#[tokio::test]
async fn a_connection_that_breaks_ends_the_look_and_one_that_was_closed_is_opened_again() {
    let world = World::new(server());
    world.fake.put(SYSTEM, Reply::bytes("{\"SerialNumber\":").then(Then::Break));
    let error = world.bmc.facts().await.expect_err("broken");
    assert!(matches!(error, BmcError::Http { .. }), "{error:?}");
    let closing = Reply::json(&json!({ "SerialNumber": "S1" })).with("Connection", "close");
    world.fake.put(SYSTEM, closing);
    let before = world.fake.connections().1;
    let seen = world.bmc.facts().await.expect("facts");
    assert_eq!((serials(&seen), seen.skipped), (2, 0));
    assert_eq!(world.fake.connections().1, before + 2);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let world = World::new(server());
    let mut reply = Reply::json(&json!({ "SerialNumber": "S1" }));
    for _ in 0..80 {
        reply = reply.with("X-Filler", "x".repeat(2000));
    }
    world.fake.put(SYSTEM, reply);
    assert!(matches!(world.bmc.facts().await, Err(BmcError::Http { .. })));
}

#[tokio::test]
async fn collections_have_an_end() {
    let world = World::new(server());
    let members: Vec<_> =
        (0..300).map(|number| json!({ "@odata.id": format!("/redfish/v1/Systems/{number}") })).collect();
    let page = json!({ "Members": members, "Members@odata.nextLink": "/redfish/v1/Systems/" });
    world.fake.put("/redfish/v1/Systems/", Reply::json(&page));
    let seen = world.bmc.facts().await.expect("facts");
    // 16 are asked for and not there, 240 are over the number, 44 over what is read of one page.
    assert_eq!(seen.skipped, 300);
    assert_eq!(world.fake.count("GET /redfish/v1/Systems/"), 1);
    let page = json!({ "Members": [], "Members@odata.nextLink": "/redfish/v1/Systems/" });
    world.fake.put("/redfish/v1/Systems/", Reply::json(&page));
    assert!(world.bmc.facts().await.is_ok());
    assert_eq!(world.fake.count("GET /redfish/v1/Systems/"), 17);
}
