//! One message of every kind, with fixed keys and times: the source of the golden payloads.
#![allow(dead_code, reason = "every test file uses a part of it")]

pub(crate) mod conditions;
pub(crate) mod downlink;
pub(crate) mod identity;

use rackmark_feed::body::succession::successions_extension;
use rackmark_feed::telemetry::signed;
use rackmark_feed::*;

pub(crate) const SITE: &str = "berlin-1";
pub(crate) const NODE: &str = "r07-u12";
pub(crate) const NOW: u64 = 1_795_000_000_000;
pub(crate) const EPOCH: SpoolEpoch = SpoolEpoch(0x9f3c_51aa_0b7e_4d21);

pub(crate) fn identity() -> SigningKey {
    SigningKey::from_seed(&[0x11; 32])
}

pub(crate) fn session_key() -> SigningKey {
    SigningKey::from_seed(&[0x22; 32])
}

pub(crate) fn next_session_key() -> SigningKey {
    SigningKey::from_seed(&[0x33; 32])
}

pub(crate) fn header(key: &SigningKey, stream: Stream, seq: Option<u64>) -> Header {
    Header {
        node: NodeId::software(&identity().public()),
        session: SessionId::of(&key.public()),
        epoch: EPOCH,
        stream,
        seq,
        time_unix_ms: NOW,
    }
}

pub(crate) fn message(key: &SigningKey, seq: Option<u64>, body: Body) -> Message {
    Message { header: header(key, body.stream(), seq), body }
}

pub(crate) fn claim(key: &SigningKey, previous: Option<PreviousSession>) -> SessionClaim {
    SessionClaim {
        node: NodeId::software(&identity().public()),
        site: SITE.into(),
        node_name: NODE.into(),
        identity_public_key: identity().public(),
        session_public_key: key.public(),
        boot_id: *b"boot-id-16-bytes",
        spool_epoch: EPOCH,
        started_unix_ms: NOW,
        agent_version: "0.1.0".into(),
        previous,
        extensions: Vec::new(),
    }
}

pub(crate) fn previous() -> PreviousSession {
    PreviousSession {
        session: SessionId::of(&session_key().public()),
        spool_epoch: EPOCH,
        ends: vec![
            StreamEnd { stream: Stream::Session, last_seq: 0 },
            StreamEnd { stream: Stream::Event, last_seq: 16 },
            StreamEnd { stream: Stream::Telemetry, last_seq: 300 },
        ],
    }
}

pub(crate) fn status(key: &SigningKey, state: NodeState) -> Status {
    Status {
        state,
        reason: "all GPUs answer".into(),
        session: SessionId::of(&key.public()),
        since_unix_ms: NOW - 60_000,
        time_to_live_ms: 30_000,
        sample_period_ms: 1_000,
        simulated: true,
        gpus: GpuCounts { expected: 8, answering: 7 },
        agent_version: "0.1.0".into(),
        extensions: Vec::new(),
    }
}

pub(crate) fn capacity() -> Capacity {
    let gpu = |slot: u8, state, verdict, no_data: Option<NoData>| GpuCapacity {
        slot,
        state,
        verdict,
        no_data,
        groups: vec![FieldGroup {
            claim: ClaimClass::Reported,
            fields: vec![
                Field::new(100, "NVIDIA H100 80GB HBM3"),
                Field::new(105, 85_520_809_984_u64),
                Field::new(104, 16_896_u64),
                Field::new(109, format!("GPU-00000000-0000-0000-0000-00000000000{slot}")),
                Field::new(110, "0000000000001"),
                Field::new(150, true),
                Field::new(163, -1_i64),
                Field::new(165, NoData::NotSupported),
                Field::new(145, NoData::Error(-7)),
                Field::new(999, u64::MAX),
            ],
        }],
        mig: Vec::new(),
    };
    let mut free = gpu(0, GpuState::Free, Verdict::Schedulable, None);
    free.mig.push(MigInstance {
        index: 3,
        fields: vec![
            Field::new(2003, "1g.10gb"),
            Field::new(2002, "MIG-00000000-0000-0000-0000-000000000003"),
            Field::new(2010, 10_468_982_784_u64),
        ],
    });
    Capacity {
        audience: Audience::Operator,
        simulated: true,
        groups: vec![
            FieldGroup {
                claim: ClaimClass::Reported,
                fields: vec![Field::new(1000, "580.65.06"), Field::new(1002, "13.0")],
            },
            FieldGroup {
                claim: ClaimClass::Declared,
                fields: vec![Field::new(1100, SITE), Field::new(1101, "Berlin, DE")],
            },
        ],
        gpus: vec![
            free,
            gpu(1, GpuState::Faulted, Verdict::Unusable, Some(NoData::GpuLost)),
            gpu(7, GpuState::Unrecognised(77), Verdict::Unknown, Some(NoData::Error(999))),
        ],
        extensions: vec![Extension { tag: extension::PRIVATE_TAGS, bytes: vec![1, 2, 3] }],
    }
}

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Four samples of eight busy GPUs; GPU 5 is lost from the third sample on.
pub(crate) fn training() -> TelemetryBatch {
    let mut random = Random(42);
    let mut builder = BatchBuilder::new(&[0, 1, 2, 3, 4, 5, 6, 7]).expect("slots rise");
    let (mut energy, mut links) = ([4_000_000_000_000_u64; 8], [900_000_000_u64; 8]);
    let mut mono = 900_000;
    for seq in 0..4 {
        let passed = 999 + random.next() % 3;
        mono += passed;
        let rows: Vec<[Cell; FAST_FIELDS]> = (0..8)
            .map(|gpu: u64| {
                if gpu == 5 && seq >= 2 {
                    return [Err(NoData::GpuLost); FAST_FIELDS];
                }
                let at = gpu as usize;
                let power = 640_000 + gpu * 1_000 + random.next() % 10_000;
                energy[at] += power * passed / 1_000 + gpu;
                links[at] += 44_000_000 + random.next() % 4_000_000;
                let temperature = 60 + (gpu + random.next() % 3).cast_signed();
                let used = (70_000 + gpu * 16) << 20;
                let clock = 1980 - 15 * (random.next() % 2);
                let mut row = [Ok(0); FAST_FIELDS];
                for (field, value) in [
                    (0, 98 + random.next() % 3),
                    (1, 60 + random.next() % 3),
                    (6, used),
                    (7, (81_559 << 20) - used),
                    (9, clock),
                    (10, clock),
                    (11, 2619),
                    (14, power),
                    (15, 640_000 + random.next() % 10_000),
                    (16, 700_000),
                    (17, energy[at]),
                    (18, signed(temperature)),
                    (20, signed(87 - temperature)),
                    (33, links[at] << 10),
                    (34, (links[at] << 10) + 2048 * (random.next() % 99)),
                    (35, 940 + random.next() % 9),
                ] {
                    row[field] = Ok(value);
                }
                row[19] = Err(NoData::NotSupported);
                row[21] = Err(NoData::NotSupported);
                row[31] = Err(NoData::NotSampled);
                row[32] = Err(NoData::NotSampled);
                row
            })
            .collect();
        let time = SampleTime { seq: 100 + seq, taken_unix_ms: NOW + mono, taken_mono_ms: mono };
        builder.push(time, &rows).expect("room");
    }
    builder.finish().expect("samples")
}

/// Three samples of two GPUs with values at every edge, and absent cells in every pattern.
pub(crate) fn extremes() -> TelemetryBatch {
    let mut random = Random(7);
    let mut builder = BatchBuilder::new(&[3, 63]).expect("slots rise");
    let edges =
        [0, 1, u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) - 1, 1 << 62, 1 << 32, signed(-1), signed(-40)];
    let reasons =
        [NoData::Timeout, NoData::Error(i32::MIN), NoData::Error(i32::MAX), NoData::Unrecognised(200)];
    for seq in 0..3 {
        let row = |random: &mut Random| {
            let mut row = [Ok(0); FAST_FIELDS];
            for cell in &mut row[..40] {
                *cell = match random.next() % 4 {
                    0 => Err(reasons[(random.next() % 4) as usize]),
                    1 => Ok(random.next()),
                    _ => Ok(edges[(random.next() % 10) as usize]),
                };
            }
            row[40] = Ok(seq * 0x5555_5555_5555_5555);
            row
        };
        let rows = [row(&mut random), row(&mut random)];
        let time = SampleTime {
            seq: u64::MAX - 2 + seq,
            taken_unix_ms: if seq == 1 { 0 } else { u64::MAX },
            taken_mono_ms: seq << 40,
        };
        builder.push(time, &rows).expect("room");
    }
    builder.finish().expect("samples")
}

/// The small batch that `docs/feed.md` works through.
pub(crate) fn example() -> TelemetryBatch {
    let samples = (0..3)
        .map(|i| SampleTime { seq: 7 + i, taken_unix_ms: NOW + 1000 * i, taken_mono_ms: 50_000 + 1000 * i })
        .collect();
    let clocks = [1980, 1965, 1980, 1980, 1980, 1980].map(Ok);
    let fans = [Err(NoData::NotSupported); 6];
    let cells = [clocks, [Ok(0); 6], fans].concat();
    TelemetryBatch::from_parts(samples, vec![0, 1], vec![9, 13, 21], cells).expect("in bounds")
}

pub(crate) fn slow() -> TelemetrySlow {
    let link = |link: u8| NvLink {
        link,
        active: Ok(link == 0),
        version: if link == 0 { Ok(7) } else { Err(NoData::NotSupported) },
        remote: if link == 0 { NvLinkRemote::Switch } else { NvLinkRemote::Unrecognised(9) },
        crc_flit_errors: Ok(0),
        crc_data_errors: Ok(2),
        replay_errors: Ok(300),
        recovery_errors: Err(NoData::NoPermission),
        transmit_bytes: Ok(u64::MAX),
        receive_bytes: Ok(1 << 40),
    };
    TelemetrySlow {
        taken_unix_ms: NOW,
        gpus: vec![GpuSlow {
            slot: 2,
            fields: vec![
                Field::new(300, 12_u64),
                Field::new(338, false),
                Field::new(358, "drain_and_reset"),
                Field::new(365, NoData::NotSupported),
            ],
            nvlinks: vec![link(0), link(17)],
            mig: vec![MigInstance { index: 0, fields: vec![Field::new(2017, 4_u64)] }],
            processes: vec![
                Process {
                    pid: 4242,
                    kind: ProcessKind::Compute,
                    name: "python3".into(),
                    memory_used_bytes: Ok(70 << 30),
                    gpu_instance_id: None,
                    compute_instance_id: None,
                },
                Process {
                    pid: u32::MAX,
                    kind: ProcessKind::ComputeAndGraphics,
                    name: String::new(),
                    memory_used_bytes: Err(NoData::NotSupported),
                    gpu_instance_id: Some(1),
                    compute_instance_id: Some(0),
                },
            ],
        }],
        extensions: Vec::new(),
    }
}

pub(crate) fn gpu_ref() -> GpuRef {
    GpuRef {
        slot: 5,
        index: Some(5),
        uuid: Some("GPU-00000000-0000-0000-0000-000000000005".into()),
        serial: None,
        pci_address: Some("00000000:83:00.0".into()),
    }
}

pub(crate) fn event(kind: EventKind, gpu: Option<GpuRef>) -> Event {
    Event { occurred_unix_ms: NOW - 250, kind, gpu, extensions: Vec::new() }
}

pub(crate) fn events() -> Vec<(&'static str, Event)> {
    let xid = Xid {
        code: 79,
        source: XidSource::KernelLog,
        text: "GPU has fallen off the bus.".into(),
        pid: Some(4242),
        process: Some("python3".into()),
        gpu_instance_id: Some(1),
        compute_instance_id: None,
        caused_by: Some(45),
    };
    let gpu = || Some(gpu_ref());
    vec![
        ("event_xid", event(EventKind::Xid(xid), gpu())),
        ("event_gpu_lost", event(EventKind::GpuLost, gpu())),
        ("event_gpu_restored", event(EventKind::GpuRestored, gpu())),
        (
            "event_gpu_unresponsive",
            event(
                EventKind::GpuUnresponsive {
                    call: "nvmlDeviceGetPowerUsage".into(),
                    since_unix_ms: NOW - 5_000,
                },
                gpu(),
            ),
        ),
        ("event_gpu_responsive", event(EventKind::GpuResponsive, gpu())),
        ("event_gpu_suspended", event(EventKind::GpuSuspended, gpu())),
        ("event_gpu_handed_over", event(EventKind::GpuHandedOver, gpu())),
        ("event_driver_gone", event(EventKind::DriverGone, None)),
        ("event_driver_back", event(EventKind::DriverBack { version: "580.65.06".into() }, None)),
        (
            "event_sampler_restarted",
            event(EventKind::SamplerRestarted { reason: "no answer for 10 s".into() }, None),
        ),
        ("event_paused", event(EventKind::Paused { until_unix_ms: NOW + 1_800_000 }, None)),
        ("event_resumed", event(EventKind::Resumed, None)),
        ("event_config_reloaded", event(EventKind::ConfigReloaded, None)),
        (
            "event_records_lost",
            event(
                EventKind::RecordsLost {
                    stream: Stream::Telemetry,
                    epoch: EPOCH,
                    from_seq: 17,
                    to_seq: 1 << 40,
                    cause: LossCause::Damaged,
                },
                None,
            ),
        ),
        ("event_spool_replaced", event(EventKind::SpoolReplaced { old_epoch: SpoolEpoch(1 << 60) }, None)),
        (
            "event_spool_unwritable",
            event(EventKind::SpoolUnwritable { reason: "no space left on device".into() }, None),
        ),
        ("event_spool_writable", event(EventKind::SpoolWritable, None)),
        (
            "event_of_a_later_version",
            event(EventKind::Unrecognised { code: 9_000, payload: b"later".to_vec() }, None),
        ),
    ]
}

pub(crate) const NONCE: [u8; 16] = *b"a nonce, 16 byte";

/// The same reply with another content of its refusal.
fn with_refusal(reply: &Reply, bytes: &[u8]) -> Reply {
    let extension = Extension { tag: body::REFUSAL, bytes: bytes.to_vec() };
    Reply { extensions: vec![extension], ..reply.clone() }
}

pub(crate) fn reply(outcome: ReplyOutcome, reason: &str) -> Reply {
    Reply { nonce: NONCE, outcome, reason: reason.into(), extensions: Vec::new() }
}

/// Every golden message by name, with the key that seals it.
pub(crate) fn all() -> Vec<(String, Message, SigningKey)> {
    let mut out = Vec::new();
    let mut add = |name: &str, key: SigningKey, seq: Option<u64>, body: Body| {
        out.push((name.to_owned(), message(&key, seq, body), key));
    };
    let record = |key: &SigningKey, previous| {
        Body::Session(claim(key, previous).sign(&identity()).expect("the identity key of the claim"))
    };
    add("session_first", session_key(), Some(0), record(&session_key(), None));
    add("session_second", next_session_key(), Some(1), record(&next_session_key(), Some(previous())));
    add("status_online", session_key(), Some(3), Body::Status(status(&session_key(), NodeState::Online)));
    let mut later = status(&session_key(), NodeState::Unrecognised(500));
    later.extensions = vec![
        Extension { tag: 7, bytes: b"skip me".to_vec() },
        Extension { tag: extension::PRIVATE_TAGS + 1, bytes: Vec::new() },
    ];
    add("status_of_a_later_version", session_key(), Some(4), Body::Status(later));
    add("will", session_key(), None, Body::Status(status(&session_key(), NodeState::Offline)));
    for (name, audience) in [
        ("capacity_public", Audience::Public),
        ("capacity_buyer", Audience::Buyer),
        ("capacity_operator", Audience::Operator),
    ] {
        add(name, session_key(), Some(9), Body::Capacity(capacity().for_audience(audience)));
    }
    add("telemetry_training", session_key(), Some(200), Body::Telemetry(training()));
    add("telemetry_extremes", session_key(), Some(201), Body::Telemetry(extremes()));
    add("telemetry_example", session_key(), Some(202), Body::Telemetry(example()));
    add("telemetry_slow", session_key(), Some(12), Body::TelemetrySlow(slow()));
    for (seq, (name, event)) in (1..).zip(events()) {
        add(name, session_key(), Some(seq), Body::Event(event));
    }
    add("reply_accepted", session_key(), None, Body::Reply(reply(ReplyOutcome::Accepted, "")));
    let no = "range is not in the spool any more";
    add("reply_refused", session_key(), None, Body::Reply(reply(ReplyOutcome::Refused, no)));
    // After the others, so that none of theirs gets another number.
    for (seq, (name, event)) in (100..).zip(conditions::events()) {
        add(name, session_key(), Some(seq), Body::Event(event));
    }
    for (name, audience) in [
        ("capacity_conditions_public", Audience::Public),
        ("capacity_conditions_buyer", Audience::Buyer),
        ("capacity_conditions_operator", Audience::Operator),
    ] {
        let cut = conditions::capacity_with_conditions().for_audience(audience);
        add(name, session_key(), Some(10), Body::Capacity(cut));
    }
    for (seq, (name, event)) in (200..).zip(identity::events()) {
        add(name, session_key(), Some(seq), Body::Event(event));
    }
    add("evidence_software", session_key(), Some(1), Body::Evidence(identity::software_evidence()));
    add("evidence_full", session_key(), None, Body::Evidence(identity::full_evidence()));
    add("artefact", session_key(), None, Body::Artefact(identity::artefact()));
    add("reply_activated", session_key(), None, Body::Reply(identity::activated()));
    let mut succeeded = claim(&session_key(), None);
    let successions = successions_extension(&identity::successions()).expect("within the limits");
    succeeded.extensions = vec![Extension { tag: 7, bytes: b"skip me".to_vec() }, successions];
    let record = succeeded.sign(&identity()).expect("the identity key of the claim");
    add("session_succeeded", session_key(), Some(2), Body::Session(record));
    let refused = Reply::refused(NONCE, Refusal::WrongRole, "asks for drain, which is for operators".into());
    add("reply_refused_by_name", session_key(), None, Body::Reply(refused.clone()));
    add("reply_refused_of_later", session_key(), None, Body::Reply(with_refusal(&refused, &[0xc8, 0x01])));
    add("reply_refused_unreadable", session_key(), None, Body::Reply(with_refusal(&refused, &[7, 7])));
    out
}
