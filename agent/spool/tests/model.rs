//! Crashes, power cuts, a full or read-only medium, failing syncs and clock
//! steps: whatever happens, the spool is as good as its word.

mod world;

use world::{STREAMS, World, seeds};

fn play(seed: u64) {
    let mut world = World::new(seed);
    let steps = 10 + world.random.below(150);
    for _ in 0..steps {
        let stream = STREAMS[world.random.below(4) as usize];
        match world.random.below(100) {
            0..=39 => world.append(stream),
            40..=59 => world.commit(),
            60..=69 => world.ack(stream),
            70..=74 => {
                let from = world.random.below(20);
                world.read_all(stream, from);
            }
            75..=79 => world.trim(),
            80..=83 => world.declare(),
            84..=86 => {
                world.say("process is killed");
                world.close();
                world.medium.crash();
                world.open();
            }
            87..=89 => {
                world.say("power is cut");
                world.close();
                let seed = world.random.next();
                world.medium.power_cut(seed);
                // An acknowledgement may be forgotten by a power cut, never made up.
                world.open();
            }
            90 => {
                let full = world.random.below(2) == 0;
                world.say(format!("full: {full}"));
                world.medium.set_full(full);
            }
            91 => {
                let read_only = world.random.below(2) == 0;
                world.say(format!("read-only: {read_only}"));
                world.medium.set_read_only(read_only);
            }
            92 => {
                world.say("a sync fails");
                world.medium.fail_syncs(1);
            }
            93..=97 => {
                let ms = [5, 1_000, 61_000, 700_000, 4_000_000][world.random.below(5) as usize];
                world.now.mono_ms += ms;
                world.now.unix_ms += ms;
            }
            _ => {
                let hour = 3_600_000;
                let ahead = world.random.below(2) == 0;
                world.now.unix_ms = if ahead { world.now.unix_ms + hour } else { world.now.unix_ms - hour };
            }
        }
        world.check_positions();
    }
    world.medium.set_full(false);
    world.medium.set_read_only(false);
    world.medium.fail_syncs(0);
    if world.spool.is_none() {
        world.open();
    }
    world.commit();
    world.trim();
    world.declare();
    world.check_whole();
    world.trim();
    world.budget_held();
    // And once more from the medium alone.
    world.close();
    world.open();
    world.check_whole();
}

#[test]
fn everything_committed_is_read_acknowledged_or_declared() {
    seeds(3_000, |seed| {
        let mut last = World::new(seed);
        last.close();
        play(seed);
    });
}
