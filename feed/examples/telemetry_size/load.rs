//! A seeded training load on eight H100: what the size of telemetry is measured with.

use std::f64::consts::TAU;

use rackmark_feed::telemetry::signed;
use rackmark_feed::{
    BatchBuilder, Body, Cell, FAST_FIELDS, Header, Message, NoData, NodeId, SampleTime, SessionId,
    SigningKey, SpoolEpoch, Stream, TelemetryBatch, seal,
};

/// GPUs of the node.
pub(crate) const GPUS: usize = 8;
const MIB: u64 = 1 << 20;

/// SplitMix64: small, seeded, the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in 0..1, never 0.
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (TAU * self.unit()).cos()
    }

    /// -1, 0 or 1; 0 half of the time.
    fn step(&mut self) -> i64 {
        [-1, 0, 0, 1][(self.next() % 4) as usize]
    }
}

/// One H100 under a training job.
struct Gpu {
    power_base: f64,
    energy: f64,
    temperature: i64,
    memory_temperature: i64,
    used: u64,
    clock: u64,
    steps_clock: bool,
    transmit_kib: u64,
    receive_kib: u64,
    sm: i64,
}

impl Gpu {
    fn new(random: &mut Random, index: usize) -> Self {
        Self {
            power_base: 645_000.0 + 8_000.0 * random.normal(),
            energy: 4.0e12 + random.unit() * 2.0e12,
            temperature: 58 + (random.next() % 9) as i64,
            memory_temperature: 70 + (random.next() % 9) as i64,
            used: (71_000 + random.next() % 900) * MIB,
            clock: 1980,
            steps_clock: index.is_multiple_of(3),
            transmit_kib: random.next() >> 26,
            receive_kib: random.next() >> 26,
            sm: 930 + (random.next() % 30) as i64,
        }
    }

    fn sample(&mut self, random: &mut Random, passed_ms: u64, integrate_draw: bool) -> [Cell; FAST_FIELDS] {
        let power = self.power_base + 5_000.0 * random.normal();
        let instant = self.power_base + 5_000.0 * random.normal();
        // Either the counter integrates the power that is shown, or power that nobody shows.
        let energy_power = if integrate_draw { power } else { self.power_base + 5_000.0 * random.normal() };
        self.energy += energy_power * passed_ms as f64 / 1000.0;
        if random.next().is_multiple_of(8) {
            self.temperature += random.step();
            self.memory_temperature += random.step();
        }
        if random.next().is_multiple_of(60) {
            self.used += 2 * MIB;
        }
        if self.steps_clock && random.next().is_multiple_of(3) {
            self.clock = (1980 - 15 * (random.next() % 6)).max(1875);
        }
        let rate = |random: &mut Random| {
            (45_000_000.0 * (1.0 + 0.05 * random.normal()) * passed_ms as f64 / 1000.0) as u64
        };
        self.transmit_kib += rate(random);
        self.receive_kib += rate(random);

        let total = 81_559 * MIB;
        let mut cells = [Ok(0); FAST_FIELDS];
        let mut set = |field: usize, value: u64| cells[field] = Ok(value);
        set(0, (99 + random.step()).clamp(0, 100).cast_unsigned());
        set(1, (62 + random.step()).cast_unsigned());
        set(6, self.used);
        set(7, total - self.used);
        set(8, 6 * MIB);
        set(9, self.clock);
        set(10, self.clock);
        set(11, 2619);
        set(12, 1545);
        set(14, power as u64);
        set(15, instant as u64);
        set(16, 700_000);
        set(17, self.energy as u64);
        let shown = self.temperature;
        set(18, signed(shown));
        set(19, signed(self.memory_temperature));
        set(20, signed(87 - shown));
        set(28, 5);
        set(29, 16);
        set(33, self.transmit_kib * 1024);
        set(34, self.receive_kib * 1024);
        set(35, (self.sm + (4.0 * random.normal()) as i64).cast_unsigned());
        set(36, (self.sm - 420 + (4.0 * random.normal()) as i64).cast_unsigned());
        set(37, (self.sm - 520 + (4.0 * random.normal()) as i64).cast_unsigned());
        set(38, 1);
        cells[21] = Err(NoData::NotSupported);
        cells[31] = Err(NoData::NotSampled);
        cells[32] = Err(NoData::NotSampled);
        cells
    }
}

/// Batches of the load. With `integrate_draw` the energy counter follows the power that is shown.
pub(crate) fn batches(seed: u64, count: usize, samples: usize, integrate_draw: bool) -> Vec<TelemetryBatch> {
    let mut random = Random(seed);
    let mut gpus: Vec<Gpu> = (0..GPUS).map(|index| Gpu::new(&mut random, index)).collect();
    let slots: Vec<u8> = (0..).take(GPUS).collect();
    let mut builder = BatchBuilder::new(&slots).expect("rising slots");
    let (mut seq, mut mono) = (184_000, 900_123_456);
    (0..count)
        .map(|_| {
            for _ in 0..samples {
                let passed = 999 + random.next() % 3;
                seq += 1;
                mono += passed;
                let rows: Vec<_> =
                    gpus.iter_mut().map(|gpu| gpu.sample(&mut random, passed, integrate_draw)).collect();
                let time = SampleTime { seq, taken_unix_ms: 1_795_000_000_000 + mono, taken_mono_ms: mono };
                builder.push(time, &rows).expect("room in the batch");
            }
            builder.finish().expect("samples in the batch")
        })
        .collect()
}

fn frame_bytes(batch: &TelemetryBatch, key: &SigningKey) -> usize {
    let header = Header {
        node: NodeId::software(&key.public()),
        session: SessionId::of(&key.public()),
        epoch: SpoolEpoch(0x9f3c_51aa_0b7e_4d21),
        stream: Stream::Telemetry,
        seq: Some(18_400),
        time_unix_ms: 1_795_000_000_000,
    };
    seal(&Message { header, body: Body::Telemetry(batch.clone()) }, key).expect("a valid message").len()
}

/// Mean size of a sample in its frame, signature included.
pub(crate) fn mean_bytes(batches: &[TelemetryBatch], key: &SigningKey) -> f64 {
    let samples: usize = batches.iter().map(|batch| batch.samples().len()).sum();
    batches.iter().map(|batch| frame_bytes(batch, key)).sum::<usize>() as f64 / samples as f64
}
