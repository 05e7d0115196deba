//! What a look costs while nothing changes: no allocation, and little time.
//!
//! A program of its own, because every allocation of the process is counted.

mod world;

use std::time::Instant;

use allocation_counter::measure;
use rackmark_health::{Code, Verb};
use rackmark_model::{Celsius, Nanoseconds};

use world::{MINUTE, SECOND, World};

/// Allocations of this many looks, a second apart, with counters and temperatures that move.
fn allocations_of(world: &mut World, looks: u64) -> u64 {
    let mut out = Vec::new();
    let counted = measure(|| {
        for at in 0..looks {
            world.pass(SECOND);
            for card in &mut world.cards {
                card.fast.temperature_gpu = Ok(Celsius(40 + i32::try_from(at % 20).expect("small")));
                card.fast.sw_power_cap_time = Ok(Nanoseconds(at * 1_000_000));
                for link in &mut card.nvlinks {
                    link.transmit_bytes_total = Ok(at);
                }
            }
            world.look_into(&mut out);
        }
    });
    assert!(out.is_empty(), "nothing changes: {out:?}");
    counted.count_total
}

#[test]
fn a_look_at_eight_healthy_gpus_allocates_nothing() {
    let mut world = World::new(8);
    assert_eq!(allocations_of(&mut world, 1000), 0);
    let counted = measure(|| drop(std::hint::black_box(Box::new(7))));
    assert_eq!(counted.count_total, 1, "the counter counts");
}

#[test]
fn a_look_at_gpus_that_are_not_well_allocates_nothing_either() {
    let mut world = World::new(8);
    world.lease_source = true;
    world.spool_trouble = "no space";
    world.xid(0, 79);
    world.cards[1].slow().remapped_rows_pending = Ok(true);
    world.cards[2].slow().recovery_action = Ok("reset".to_owned());
    world.cards[3].standing = rackmark_health::Standing::Absent(rackmark_model::NoData::GpuLost);
    world.cards[4].nvlinks[5].active = Ok(false);
    world.cards[5].fast.temperature_margin = Ok(Celsius(0));
    world.cards[6].standing = rackmark_health::Standing::Unresponsive("nvmlDeviceGetPowerUsage");
    world.after(SECOND);
    world.looks(SECOND, 2 * MINUTE);
    world.verb(&Verb::Drain { slot: Some(7), reason: "new fans" }).expect("drained");
    assert!(world.node_shows(Code::SpoolTrouble));
    assert_eq!(allocations_of(&mut world, 1000), 0);
}

/// `cargo test --release -p rackmark-health --test allocations -- --ignored --nocapture`
#[test]
#[ignore = "prints times; they mean something in a release build on an idle machine"]
fn time_of_a_look() {
    for (name, sick) in [("healthy", false), ("not well", true)] {
        let mut world = World::new(8);
        if sick {
            for slot in 0..8 {
                world.xid(slot, 79);
                world.cards[usize::from(slot)].nvlinks[5].active = Ok(false);
                world.cards[usize::from(slot)].slow().remapped_rows_pending = Ok(true);
            }
            // The driver's word would end the XIDs.
            world.cards.iter_mut().for_each(|card| card.slow().recovery_action = Ok("reset".to_owned()));
        }
        world.looks(SECOND, MINUTE);
        let mut out = Vec::new();
        let looks = 20_000_u32;
        let began = Instant::now();
        for _ in 0..looks {
            world.pass(SECOND);
            world.look_into(&mut out);
        }
        let each = began.elapsed() / looks;
        println!("{name}: {each:?} a look at 8 GPUs with 18 NVLinks each");
        assert!(each.as_micros() < 20 || cfg!(debug_assertions), "{name}: {each:?}");
    }
}
