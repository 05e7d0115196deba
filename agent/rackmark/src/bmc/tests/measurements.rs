//! Measurements that components sign.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::documents::{ACTION, CHAIN, EROT, GPU, baseboard, server};
use super::fake::Then;
use super::{PATIENCE, Reply, World};
use crate::bmc::{Bmc, BmcError, ComponentEvidence, NoMeasurements, Patience, Turn};

const TASK: &str = "/redfish/v1/TaskService/Tasks/6";

/// Each component has a nonce of its own.
fn nonce(id: &str) -> [u8; 32] {
    [id.len() as u8; 32]
}

/// A transcript as SPDM 1.1 has it: the request with the nonce, then the response.
fn transcript(id: &str) -> Vec<u8> {
    let mut bytes = vec![0x11, 0xe0, 0x01, 0xff];
    bytes.extend(nonce(id));
    bytes.extend([0; 1]);
    bytes.extend([0x11, 0x60, 0, 0]);
    bytes.extend([7; 200]);
    bytes
}

fn signed(id: &str) -> Value {
    json!({
        "SignedMeasurements": STANDARD.encode(transcript(id)), "Version": "1.1.0",
        "HashingAlgorithm": "TPM_ALG_SHA_384", "SigningAlgorithm": "TPM_ALG_ECDSA_ECC_NIST_P384",
    })
}

fn asked_at(component: &str) -> String {
    format!("POST {component}/{ACTION}")
}

async fn ask(world: &World) -> Vec<ComponentEvidence> {
    world.bmc.signed_measurements(nonce).await.expect("components")
}

fn gpu(evidence: &[ComponentEvidence]) -> &ComponentEvidence {
    evidence.iter().find(|one| one.id == "HGX_IRoT_GPU_0").expect("the GPU")
}

#[tokio::test]
async fn each_component_signs_its_own_nonce() {
    let world = World::new(baseboard());
    world.fake.put(&asked_at(GPU), Reply::json(&signed("HGX_IRoT_GPU_0")));
    world.fake.put(&asked_at(EROT), Reply::json(&signed("HGX_ERoT_FPGA_0")));
    let evidence = ask(&world).await;
    assert_eq!(evidence.len(), 2, "a TPM does not speak SPDM");
    for one in &evidence {
        assert_eq!(one.measurements.as_ref().expect("signed"), &transcript(&one.id));
    }
    assert_eq!(gpu(&evidence).certificate_chain.as_deref(), Some(CHAIN.as_bytes()));
    assert_eq!(evidence[1].certificate_chain, None, "its chain is not there");
    let heard = world.fake.heard();
    let post = heard.iter().find(|heard| asked_at(GPU).ends_with(&heard.path)).expect("heard");
    let asked: Value = serde_json::from_str(&post.body).expect("json");
    let digits = "0e".repeat(32);
    assert_eq!(asked, json!({ "SlotId": 0, "MeasurementIndices": [255], "Nonce": digits }));
    assert_eq!(world.fake.count("DELETE /redfish/v1/SessionService/Sessions/1"), 1);
}

#[tokio::test]
async fn a_task_is_waited_for_by_its_monitor() {
    let world = World::new(baseboard());
    let monitor = "/redfish/v1/TaskService/TaskMonitors/6";
    world.fake.put(&asked_at(GPU), Reply { status: 202, ..Reply::bytes("") }.with("Location", monitor));
    let going = || Reply { status: 202, ..Reply::bytes("") }.with("Retry-After", "0");
    world.fake.script(monitor, [going(), going(), Reply::json(&signed("HGX_IRoT_GPU_0"))]);
    let evidence = ask(&world).await;
    assert!(gpu(&evidence).measurements.is_ok(), "{evidence:?}");
    assert_eq!(world.fake.count(&format!("GET {monitor}")), 3);
}

#[tokio::test]
async fn a_task_is_waited_for_by_itself_and_says_where_its_result_is() {
    let world = World::new(baseboard());
    let data = format!("{GPU}/Actions/SPDMGetSignedMeasurements/data");
    let task = |state: &str| {
        let headers = json!(["Host: x", format!("Location: {data}")]);
        json!({ "@odata.id": TASK, "TaskState": state, "Payload": { "HttpHeaders": headers } })
    };
    world.fake.put(&asked_at(GPU), Reply { status: 202, ..Reply::json(&task("Starting")) });
    world.fake.script(TASK, ["New", "Running", "Completed"].map(|state| Reply::json(&task(state))));
    world.fake.put(&data, Reply::json(&signed("HGX_IRoT_GPU_0")));
    let evidence = ask(&world).await;
    assert!(gpu(&evidence).measurements.is_ok(), "{evidence:?}");
    world.fake.put(TASK, Reply::json(&task("Exception")));
    let evidence = ask(&world).await;
    let why = gpu(&evidence).measurements.as_ref().expect_err("failed");
    assert!(matches!(why, NoMeasurements::Task(state) if state == "Exception"), "{why:?}");
}

#[tokio::test]
async fn a_task_elsewhere_or_without_a_place_is_not_waited_for() {
    let world = World::new(baseboard());
    let accepted = || Reply { status: 202, ..Reply::bytes("{}") };
    for (reply, name) in [
        (accepted().with("Location", "https://other.example/redfish/v1/TaskService/Tasks/6"), "elsewhere"),
        (accepted(), "nowhere"),
    ] {
        world.fake.put(&asked_at(GPU), reply);
        let evidence = ask(&world).await;
        let why = gpu(&evidence).measurements.as_ref().expect_err(name);
        let elsewhere = matches!(why, NoMeasurements::Bmc(BmcError::Redirected { .. }));
        let nowhere = matches!(why, NoMeasurements::Bmc(BmcError::NotOffered(_)));
        assert_eq!((elsewhere, nowhere), (name == "elsewhere", name == "nowhere"), "{why:?}");
    }
}

#[tokio::test]
async fn what_was_signed_for_another_nonce_is_not_taken() {
    let world = World::new(baseboard());
    world.fake.put(&asked_at(GPU), Reply::json(&signed("HGX_ERoT_FPGA_0")));
    let evidence = ask(&world).await;
    let found = gpu(&evidence);
    assert!(matches!(found.measurements, Err(NoMeasurements::AnotherNonce)), "{found:?}");
    assert_eq!(found.certificate_chain, None);
}

#[tokio::test]
async fn a_component_that_is_switched_off_is_not_asked() {
    let world = World::new(server());
    let evidence = ask(&world).await;
    let [one] = evidence.as_slice() else { panic!("{evidence:?}") };
    assert!(matches!(one.measurements, Err(NoMeasurements::SwitchedOff)), "{one:?}");
    assert_eq!(one.id, "1");
    let posts = world.fake.heard().iter().filter(|heard| heard.method == "POST").count();
    assert_eq!(posts, 1, "the session alone");
}

#[tokio::test]
async fn an_action_of_something_else_is_not_called() {
    let world = World::new(baseboard());
    let reset = "/redfish/v1/Systems/HGX_Baseboard_0/Actions/ComputerSystem.Reset";
    let component = json!({
        "ComponentIntegrityType": "SPDM", "ComponentIntegrityEnabled": true,
        "Actions": { "#ComponentIntegrity.SPDMGetSignedMeasurements": { "target": reset } },
    });
    world.fake.put(GPU, Reply::json(&component));
    let evidence = ask(&world).await;
    assert!(matches!(gpu(&evidence).measurements, Err(NoMeasurements::NotOffered)), "{evidence:?}");
    assert_eq!(world.fake.count(&format!("POST {reset}")), 0);
}

#[tokio::test]
async fn refusals_and_nonsense_have_their_reason() {
    let world = World::new(baseboard());
    for (reply, name) in [
        (Reply::status(403), "forbidden"),
        (Reply::status(503), "busy"),
        (Reply::json(&json!({ "SignedMeasurements": "§§§" })), "base64"),
        (Reply::json(&json!({})), "without"),
        (Reply::bytes("{"), "cut"),
    ] {
        world.fake.put(&asked_at(GPU), reply);
        let evidence = ask(&world).await;
        let why = gpu(&evidence).measurements.as_ref().expect_err(name);
        let fits = match name {
            "forbidden" => matches!(why, NoMeasurements::Bmc(BmcError::NotAuthorised { .. })),
            "busy" => matches!(why, NoMeasurements::Bmc(BmcError::Status { .. })),
            "base64" => matches!(why, NoMeasurements::NotBase64),
            _ => matches!(why, NoMeasurements::Bmc(BmcError::Document { .. })),
        };
        assert!(fits, "{name}: {why:?}");
    }
}

#[tokio::test]
async fn a_component_that_takes_too_long_leaves_time_for_the_others() {
    let world = World::new(baseboard());
    world.fake.put(&asked_at(GPU), Reply::bytes("{").then(Then::Hang));
    world.fake.put(&asked_at(EROT), Reply::json(&signed("HGX_ERoT_FPGA_0")));
    let short = Duration::from_millis(300);
    let evidence =
        world.impatient(Patience { component: short, ..PATIENCE }).signed_measurements(nonce).await;
    let evidence = evidence.expect("components");
    assert!(matches!(gpu(&evidence).measurements, Err(NoMeasurements::Late(_))), "{evidence:?}");
    assert!(evidence[1].measurements.is_ok(), "{evidence:?}");
    // Enough for the session, and all gone with the first component.
    let look = Duration::from_secs(3);
    let evidence = world.impatient(Patience { look, ..PATIENCE }).signed_measurements(nonce).await;
    let evidence = evidence.expect("components");
    assert_eq!(evidence.len(), 2);
    assert!(
        evidence.iter().all(|one| matches!(one.measurements, Err(NoMeasurements::Late(_)))),
        "{evidence:?}"
    );
}

#[tokio::test]
async fn whose_turn_does_not_come_is_late() {
    let world = World::new(baseboard());
    let turn = Turn::default();
    let patience = Patience { look: Duration::from_millis(300), ..PATIENCE };
    let bmc = Bmc::new(world.site.settings(world.fake.port), patience, turn.clone());
    let other = turn.0.lock().await;
    let found = bmc.signed_measurements(nonce).await;
    assert!(matches!(found, Err(BmcError::Late { .. })), "{found:?}");
    drop(other);
    assert_eq!(world.fake.connections().1, 0);
}

#[tokio::test]
async fn a_component_whose_document_is_broken_is_left_out() {
    let world = World::new(baseboard());
    world.fake.put(&asked_at(EROT), Reply::json(&signed("HGX_ERoT_FPGA_0")));
    for reply in [Reply::bytes("{"), Reply::status(404), Reply::status(403)] {
        world.fake.put(GPU, reply);
        let evidence = ask(&world).await;
        let [one] = evidence.as_slice() else { panic!("{evidence:?}") };
        assert!(one.id == "HGX_ERoT_FPGA_0" && one.measurements.is_ok(), "{one:?}");
    }
}

#[tokio::test]
async fn strangers_cannot_have_the_account_locked() {
    let world = World::new(baseboard());
    let right = std::fs::read(world.site.path("password")).expect("file");
    std::fs::write(world.site.path("password"), "wrong\n").expect("write");
    let found = world.bmc.signed_measurements(nonce).await;
    assert!(matches!(found, Err(BmcError::NotAuthorised { .. })), "{found:?}");
    for _ in 0..3 {
        let found = world.bmc.signed_measurements(nonce).await;
        assert!(matches!(found, Err(BmcError::Withheld)), "{found:?}");
    }
    let attempts = || world.fake.count("POST /redfish/v1/SessionService/Sessions");
    assert_eq!(attempts(), 1);
    std::fs::write(world.site.path("password"), right).expect("write");
    assert_eq!(ask(&world).await.len(), 2, "another password is tried");
    assert_eq!(attempts(), 2);
}

#[tokio::test]
async fn a_service_that_knows_of_no_components_says_so() {
    let world = World::new(baseboard());
    world.fake.put("/redfish/v1/ComponentIntegrity", Reply::status(404));
    let found = world.bmc.signed_measurements(nonce).await;
    assert!(matches!(found, Err(BmcError::NotOffered("ComponentIntegrity"))), "{found:?}");
    let root = json!({ "RedfishVersion": "1.0.0" });
    world.fake.put("/redfish/v1/", Reply::json(&root));
    let found = world.bmc.signed_measurements(nonce).await;
    assert!(matches!(found, Err(BmcError::NotOffered("ComponentIntegrity"))), "{found:?}");
}
