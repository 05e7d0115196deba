//! Bits that flip, files that are cut or gone: never a panic, never a wrong
//! byte, and what was committed and not acknowledged is read or declared.

mod world;

use world::{STREAMS, World, seeds};

fn filled(seed: u64) -> World {
    let mut world = World::new(seed);
    for _ in 0..30 + world.random.below(60) {
        let stream = STREAMS[world.random.below(4) as usize];
        world.append(stream);
        if world.random.below(4) == 0 {
            world.commit();
        }
        if world.random.below(12) == 0 {
            world.ack(stream);
        }
    }
    world.commit();
    world
}

#[test]
fn flipped_bits_and_cut_files_cost_only_what_is_declared() {
    seeds(2_000, |seed| {
        let mut world = filled(seed);
        if world.random.below(2) == 0 {
            world.close();
        }
        for _ in 0..1 + world.random.below(3) {
            let seed = world.random.next();
            match world.random.below(3) {
                0 => {
                    world.close();
                    world.medium.truncate_random(seed);
                }
                _ => {
                    let bits = 1 + world.random.below(40) as usize;
                    world.medium.flip_bits(seed, bits);
                }
            }
        }
        if world.spool.is_none() {
            world.open();
        }
        for _ in 0..10 {
            let stream = STREAMS[world.random.below(4) as usize];
            world.append(stream);
            world.commit();
        }
        world.declare();
        world.check_whole();
        world.close();
        world.open();
        world.check_whole();
    });
}

#[test]
fn a_file_that_is_gone_is_declared_with_its_range() {
    seeds(500, |seed| {
        let mut world = filled(seed);
        world.close();
        let files: Vec<String> =
            world.medium.files().into_iter().filter(|path| path.ends_with(".seg")).collect();
        let gone = files[world.random.below(files.len() as u64) as usize].clone();
        world.say(format!("{gone} is gone"));
        world.medium.remove_file(&gone);
        world.open();
        world.declare();
        world.check_whole();
        for stream in STREAMS {
            world.append(stream);
        }
        world.commit();
        world.check_whole();
    });
}

#[test]
fn without_its_ledger_a_spool_goes_on_above_every_number() {
    seeds(50, |seed| {
        let mut world = filled(seed);
        world.close();
        world.medium.remove_file("ledger");
        world.open();
        world.check_positions();
        for stream in STREAMS {
            world.append(stream);
        }
        world.commit();
        let spool = world.spool.as_ref().expect("open");
        assert!(STREAMS.iter().all(|stream| spool.position(stream.id).next > 1 << 20));
        world.declare();
        world.check_whole();
    });
}

/// The second time a stream has lost its own files, too: only the others show how far numbers went the first time.
#[test]
fn without_its_ledger_twice_a_spool_still_goes_on_above_every_number() {
    seeds(50, |seed| {
        let mut world = filled(seed);
        world.close();
        world.medium.remove_file("ledger");
        world.open();
        world.declare();
        for stream in STREAMS {
            world.append(stream);
        }
        world.commit();
        let before = |world: &World| {
            STREAMS.map(|stream| world.spool.as_ref().expect("open").position(stream.id).next)
        };
        let first = before(&world);
        world.close();
        world.medium.remove_file("ledger");
        let lost = STREAMS[world.random.below(STREAMS.len() as u64) as usize];
        let of_lost = format!("{}/", lost.name);
        for path in world.medium.files().into_iter().filter(|path| path.starts_with(&of_lost)) {
            world.medium.remove_file(&path);
        }
        world.open();
        let second = before(&world);
        assert!(first.iter().zip(&second).all(|(before, now)| now > before), "{first:?} {second:?}");
        world.check_positions();
        // What the stream had is declared from its beginning to where it goes on.
        let losses = world.spool.as_ref().expect("open").losses();
        let of_lost = losses.iter().find(|loss| loss.stream == lost.id).expect("declared");
        assert!(
            of_lost.from_seq == 0 && of_lost.to_seq >= first.into_iter().max().unwrap_or(0),
            "{of_lost:?}"
        );
    });
}
