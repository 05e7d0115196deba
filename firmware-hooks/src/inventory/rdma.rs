//! RDMA devices: InfiniBand and RoCE.

use std::path::Path;

use super::fact::{Component, Facts, Names};
use super::file;
use super::pci::{PciDevice, nearest_gpus, numa_node, of_folder, sysfs_name};

pub(super) fn read(sysfs_root: &Path, devices: &[PciDevice], facts: &mut Facts) {
    let class = sysfs_root.join("class/infiniband");
    let mut taken = Names::default();
    for name in file::names(&class) {
        let folder = class.join(&name);
        let device = folder.join("device");
        if device.join("physfn").exists() {
            continue;
        }
        // One without a PCI device is made of software.
        let Some(address) = device.exists().then(|| of_folder(&device)).flatten() else { continue };
        let instance = taken.unique(&sysfs_name(address));
        let text = |name: &str| file::attribute(&folder.join(name));
        let mut put = |field, value: Option<String>| facts.put_some(Component::Rdma, &instance, field, value);
        put("name", Some(name.clone()));
        put("node_guid", text("node_guid"));
        put("firmware_version", text("fw_ver"));
        put("hca_type", text("hca_type"));
        put("board_id", text("board_id"));
        put("numa_node", numa_node(&device));
        put("nearest_gpus", nearest_gpus(address, devices));
        for port in file::names(&folder.join("ports")) {
            let attributes = folder.join("ports").join(&port);
            let instance = format!("{instance}/{port}");
            let mut put = |field, name| {
                facts.put_some(Component::Rdma, &instance, field, file::attribute(&attributes.join(name)));
            };
            put("port_state", "state");
            put("port_rate", "rate");
            put("link_layer", "link_layer");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pci;
    use super::super::tests::{Tree, shown};
    use super::*;

    #[test]
    fn a_host_channel_adapter_is_described_with_its_ports() {
        let tree = Tree::new();
        tree.device("pci0000:15/0000:15:01.0/0000:18:00.0", "0x10de", "0x2330", "0x030200");
        let card = tree.device("pci0000:15/0000:15:02.0/0000:1a:00.0", "0x15b3", "0x1021", "0x020700");
        tree.write(&format!("{card}/numa_node"), "0\n");
        let folder = "class/infiniband/mlx5_0";
        tree.link(&format!("{folder}/device"), &format!("../../../{card}"));
        for (name, text) in [
            ("node_guid", "b83f:d203:0000:0001\n"),
            ("fw_ver", "28.39.3560\n"),
            ("hca_type", "MT4129\n"),
            ("board_id", "MT_0000000838\n"),
            ("ports/1/state", "4: ACTIVE\n"),
            ("ports/1/rate", "400 Gb/sec (4X NDR)\n"),
            ("ports/1/link_layer", "InfiniBand\n"),
        ] {
            tree.write(&format!("{folder}/{name}"), text);
        }
        tree.write("class/infiniband/rxe0/node_guid", "0000:0000:0000:0001\n");
        let mut facts = Facts::default();
        read(tree.path(), &pci::devices(tree.path()), &mut facts);
        assert_eq!(
            shown(facts),
            [
                "rdma 0000:1a:00.0 board_id=MT_0000000838",
                "rdma 0000:1a:00.0 firmware_version=28.39.3560",
                "rdma 0000:1a:00.0 hca_type=MT4129",
                "rdma 0000:1a:00.0 name=mlx5_0",
                "rdma 0000:1a:00.0 nearest_gpus=0000:18:00.0",
                "rdma 0000:1a:00.0 node_guid=b83f:d203:0000:0001",
                "rdma 0000:1a:00.0 numa_node=0",
                "rdma 0000:1a:00.0/1 link_layer=InfiniBand",
                "rdma 0000:1a:00.0/1 port_rate=400 Gb/sec (4X NDR)",
                "rdma 0000:1a:00.0/1 port_state=4: ACTIVE",
            ]
        );
    }
}
