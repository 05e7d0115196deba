//! What gives way, in which order, and what a full medium does not stop.

mod world;

use rackmark_spool::{Class, Loss, LossCause};
use world::{LIMITS, STREAMS, World};

const EVENTS: usize = 1;
const TELEMETRY: usize = 2;

fn append(world: &mut World, stream: usize, records: usize) {
    for _ in 0..records {
        world.append(STREAMS[stream]);
        world.commit();
    }
}

#[test]
fn the_oldest_telemetry_gives_way_and_is_declared_to_the_number_and_events_stay() {
    let mut world = World::new(1);
    append(&mut world, EVENTS, 20);
    while world.spool.as_ref().expect("open").usage(Class::Series).bytes <= LIMITS.series_bytes {
        append(&mut world, TELEMETRY, 1);
    }
    world.trim();
    let spool = world.spool.as_ref().expect("open");
    let oldest = spool.position(STREAMS[TELEMETRY].id).oldest;
    let expected =
        Loss { stream: STREAMS[TELEMETRY].id, from_seq: 0, to_seq: oldest - 1, cause: LossCause::Evicted };
    assert_eq!(spool.losses(), [expected]);
    assert_eq!(world.read_all(STREAMS[EVENTS], 0).len(), 20);
    assert_eq!(world.read_all(STREAMS[TELEMETRY], 0)[0], oldest);
}

#[test]
fn delivered_records_give_way_before_others_and_nobody_has_to_hear_of_it() {
    let mut world = World::new(2);
    while world.spool.as_ref().expect("open").usage(Class::Series).bytes <= LIMITS.series_bytes {
        append(&mut world, TELEMETRY, 1);
    }
    let spool = world.spool.as_mut().expect("open");
    let id = STREAMS[TELEMETRY].id;
    let half = spool.position(id).next / 2;
    spool.ack(id, half, &[]).expect("noted");
    world.trim();
    let spool = world.spool.as_mut().expect("open");
    assert_eq!(spool.losses(), []);
    let oldest = spool.position(id).oldest;
    assert!((1..=half).contains(&oldest), "{oldest} of {half}");
    // Unconfirmed by a consumer that matters, the same records are a loss when they go.
    spool.hold(id, Some(0));
    let next = spool.position(id).next;
    while world.spool.as_ref().expect("open").usage(Class::Series).bytes <= LIMITS.series_bytes {
        append(&mut world, TELEMETRY, 1);
    }
    world.trim();
    let losses = world.spool.as_ref().expect("open").losses();
    assert!(losses.iter().any(|loss| loss.stream == id && loss.to_seq < next), "{losses:?}");
}

#[test]
fn a_full_medium_stops_telemetry_and_not_events() {
    let mut world = World::new(3);
    append(&mut world, EVENTS, 1);
    append(&mut world, TELEMETRY, 5);
    world.medium.set_full(true);
    append(&mut world, EVENTS, 10);
    append(&mut world, TELEMETRY, 3);
    assert_eq!(world.read_all(STREAMS[EVENTS], 0).len(), 11);
    assert_eq!(world.read_all(STREAMS[TELEMETRY], 0).len(), 5);
    let lost = world.spool.as_ref().expect("open").losses();
    let expected =
        Loss { stream: STREAMS[TELEMETRY].id, from_seq: 5, to_seq: 7, cause: LossCause::NotWritten };
    assert_eq!(lost, [expected]);
    world.medium.set_full(false);
    append(&mut world, TELEMETRY, 2);
    assert_eq!(world.read_all(STREAMS[TELEMETRY], 0), [0, 1, 2, 3, 4, 8, 9]);
}
