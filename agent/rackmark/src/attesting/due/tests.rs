use super::*;

const HOUR_MS: u64 = 3_600_000;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// After the evidence of the start.
fn started(now: Instant) -> Due {
    let mut due = Due::at_start(now);
    assert_eq!(due.take(now), Some(Wanted::Anyone(EvidenceCause::Start)));
    due.made();
    due
}

fn epoch(value: u8, expires_unix_ms: u64) -> Begun {
    Begun { verifier: "acme".to_owned(), value: [value; 32], expires_unix_ms }
}

#[test]
fn changes_that_come_together_are_one_evidence_with_the_most_telling_cause() {
    let begin = Instant::now();
    let mut due = started(begin);
    let now = begin + seconds(1);
    due.changed(EvidenceCause::InventoryChanged, now);
    due.changed(EvidenceCause::DriverChanged, now + seconds(1));
    due.changed(EvidenceCause::CertificateChanged, now + seconds(2));
    due.changed(EvidenceCause::InventoryChanged, now + seconds(4));
    assert_eq!(due.next(), Some(now + SETTLE), "counted from the first");
    assert_eq!(due.take(now + seconds(4)), None);
    assert_eq!(due.take(now + SETTLE), Some(Wanted::Anyone(EvidenceCause::DriverChanged)));
    assert_eq!((due.take(now + SETTLE), due.next()), (None, None));
    due.changed(EvidenceCause::InventoryChanged, now + SETTLE);
    assert_eq!(due.next(), Some(now + SETTLE + CHANGES_EVERY), "the TPM has a rest");
}

#[test]
fn a_driver_that_flaps_is_signed_once_a_minute() {
    let begin = Instant::now();
    let mut due = started(begin);
    let mut made = 0;
    for second in 0..3600 {
        let now = begin + seconds(second);
        due.changed(EvidenceCause::DriverChanged, now);
        made += u32::from(due.take(now).is_some());
    }
    assert!((59..=61).contains(&made), "{made}");
}

#[test]
fn an_epoch_is_answered_within_a_tenth_of_what_is_left_and_a_minute_at_most() {
    let now = Instant::now();
    for (left_ms, chance, after) in [
        (HOUR_MS, (|| 0.0) as fn() -> f64, seconds(0)),
        (HOUR_MS, || 0.5, seconds(30)),
        (HOUR_MS, || 1.0, EPOCH_SPREAD_MAX),
        (100_000, || 1.0, seconds(10)),
        (100_000, || 0.5, seconds(5)),
    ] {
        let mut due = started(now).by(chance);
        due.began(epoch(1, 7 + left_ms), 7, now);
        assert_eq!(due.next(), Some(now + after), "{left_ms}");
        assert_eq!(due.take(now + after), Some(Wanted::Epoch(epoch(1, 7 + left_ms))));
    }
    let mut due = started(now);
    due.began(epoch(1, 7), 8, now);
    assert_eq!(due.next(), None, "it is over");
}

/// Nodes do not share a seed: of a fleet that hears of an epoch at once no tenth of the time gets more than twice its part.
#[test]
fn a_fleet_answers_an_epoch_spread_over_the_time() {
    let now = Instant::now();
    let mut tenths = [0_u32; 10];
    for _ in 0..2000 {
        let mut due = started(now);
        due.began(epoch(1, HOUR_MS), 0, now);
        let after = due.next().expect("due") - now;
        tenths[(after.as_secs_f64() / EPOCH_SPREAD_MAX.as_secs_f64() * 9.999) as usize] += 1;
    }
    // 2000 even draws put more than 400 into one tenth with a chance below 1e-30.
    assert!(tenths.iter().all(|count| (50..400).contains(count)), "{tenths:?}");
}

#[test]
fn a_newer_epoch_takes_the_place_of_the_one_before_and_none_comes_too_often() {
    let now = Instant::now();
    let mut due = started(now).by(|| 0.0);
    due.began(epoch(1, HOUR_MS), 0, now);
    due.began(epoch(2, HOUR_MS), 0, now);
    let mut other = epoch(9, HOUR_MS);
    other.verifier = "other".to_owned();
    due.began(other.clone(), 0, now);
    assert_eq!(due.take(now), Some(Wanted::Epoch(epoch(2, HOUR_MS))));
    assert_eq!(due.take(now), Some(Wanted::Epoch(other)));
    assert_eq!(due.take(now), None);
    due.began(epoch(3, HOUR_MS), 0, now);
    assert_eq!(due.next(), Some(now + EPOCHS_EVERY));
    due.began(epoch(4, 1_000), 0, now);
    assert_eq!(due.next(), None, "it ends before its turn, and the one before ended with it");
}

#[test]
fn what_a_tpm_refused_is_due_again_after_rests_that_grow() {
    let mut now = Instant::now();
    let mut due = Due::at_start(now).by(|| 0.0);
    due.began(epoch(1, HOUR_MS), 0, now);
    for rest in [5, 10, 20, 40, 80, 160, 320, 600, 600] {
        let wanted = due.take(now).expect("due");
        assert_eq!(wanted, Wanted::Anyone(EvidenceCause::Start));
        due.changed(EvidenceCause::DriverChanged, now);
        assert_eq!(due.failed(wanted, now), seconds(rest));
        assert_eq!(due.take(now), None, "the TPM is left alone");
        assert_eq!(due.next(), Some(now + seconds(rest)));
        now += seconds(rest);
    }
    assert_eq!(due.take(now), Some(Wanted::Anyone(EvidenceCause::Start)), "it tells of the driver, too");
    due.made();
    // The newer one stays.
    let wanted = due.take(now).expect("an epoch");
    due.began(epoch(2, HOUR_MS), 0, now);
    assert_eq!(due.failed(wanted, now), seconds(5));
    assert_eq!(due.take(now + EPOCHS_EVERY), Some(Wanted::Epoch(epoch(2, HOUR_MS))));
}
