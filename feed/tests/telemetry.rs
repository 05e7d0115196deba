//! Column coding against a naive model: what goes in comes out.

#[path = "../examples/telemetry_size/load.rs"]
#[allow(dead_code, reason = "the example uses all of it")]
mod load;
mod messages;

use proptest::prelude::*;
use rackmark_feed::telemetry::BatchError;
use rackmark_feed::*;

fn round_trip(batch: &TelemetryBatch) -> TelemetryBatch {
    let bytes = postcard::to_allocvec(batch).expect("serializes");
    postcard::from_bytes(&bytes).expect("own bytes")
}

fn no_data() -> impl Strategy<Value = NoData> {
    prop_oneof![
        Just(NoData::GpuLost),
        Just(NoData::NotSampled),
        any::<i32>().prop_map(NoData::Error),
        (9u8..).prop_map(NoData::Unrecognised),
    ]
}

/// A column as real and unreal columns are: constant, noisy, counting, anything; with absent cells.
fn column(cells: usize) -> impl Strategy<Value = Vec<Cell>> {
    let values = prop_oneof![
        any::<u64>().prop_map(move |v| vec![v; cells]),
        prop::collection::vec(any::<u64>(), cells),
        (any::<u64>(), prop::collection::vec(0u64..5000, cells))
            .prop_map(|(base, noise)| noise.iter().map(|n| base.wrapping_add(*n)).collect()),
        (any::<u64>(), any::<u64>(), 0u32..40, prop::collection::vec(0u64..999, cells)).prop_map(
            |(base, step, shift, noise)| {
                (0..).zip(noise).map(|(i, n)| base.wrapping_add(step.wrapping_mul(i) + n) << shift).collect()
            }
        ),
        prop::collection::vec(prop_oneof![Just(0), Just(u64::MAX), Just(1 << 63), Just(1)], cells),
    ];
    let holes = prop_oneof![
        Just(vec![None; cells]),
        no_data().prop_map(move |reason| vec![Some(reason); cells]),
        prop::collection::vec(prop::option::of(no_data()), cells),
        (no_data(), 0..=cells)
            .prop_map(move |(reason, from)| (0..cells).map(|i| (i >= from).then_some(reason)).collect()),
    ];
    (values, holes).prop_map(|(values, holes)| {
        values.into_iter().zip(holes).map(|(value, hole)| hole.map_or(Ok(value), Err)).collect()
    })
}

fn batch() -> impl Strategy<Value = TelemetryBatch> {
    (1usize..=13, 0usize..=9, 0usize..=9).prop_flat_map(|(samples, gpus, columns)| {
        let times = prop::collection::vec(any::<[u64; 3]>(), samples);
        let ids = prop::collection::btree_set(0u16..60, columns);
        let slots = prop::collection::btree_set(any::<u8>(), gpus);
        let cells = prop::collection::vec(column(samples * gpus), columns);
        (times, ids, slots, cells).prop_filter_map(
            "sets may be smaller",
            move |(times, ids, slots, cells)| {
                if ids.len() < columns || slots.len() < gpus {
                    return None;
                }
                let times = times
                    .into_iter()
                    .map(|[seq, taken_unix_ms, taken_mono_ms]| SampleTime {
                        seq,
                        taken_unix_ms,
                        taken_mono_ms,
                    })
                    .collect();
                TelemetryBatch::from_parts(
                    times,
                    slots.into_iter().collect(),
                    ids.into_iter().collect(),
                    cells.concat(),
                )
                .ok()
            },
        )
    })
}

/// Columns that lean on others: copies, sums, differences, integrals, the same for every GPU.
fn related() -> impl Strategy<Value = TelemetryBatch> {
    (2usize..12, 1usize..8, any::<u64>(), prop::collection::vec(0u64..50_000, 100), 0u64..5).prop_map(
        |(samples, gpus, base, noise, kind)| {
            let cells = samples * gpus;
            let first: Vec<u64> = (0..cells)
                .map(|i| base.wrapping_add(noise[i % 100] * if kind == 3 { 0 } else { 1 }))
                .collect();
            let mut columns: Vec<Vec<Cell>> = Vec::new();
            for id in 0..42u64 {
                let mut sum = base;
                columns.push(
                    (0..cells)
                        .map(|i| {
                            Ok(match (id + kind) % 5 {
                                0 => first[i],
                                1 => base.wrapping_sub(first[i]),
                                2 => {
                                    sum = sum.wrapping_add(first[i]);
                                    sum
                                }
                                3 => noise[i % samples],
                                _ => noise[i % 100] * 15,
                            })
                        })
                        .collect(),
                );
            }
            let times = (0..)
                .take(samples)
                .map(|i| SampleTime { seq: i, taken_unix_ms: base.wrapping_add(i), taken_mono_ms: i * 1000 })
                .collect();
            let slots = (0..).take(gpus).collect();
            TelemetryBatch::from_parts(times, slots, (0..42).collect(), columns.concat()).expect("in bounds")
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_batch_comes_back(batch in batch()) {
        prop_assert_eq!(&round_trip(&batch), &batch);
    }

    #[test]
    fn related_columns_come_back(batch in related()) {
        prop_assert_eq!(&round_trip(&batch), &batch);
    }

    #[test]
    fn any_bytes_give_a_batch_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = postcard::from_bytes::<TelemetryBatch>(&bytes);
    }

    /// Random bit streams behind a valid head get past the counts into the columns.
    #[test]
    fn any_bit_stream_gives_a_batch_or_an_error(
        samples in 1u8..=120, data in prop::collection::vec(any::<u8>(), 0..120)
    ) {
        let mut bytes = vec![samples, 2, 0, 1, 1, 0, 42, data.len() as u8];
        bytes.extend(data);
        bytes.push(0);
        if let Ok(batch) = postcard::from_bytes::<TelemetryBatch>(&bytes) {
            prop_assert_eq!(&round_trip(&batch), &batch);
        }
    }

    #[test]
    fn a_split_batch_holds_the_same_cells(batch in batch()) {
        match batch.split() {
            None => prop_assert_eq!(batch.samples().len(), 1),
            Some((head, tail)) => {
                let cut = head.samples().len();
                prop_assert_eq!([head.samples(), tail.samples()].concat(), batch.samples());
                for column in 0..batch.columns().len() {
                    for gpu in 0..batch.slots().len() {
                        for sample in 0..batch.samples().len() {
                            let part = if sample < cut {
                                head.cell(sample, gpu, column)
                            } else {
                                tail.cell(sample - cut, gpu, column)
                            };
                            prop_assert_eq!(part, batch.cell(sample, gpu, column));
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn flipped_bits_in_a_real_batch_never_panic() {
    let bytes = postcard::to_allocvec(&messages::training()).expect("serializes");
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let _ = postcard::from_bytes::<TelemetryBatch>(&bytes);
    }
    for end in 0..bytes.len() {
        assert!(postcard::from_bytes::<TelemetryBatch>(&bytes[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn the_builder_puts_every_cell_where_it_belongs() {
    let mut builder = BatchBuilder::new(&[4, 9]).expect("slots rise");
    for sample in 0..3u64 {
        let row = |gpu: u64| std::array::from_fn(|field| Ok(sample * 1000 + gpu * 100 + field as u64));
        let time = SampleTime { seq: sample, taken_unix_ms: 5, taken_mono_ms: 6 };
        builder.push(time, &[row(0), row(1)]).expect("room");
    }
    let batch = builder.finish().expect("samples");
    assert_eq!(batch.slots(), [4, 9]);
    for (sample, gpu, column) in [(0, 0, 0), (2, 1, 41), (1, 0, 17)] {
        let expected = (sample * 1000 + gpu * 100 + column) as u64;
        assert_eq!(batch.cell(sample, gpu, column), Some(Ok(expected)));
    }
    assert_eq!(batch.cell(3, 0, 0), None);
    assert_eq!(batch.cell(0, 2, 0), None);
    assert_eq!(batch.cell(0, 0, 42), None);
    assert!(builder.is_empty() && builder.finish().is_none());
}

#[test]
fn signed_fields_read_back_signed() {
    let mut builder = BatchBuilder::new(&[0]).expect("slots rise");
    let mut row = [Ok(0); FAST_FIELDS];
    row[20] = Ok(telemetry::signed(-3));
    builder.push(SampleTime { seq: 0, taken_unix_ms: 0, taken_mono_ms: 0 }, &[row]).expect("room");
    let batch = round_trip(&builder.finish().expect("samples"));
    assert_eq!(batch.value(0, 0, 20), Some(Value::Signed(-3)));
    assert_eq!(batch.value(0, 0, 14), Some(Value::Unsigned(0)));
}

#[test]
fn wrong_shapes_are_refused() {
    assert!(matches!(BatchBuilder::new(&[1, 1]), Err(BatchError::Slots)));
    assert!(matches!(BatchBuilder::new(&(0..65).collect::<Vec<u8>>()), Err(BatchError::Limit(_))));
    let mut builder = BatchBuilder::new(&[0]).expect("slots rise");
    let time = SampleTime { seq: 0, taken_unix_ms: 0, taken_mono_ms: 0 };
    assert!(matches!(builder.push(time, &[]), Err(BatchError::Gpus { found: 0, expected: 1 })));
    for _ in 0..limits::SAMPLES {
        builder.push(time, &[[Ok(0); FAST_FIELDS]]).expect("room");
    }
    assert!(matches!(builder.push(time, &[[Ok(0); FAST_FIELDS]]), Err(BatchError::Full)));
    let parts = |cells| TelemetryBatch::from_parts(vec![time], vec![0], vec![0, 1], cells);
    assert!(parts(vec![Ok(0)]).is_err() && parts(vec![Ok(0); 2]).is_ok());
}

/// The promise: at most 160 bytes a sample of 8 GPUs, frame and signature included.
#[test]
fn a_training_load_stays_below_the_promised_size() {
    let key = SigningKey::from_seed(&[7; 32]);
    for seed in 1..=3 {
        for integrate_draw in [true, false] {
            let bytes = load::mean_bytes(&load::batches(seed, 6, 10, integrate_draw), &key);
            assert!(bytes <= 160.0, "seed {seed}: {bytes:.1} bytes a sample");
        }
    }
}

#[test]
fn columns_that_are_equal_on_every_gpu_are_coded_once() {
    let batch = messages::training();
    let times = batch.samples().to_vec();
    let same = |gpus: usize| {
        let cells =
            (0..FAST_FIELDS).flat_map(|at| batch.column(at).expect("column")[..4].repeat(gpus)).collect();
        let slots = (0..).take(gpus).collect();
        TelemetryBatch::from_parts(times.clone(), slots, batch.columns().to_vec(), cells).expect("in bounds")
    };
    let (one, eight) = (same(1).encode_columns().len(), same(8).encode_columns().len());
    assert!(eight <= one + 6, "{one} bytes for one GPU, {eight} for eight alike");
}
