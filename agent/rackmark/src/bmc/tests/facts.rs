//! What is read, with which account, and what may be missing.

use rackmark_firmware_hooks::inventory::Fact;
use serde_json::json;

use super::documents::{baseboard, server};
use super::fake::TOKEN;
use super::{PATIENCE, Reply, World, files, words};
use crate::bmc::{Bmc, BmcError, Turn};

fn lines(facts: &[Fact]) -> Vec<String> {
    let line =
        |fact: &Fact| format!("{} {} {}={}", fact.component.name(), fact.instance, fact.field, fact.value);
    facts.iter().map(line).collect()
}

#[tokio::test]
async fn a_server_is_read_in_one_session_over_one_connection() {
    let world = World::new(server());
    let seen = world.bmc.facts().await.expect("facts");
    assert_eq!(seen.skipped, 0);
    assert_eq!(
        lines(&seen.facts),
        [
            "system 1 redfish_bios_version=A48 v2.60 (12/02/2022)",
            "system 1 redfish_manufacturer=HPE",
            "system 1 redfish_model=ProLiant XL675d Gen10 Plus",
            "system 1 redfish_serial=CZ2D1X0GS4",
            "system 1 redfish_sku=P19725-B21",
            "system 1 redfish_uuid=32393150-3532-5a43-3244-315830475334",
            "chassis Self redfish_manufacturer=HPE",
            "chassis Self redfish_model=ProLiant XL675d Gen10 Plus",
            "chassis Self redfish_serial=CZ2D1X0GS4",
            "chassis Self redfish_sku=P19725-B21",
            "chassis Self redfish_type=RackMount",
            "bmc 1 redfish_firmware_version=iLO 6 v1.55",
            "bmc 1 redfish_model=iLO 6",
            "bmc 1 redfish_type=BMC",
            "bmc 1 redfish_uuid=5fb3de44-3d28-5b8e-94cc-0b0e5e6d1a1f",
            "bmc service redfish_product=ProLiant XL675d Gen10 Plus",
            "bmc service redfish_uuid=4a1cc0ff-98a6-5a4a-8a0a-2f4f9cf5ab3e",
            "bmc service redfish_vendor=HPE",
            "bmc service redfish_version=1.13.0",
            "firmware 1 name=iLO 6",
            "firmware 1 version=1.55 Sep 26 2023",
            "firmware 2 name=System ROM",
            "firmware 2 version=A48 v2.60 (12/02/2022)",
        ]
    );
    let heard = world.fake.heard();
    assert_eq!(world.fake.connections(), (1, 1));
    assert_eq!(
        (heard[0].path.as_str(), &heard[0].token, &heard[0].authorization),
        ("/redfish/v1/", &None, &None)
    );
    assert_eq!(world.fake.count("POST /redfish/v1/SessionService/Sessions"), 1);
    assert_eq!(world.fake.count("DELETE /redfish/v1/SessionService/Sessions/1"), 1);
    assert!(heard[2..].iter().all(|heard| heard.token.as_deref() == Some(TOKEN)), "{heard:?}");
    assert!(heard[1..].iter().all(|heard| heard.authorization.is_none()), "{heard:?}");
    assert!(heard.last().is_some_and(|heard| heard.method == "DELETE"));
}

#[tokio::test]
async fn a_baseboard_has_other_paths_and_gaps() {
    let world = World::new(baseboard());
    let seen = world.bmc.facts().await.expect("facts");
    let lines = lines(&seen.facts);
    for line in [
        "bmc BMC_0 redfish_serial=B1",
        "bmc HGX_BMC_0 redfish_firmware_version=HGX-22.10-1-rc67",
        "chassis HGX_Chassis_0 redfish_part_number=935-24287-0301-000",
        "chassis HGX_GPU_SXM_1 redfish_uuid=b1d0a2e7-9c3f-52d1-a5ec-0d0e6b0d8c5f",
        "system HGX_Baseboard_0 redfish_serial=1650523005310",
        "firmware HGX_FW_GPU_SXM_1 version=96.00.99.00.01",
    ] {
        assert!(lines.iter().any(|known| known == line), "{line} is not in {lines:#?}");
    }
    assert!(!lines.iter().any(|line| line.contains("asset_tag") || line.ends_with('=')), "{lines:#?}");
    assert_eq!(seen.skipped, 0);
}

#[tokio::test]
async fn parts_that_are_not_there_or_not_for_us_are_skipped() {
    let world = World::new(server());
    world.fake.put("/redfish/v1/UpdateService/", Reply::status(404));
    world.fake.put("/redfish/v1/Chassis/", Reply::status(404));
    world.fake.put("/redfish/v1/Managers/1/", Reply::status(403));
    let seen = world.bmc.facts().await.expect("facts");
    let lines = lines(&seen.facts);
    assert_eq!(seen.skipped, 3);
    assert!(lines.iter().any(|line| line == "system 1 redfish_serial=CZ2D1X0GS4"), "{lines:#?}");
    assert!(
        !lines.iter().any(|line| line.starts_with("chassis") || line.starts_with("firmware")),
        "{lines:#?}"
    );
}

#[tokio::test]
async fn an_account_that_may_read_nothing_is_an_error() {
    let world = World::new(server());
    for path in ["Managers/", "Chassis/", "Systems/", "UpdateService/"] {
        world.fake.put(&format!("/redfish/v1/{path}"), Reply::status(403));
    }
    let error = world.bmc.facts().await.expect_err("forbidden");
    assert!(matches!(error, BmcError::NotAuthorised { .. }), "{error:?}");
    assert_eq!(world.fake.count("DELETE /redfish/v1/SessionService/Sessions/1"), 1);
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_and_told_without_showing_it() {
    let world = World::new(server());
    std::fs::write(world.site.path("password"), "wrong-secret\n").expect("write");
    let error = world.bmc.facts().await.expect_err("password");
    assert!(matches!(error, BmcError::NotAuthorised { .. }), "{error:?}");
    assert_eq!(error.reason(), "account");
    assert!(words(&error).contains("it does not want to") && !format!("{error:?}").contains("secret"));
    assert_eq!(world.fake.heard().len(), 2);
    world.fake.put("POST /redfish/v1/SessionService/Sessions", Reply::status(400));
    assert!(matches!(world.bmc.facts().await, Err(BmcError::NotAuthorised { .. })));
}

#[tokio::test]
async fn a_session_that_ends_early_ends_the_look() {
    let world = World::new(server());
    world.fake.put("/redfish/v1/Chassis/", Reply::status(401));
    let error = world.bmc.facts().await.expect_err("session");
    assert!(matches!(error, BmcError::NotAuthorised { .. }), "{error:?}");
    assert_eq!(world.fake.count("GET /redfish/v1/Systems/"), 0);
}

#[tokio::test]
async fn a_service_without_sessions_gets_name_and_password() {
    for missing in [true, false] {
        let world = World::new(server());
        if missing {
            let root =
                json!({ "RedfishVersion": "1.0.0", "Managers": { "@odata.id": "/redfish/v1/Managers/" } });
            world.fake.put("/redfish/v1/", Reply::json(&root));
        } else {
            world.fake.put("POST /redfish/v1/SessionService/Sessions", Reply::status(405));
        }
        let seen = world.bmc.facts().await.expect("facts");
        assert!(lines(&seen.facts).iter().any(|line| line == "bmc 1 redfish_model=iLO 6"));
        let heard = world.fake.heard();
        assert!(
            heard.iter().all(|heard| heard.token.is_none()) && heard[0].authorization.is_none(),
            "{heard:?}"
        );
        assert!(
            heard
                .iter()
                .filter(|heard| heard.method == "GET")
                .skip(1)
                .all(|heard| heard.authorization.is_some())
        );
        assert_eq!(heard.iter().filter(|heard| heard.method == "DELETE").count(), 0);
    }
}

#[tokio::test]
async fn files_of_the_account_are_read_each_time_and_checked() {
    let world = World::new(server());
    assert_eq!(files(world.site.folder.path()), world.site.settings(1).files());
    for (file, content, reason) in
        [("username", "a:b\n", "colon"), ("password", "\n", "empty"), ("password", "", "empty")]
    {
        let path = world.site.path(file);
        let before = std::fs::read(&path).expect("file");
        std::fs::write(&path, content).expect("write");
        let error = world.bmc.facts().await.expect_err(reason);
        assert!(matches!(error, BmcError::Account { .. }) && words(&error).contains(reason), "{error:?}");
        std::fs::write(&path, before).expect("write");
    }
    assert_eq!(world.fake.count("POST /redfish/v1/SessionService/Sessions"), 0);
    assert!(world.bmc.facts().await.is_ok());
}

#[tokio::test]
async fn whoever_asks_waits_for_the_one_connection() {
    let world = World::new(server());
    let turn = Turn::default();
    let settings = world.site.settings(world.fake.port);
    let one = Bmc::new(settings.clone(), PATIENCE, turn.clone());
    let other = Bmc::new(settings, PATIENCE, turn);
    let (first, second, third) = tokio::join!(one.facts(), other.facts(), other.examine());
    assert!(first.is_ok() && second.is_ok() && third.components.is_some());
    // The service sees the end of a connection a little after the client.
    let (_, all) = world.fake.connections();
    assert_eq!(all, 3);
    let posts: Vec<_> = world
        .fake
        .heard()
        .iter()
        .filter(|heard| heard.method != "GET")
        .map(|heard| heard.method.clone())
        .collect();
    assert_eq!(posts, ["POST", "DELETE", "POST", "DELETE", "POST", "DELETE"], "one session at a time");
}
