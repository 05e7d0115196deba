//! What a server is: gathered, shown, kept, and compared with the last time.

use std::fs;
use std::time::Duration;

use rackmark_e2e::Outcome;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::process::wait_for;
use rackmark_e2e::sim::Sim;
use serde_json::Value as Json;

/// A structure of a firmware's table: type, body after the header, strings (DSP0134, 6.1).
fn structure(kind: u8, body: &[u8], strings: &[&str]) -> Vec<u8> {
    let mut bytes = vec![kind, 4 + body.len() as u8, kind, 0];
    bytes.extend(body);
    strings.iter().for_each(|text| bytes.extend(format!("{text}\0").bytes()));
    bytes.extend(if strings.is_empty() { &[0, 0][..] } else { &[0] });
    bytes
}

/// Writes tables with the serial number of the only memory module, where the collector looks for them.
fn firmware(sim: &Sim, module: &str) -> Outcome<()> {
    let mut system = [0; 0x17];
    system[..4].copy_from_slice(&[1, 2, 0, 3]);
    system[4..20].copy_from_slice(&[7; 16]);
    let mut memory = [0; 0x1B - 4];
    // 16 GiB, in MiB.
    memory[0x0C - 4..][..2].copy_from_slice(&0x4000_u16.to_le_bytes());
    memory[0x10 - 4] = 1;
    memory[0x18 - 4] = 2;
    let parts = [
        structure(1, &system, &["Example", "GPU server", "S482914X"]),
        structure(17, &memory, &["DIMM_A1", module]),
        structure(127, &[], &[]),
    ];
    let table = parts.concat();
    let mut entry = b"_SM3_\0\x18\x03\x05\0\x01\0".to_vec();
    entry.extend((table.len() as u32).to_le_bytes());
    entry.extend([0; 8]);
    entry[5] = entry.iter().fold(0, |sum: u8, byte| sum.wrapping_sub(*byte));
    let folder = sim.path().join("sysfs/firmware/dmi/tables");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("smbios_entry_point"), entry)?;
    fs::write(folder.join("DMI"), table)?;
    Ok(())
}

fn inventory(agent: &Agent) -> Option<Json> {
    let output = agent.cli(&["inventory", "--json"]).ok().filter(|output| output.status.success())?;
    serde_json::from_slice(&output.stdout).ok()
}

fn value(inventory: &Json, component: &str, instance: &str, field: &str) -> Option<String> {
    let facts = inventory["facts"].as_array()?;
    let fact = facts.iter().find(|fact| {
        fact["component"] == component && fact["instance"] == instance && fact["field"] == field
    })?;
    fact["value"].as_str().map(str::to_owned)
}

/// Waits for an inventory in which a fact has this value.
fn wait_for_value(agent: &Agent, fact: (&str, &str, &str), wanted: Option<&str>) -> Outcome<Json> {
    let (component, instance, field) = fact;
    let found = wait_for(&format!("{component} {instance} {field}"), Duration::from_secs(15), || {
        inventory(agent).filter(|all| value(all, component, instance, field).as_deref() == wanted)
    });
    found.map_err(|error| format!("{error}; log:\n{}", agent.log()).into())
}

#[test]
fn a_server_is_described_from_firmware_to_gpu_and_what_changed_while_it_was_off_is_said() -> Outcome<()> {
    let sim = Sim::profile("h100-sxm-8", Some(2))?;
    firmware(&sim, "80CE01")?;
    let setup = Setup::on(&sim);
    let mut agent = Agent::sampling(&setup)?;
    agent.wait("both GPUs", Duration::from_secs(5), |scrape| {
        scrape.contains("rackmark_gpu_up{gpu=\"1\"} 1")
    })?;
    let status = agent.status()?;
    let gpu = &status["gpus"][1];
    let text = |name: &str| gpu[name].as_str().map(str::to_owned);
    let address = text("pci_address").ok_or("address")?.to_lowercase();
    let address = address.strip_prefix("0000").ok_or("address")?;
    let serial = text("serial").ok_or("serial")?;
    // The first look comes before the GPUs answer, the next one when they do.
    let all = wait_for_value(&agent, ("gpu", address, "serial"), Some(&serial))?;
    assert_eq!(value(&all, "gpu", address, "uuid"), text("uuid"));
    assert_eq!(value(&all, "system", "", "serial").as_deref(), Some("S482914X"));
    assert_eq!(value(&all, "memory", "DIMM_A1", "serial").as_deref(), Some("80CE01"));
    assert_eq!(value(&all, "pci", address, "vendor").as_deref(), Some("10de"));
    assert_eq!(value(&all, "uefi", "", "boot_mode").as_deref(), Some("legacy"));
    assert_eq!(all["digest"].as_str().map(str::len), Some(64));
    assert_eq!(all["findings"], serde_json::json!([]), "{:#}", all["findings"]);
    assert!(!agent.log().contains("inventory: "), "the first look is no change: {}", agent.log());

    let page = String::from_utf8(agent.cli(&["inventory"])?.stdout)?;
    assert!(page.contains("DIMM_A1") && page.contains("\nGPU ") && page.contains(&serial), "{page}");

    agent.process.terminate(Duration::from_secs(5))?;
    firmware(&sim, "80CE02")?;
    let agent = agent.again(&setup)?;
    let again = wait_for_value(&agent, ("memory", "DIMM_A1", "serial"), Some("80CE02"))?;
    // NVML was not asked yet, or says the same as before.
    assert_eq!(value(&again, "gpu", address, "serial"), Some(serial));
    let told = || {
        let log = agent.log();
        log.contains("inventory: ").then_some(log)
    };
    let log = wait_for("the change", Duration::from_secs(5), told)?;
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("inventory: ")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].ends_with("serial of memory DIMM_A1 is 80CE02 after 80CE01"), "{log}");
    Ok(())
}

#[test]
fn a_card_that_is_another_one_than_nvml_says_is_found() -> Outcome<()> {
    let sim = Sim::profile("h100-sxm-8", Some(2))?;
    let agent = Agent::sampling(&Setup::on(&sim))?;
    // A faked library names a better card than there is.
    let status = agent.status()?;
    let address = status["gpus"][0]["pci_address"].as_str().ok_or("address")?.to_lowercase();
    let address = address.strip_prefix("0000").ok_or("address")?.to_owned();
    drop(agent);
    fs::write(sim.path().join("sysfs/devices/pci0000:00").join(&address).join("device"), "0x1db1\n")?;
    let agent = Agent::sampling(&Setup::on(&sim))?;
    let found = wait_for("the finding", Duration::from_secs(15), || {
        let all = inventory(&agent)?;
        all["findings"].as_array().and_then(|list| list.first()).cloned()
    })?;
    assert_eq!(found["code"], "gpu_device_id_mismatch");
    assert_eq!(found["instance"], address.as_str());
    let page = String::from_utf8(agent.cli(&["inventory"])?.stdout)?;
    assert!(page.contains("gpu_device_id_mismatch") && page.contains("lspci"), "{page}");
    wait_for("the log", Duration::from_secs(5), || {
        agent.log().contains("gpu_device_id_mismatch").then_some(())
    })?;
    Ok(())
}
