//! Size of telemetry on a training load: 8 GPUs, one sample per second.
//!
//! Prints `bench:` lines and one JSON object. Arguments: the seed (default 1),
//! and a file for the first batch as plain columns.

mod load;

use std::time::{Duration, Instant};

use load::{GPUS, batches, mean_bytes};
use rackmark_feed::{FAST_FIELDS, SigningKey, TelemetryBatch};

/// Plain columns of a batch, eight bytes a cell, for a general compressor to be compared with.
fn plain(batches: &[TelemetryBatch]) -> Vec<u8> {
    batches
        .iter()
        .flat_map(|batch| (0..FAST_FIELDS).flat_map(|column| batch.column(column).unwrap_or_default()))
        .flat_map(|cell| cell.unwrap_or(u64::MAX).to_le_bytes())
        .collect()
}

fn main() -> std::io::Result<()> {
    let seed = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1);
    let key = SigningKey::from_seed(&[7; 32]);
    let load = batches(seed, 60, 10, true);
    let bytes = mean_bytes(&load, &key);
    let loose = mean_bytes(&batches(seed, 60, 10, false), &key);
    let minute = mean_bytes(&batches(seed, 10, 60, true), &key);
    let single = mean_bytes(&batches(seed, 60, 1, true), &key);

    let mut fastest = Duration::MAX;
    for batch in &load {
        let begun = Instant::now();
        std::hint::black_box(batch.encode_columns());
        fastest = fastest.min(begun.elapsed());
    }
    let begun = Instant::now();
    load.iter().for_each(|batch| {
        std::hint::black_box(batch.encode_columns());
    });
    let average = begun.elapsed() / load.len() as u32;

    println!("bench: telemetry_bytes_per_sample {bytes:.1} bytes");
    println!("bench: telemetry_bytes_per_sample_energy_independent {loose:.1} bytes");
    println!("bench: telemetry_bytes_per_sample_batch_of_60 {minute:.1} bytes");
    println!("bench: telemetry_bytes_per_sample_alone {single:.1} bytes");
    println!("bench: telemetry_encode_batch {:.1} microseconds", average.as_secs_f64() * 1e6);
    println!("bench: telemetry_encode_batch_fastest {:.1} microseconds", fastest.as_secs_f64() * 1e6);
    println!(
        "{}",
        serde_json::json!({
            "seed": seed, "gpus": GPUS, "samples_per_batch": 10,
            "telemetry_bytes_per_sample": bytes,
            "telemetry_bytes_per_sample_energy_independent": loose,
            "telemetry_bytes_per_sample_batch_of_60": minute,
            "telemetry_bytes_per_sample_alone": single,
            "telemetry_encode_batch_microseconds": average.as_secs_f64() * 1e6,
        })
    );
    // For a comparison with a general compressor: the first batch, plain.
    if let Some(path) = std::env::args().nth(2) {
        std::fs::write(path, plain(&load[..1]))?;
    }
    Ok(())
}
