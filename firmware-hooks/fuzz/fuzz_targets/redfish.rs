#![no_main]

use libfuzzer_sys::fuzz_target;
use rackmark_firmware_hooks::inventory::redfish::{
    CHAIN_BYTES_MAX, Collection, Component, Described, MEMBERS_MAX, Resource, ResourcePath, ServiceRoot,
    SignedMeasurements, Task, certificate_chain, firmware_inventory, message,
};
use rackmark_firmware_hooks::inventory::{FACTS_MAX, VALUE_BYTES_MAX};

/// What is followed stays on the service.
fn on_the_service(path: &ResourcePath) {
    assert!(path.as_str().starts_with("/redfish/") && path.as_str().bytes().all(|byte| byte.is_ascii_graphic()));
}

// The bytes as every document there is, and as a path.
fuzz_target!(|bytes: &[u8]| {
    let mut described = Described::default();
    if let Ok(root) = ServiceRoot::parse(bytes) {
        described.service(&root);
        root.managers.iter().chain(&root.sessions).chain(&root.component_integrity).for_each(on_the_service);
    }
    let at = std::str::from_utf8(bytes).ok().and_then(ResourcePath::parse);
    let at = at.inspect(on_the_service).unwrap_or_else(ResourcePath::service_root);
    for kind in [Resource::Manager, Resource::Chassis, Resource::System, Resource::Firmware] {
        let _ = described.resource(kind, &at, bytes);
    }
    let facts = described.finish();
    assert!(facts.len() <= FACTS_MAX && facts.is_sorted_by(|one, next| one.key() < next.key()));
    for fact in &facts {
        assert!(!fact.value.is_empty() && fact.value.len() <= VALUE_BYTES_MAX, "{fact:?}");
        assert!(!fact.value.contains(char::is_control) && !fact.instance.contains(char::is_control), "{fact:?}");
    }
    if let Ok(page) = Collection::parse(bytes) {
        assert!(page.members.len() <= MEMBERS_MAX);
        page.members.iter().chain(&page.next).for_each(on_the_service);
    }
    if let Ok(component) = Component::parse(&at, bytes) {
        assert!(component.action.is_none_or(|action| action.is_action_of(&at)));
    }
    if let Ok(chain) = certificate_chain(bytes) {
        assert!(chain.len() <= CHAIN_BYTES_MAX);
    }
    let _ = (SignedMeasurements::parse(bytes), Task::parse(bytes), firmware_inventory(bytes));
    assert!(message(bytes).is_none_or(|message| !message.contains(char::is_control)));
});
