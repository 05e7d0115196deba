//! The parts a GPU is split into (MIG).

use rackmark_model::{Bytes, MigInstance, Reading};

use super::{Decimal, Kind, Sink};
use crate::sampling::roster::Gpu;

/// Name, kind, meaning and value of one family.
type Figure = (&'static str, Kind, &'static str, fn(&MigInstance) -> Option<u64>);

fn bytes(reading: &Reading<Bytes>) -> Option<u64> {
    reading.as_ref().ok().map(|bytes| bytes.0)
}

const FIGURES: [Figure; 6] = [
    ("rackmark_mig_memory_total_bytes", Kind::Gauge, "Memory of a MIG instance.", |mig| {
        bytes(&mig.memory_total)
    }),
    ("rackmark_mig_memory_used_bytes", Kind::Gauge, "Of it, in use.", |mig| bytes(&mig.memory_used)),
    ("rackmark_mig_memory_free_bytes", Kind::Gauge, "Of it, free.", |mig| bytes(&mig.memory_free)),
    ("rackmark_mig_memory_reserved_bytes", Kind::Gauge, "Of it, kept by the driver.", |mig| {
        bytes(&mig.memory_reserved)
    }),
    ("rackmark_mig_multiprocessors", Kind::Gauge, "Streaming multiprocessors of a MIG instance.", |mig| {
        mig.multiprocessors.ok().map(u64::from)
    }),
    (
        "rackmark_mig_ecc_uncorrected_sram",
        Kind::Counter,
        "Uncorrected SRAM errors of a MIG instance since the driver was loaded.",
        |mig| mig.ecc_uncorrected_sram.ok(),
    ),
];

/// Hands the MIG instances of GPUs that answer to `sink`; nothing where there are none.
pub(super) fn mig(gpus: &[(&Gpu, &str)], sink: &mut dyn Sink) {
    let instances: Vec<(&str, String, &MigInstance)> = gpus
        .iter()
        .filter(|(gpu, _)| gpu.absence().is_none())
        .flat_map(|(gpu, slot)| gpu.mig.iter().map(|mig| (*slot, mig.index.to_string(), mig)))
        .collect();
    if instances.is_empty() {
        return;
    }
    sink.family("rackmark_mig_info", Kind::Gauge, "Everything a MIG instance is called.");
    for (slot, index, mig) in &instances {
        let number = |reading: &Reading<u32>| reading.map(|id| id.to_string()).unwrap_or_default();
        sink.point(
            &[
                ("gpu", slot),
                ("mig", index),
                ("gpu_instance", &number(&mig.gpu_instance_id)),
                ("compute_instance", &number(&mig.compute_instance_id)),
                ("uuid", mig.uuid.as_deref().unwrap_or_default()),
                ("profile", mig.name.as_deref().unwrap_or_default()),
            ],
            Decimal::whole(1),
        );
    }
    for (name, kind, help, value) in FIGURES {
        let mut begun = false;
        for (slot, index, mig) in &instances {
            let Some(value) = value(mig) else { continue };
            if !begun {
                sink.family(name, kind, help);
                begun = true;
            }
            sink.point(&[("gpu", slot), ("mig", index)], Decimal::whole(value));
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use rackmark_model::ipc::SamplerReport;
    use rackmark_model::readings::{Fast, Inventory};
    use rackmark_model::{GpuInventory, GpuSample, NoData, PciAddress, Presence, Sample};

    use super::*;
    use crate::sampling::roster::Roster;

    #[derive(Default)]
    struct Lines(Vec<String>);

    impl Sink for Lines {
        fn family(&mut self, name: &str, _: Kind, _: &str) {
            self.0.push(name.to_owned());
        }

        fn point(&mut self, labels: &[(&str, &str)], value: Decimal) {
            let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            self.0.push(format!("  {} {}", labels.join(","), value.digits));
        }
    }

    /// An instance of which most is known.
    pub(in crate::exporter) fn instance(index: u32) -> MigInstance {
        let none = Err(NoData::NotSupported);
        MigInstance {
            index,
            gpu_instance_id: Ok(7 + index),
            compute_instance_id: Ok(0),
            uuid: Ok(format!("MIG-{index}")),
            name: Ok("1g.18gb".to_owned()),
            multiprocessors: Ok(16),
            copy_engines: none,
            decoders: none,
            encoders: none,
            jpegs: none,
            ofas: none,
            memory_total: Ok(Bytes(1800)),
            memory_reserved: Ok(Bytes(50)),
            memory_used: Ok(Bytes(100)),
            memory_free: if index == 0 { Ok(Bytes(1650)) } else { Err(NoData::NoPermission) },
            bar1_total: Err(NoData::NotSupported),
            bar1_used: Err(NoData::NotSupported),
            bar1_free: Err(NoData::NotSupported),
            ecc_uncorrected_sram: Ok(3),
        }
    }

    fn lines(presence: Presence, mig: Vec<MigInstance>) -> Vec<String> {
        let address = PciAddress { domain: 0, bus: 1, device: 0, function: 0 };
        let mut roster = Roster::default();
        let gpus =
            vec![GpuSample { address, presence, in_call: None, fast: Fast::absent(NoData::NotSupported) }];
        roster.take(
            &SamplerReport::Sample(Sample { seq: 1, taken_boot_ms: 1, taken_unix_ms: 1, took_us: 1, gpus }),
            crate::clock::now(),
        );
        let inventory = Inventory::absent(NoData::NotSupported);
        roster.take(
            &SamplerReport::Inventory(Box::new(GpuInventory { address, inventory, mig })),
            crate::clock::now(),
        );
        let mut lines = Lines::default();
        super::mig(&[(&roster.gpus[0], "0")], &mut lines);
        lines.0
    }

    #[test]
    fn instances_are_rows_of_their_gpu_and_what_is_not_known_is_left_out() {
        let found = lines(Presence::Open, vec![instance(0), instance(1)]);
        let at = |family: &str| found.iter().position(|line| line == family).expect("family");
        let info = at("rackmark_mig_info");
        assert_eq!(
            found[info + 1],
            "  gpu=0,mig=0,gpu_instance=7,compute_instance=0,uuid=MIG-0,profile=1g.18gb 1"
        );
        assert!(found[info + 2].contains("mig=1,gpu_instance=8"), "{found:?}");
        let free = at("rackmark_mig_memory_free_bytes");
        assert_eq!(found[free + 1..free + 3], ["  gpu=0,mig=0 1650", "rackmark_mig_memory_reserved_bytes"]);
        assert_eq!(found.iter().filter(|line| !line.starts_with(' ')).count(), 7, "{found:?}");
    }

    #[test]
    fn a_gpu_that_is_gone_or_not_split_has_none() {
        assert!(lines(Presence::Open, Vec::new()).is_empty());
        assert!(lines(Presence::Absent(NoData::GpuLost), vec![instance(0)]).is_empty());
    }
}
