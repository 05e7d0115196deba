//! Network interfaces of PCI devices.

use std::io;
use std::path::Path;

use rackmark_hardware::ethtool::CardDriver;

use super::fact::{Component, Facts, Names};
use super::file;
use super::pci::{PciDevice, nearest_gpus, numa_node, of_folder, sysfs_name};

/// `NET_ADDR_PERM`: the address is the one that the card was made with.
const PERMANENT: &str = "0";

/// Returns the instances whose driver did not answer.
pub(super) fn read(
    sysfs_root: &Path,
    devices: &[PciDevice],
    card_driver: fn(&str) -> io::Result<CardDriver>,
    facts: &mut Facts,
) -> Vec<String> {
    let mut silent = Vec::new();
    let class = sysfs_root.join("class/net");
    let mut taken = Names::default();
    for name in file::names(&class) {
        let folder = class.join(&name);
        let device = folder.join("device");
        let Some(address) = device.exists().then(|| of_folder(&device)).flatten() else { continue };
        // A virtual function comes and goes with the virtual machine that has it.
        if device.join("physfn").exists() {
            continue;
        }
        let text = |name: &str| file::attribute(&folder.join(name));
        let port = text("dev_port").filter(|port| port != "0");
        let place =
            port.map_or_else(|| sysfs_name(address), |port| format!("{}/{port}", sysfs_name(address)));
        let instance = taken.unique(&place);
        let mut put = |field, value: Option<String>| facts.put_some(Component::Nic, &instance, field, value);
        put("name", Some(name.clone()));
        // A member of a bond has the bond's address while it is one.
        let permanent = text("addr_assign_type").is_none_or(|kind| kind == PERMANENT);
        put("mac", text("address").filter(|_| permanent));
        put("driver", file::link_name(&device.join("driver")));
        put("numa_node", numa_node(&device));
        put("speed_mbps", text("speed").filter(|speed| speed.parse::<u32>().is_ok_and(|speed| speed > 0)));
        put("nearest_gpus", nearest_gpus(address, devices));
        match card_driver(&name) {
            Ok(said) => put("firmware_version", said.firmware_version),
            Err(_) => silent.push(instance),
        }
    }
    silent
}

#[cfg(test)]
mod tests {
    use super::super::pci;
    use super::super::tests::{Tree, shown};
    use super::*;

    #[test]
    fn interfaces_of_cards_count_and_others_do_not() {
        let tree = Tree::new();
        tree.device("pci0000:15/0000:15:01.0/0000:18:00.0", "0x10de", "0x2330", "0x030200");
        let card = tree.device("pci0000:15/0000:15:02.0/0000:1a:00.0", "0x15b3", "0x1021", "0x020000");
        tree.link(&format!("{card}/driver"), "../../../../bus/pci/drivers/mlx5_core");
        tree.write(&format!("{card}/numa_node"), "-1\n");
        let interface = |name: &str, device: &str| {
            let folder = format!("class/net/{name}");
            tree.write(&format!("{folder}/address"), "b8:3f:d2:00:00:01\n");
            tree.link(&format!("{folder}/device"), &format!("../../../{device}"));
            folder
        };
        let first = interface("ens1f0", &card);
        tree.write(&format!("{first}/speed"), "400000\n");
        tree.write(&format!("{first}/dev_port"), "0\n");
        let second = interface("ens1f1", &card);
        tree.write(&format!("{second}/speed"), "-1\n");
        tree.write(&format!("{second}/dev_port"), "1\n");
        tree.write(&format!("{second}/addr_assign_type"), "3\n");
        tree.write("class/net/lo/address", "00:00:00:00:00:00\n");
        let virtual_function =
            tree.device("pci0000:15/0000:15:02.0/0000:1a:00.2", "0x15b3", "0x101e", "0x020000");
        tree.link(&format!("{virtual_function}/physfn"), "../0000:1a:00.0");
        interface("ens1f0v0", &virtual_function);
        let mut facts = Facts::default();
        let says = |name: &str| match name {
            "ens1f0" => Ok(CardDriver {
                name: "mlx5_core".to_owned(),
                firmware_version: Some("28.39.3560 (MT_0000000838)".to_owned()),
            }),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        let silent = read(tree.path(), &pci::devices(tree.path()), says, &mut facts);
        assert_eq!(silent, ["0000:1a:00.0/1"]);
        assert_eq!(
            shown(facts),
            [
                "nic 0000:1a:00.0 driver=mlx5_core",
                "nic 0000:1a:00.0 firmware_version=28.39.3560 (MT_0000000838)",
                "nic 0000:1a:00.0 mac=b8:3f:d2:00:00:01",
                "nic 0000:1a:00.0 name=ens1f0",
                "nic 0000:1a:00.0 nearest_gpus=0000:18:00.0",
                "nic 0000:1a:00.0 speed_mbps=400000",
                "nic 0000:1a:00.0/1 driver=mlx5_core",
                "nic 0000:1a:00.0/1 name=ens1f1",
                "nic 0000:1a:00.0/1 nearest_gpus=0000:18:00.0",
            ]
        );
    }
}
