//! The demo's burn-in: a probe of the last simulated GPU, by the kernels' own source on a processor of this machine.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value as Json;
use tokio::process::Command;
use tokio::time::timeout;

use crate::sampling::beside_this_binary;

/// Waiting until the GPU was idle, and two seconds of work.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tests the GPU in this slot, and says in one line what came of it.
pub async fn tested(config: &Path, slot: usize) -> String {
    let answer = async {
        let output = Command::new(beside_this_binary(Path::new("rackmark")))
            .args(["burn-in", "--mode", "probe", "--json", "--gpu", &slot.to_string(), "--config"])
            .arg(config)
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .ok()?;
        serde_json::from_slice::<Json>(&output.stdout).ok()
    };
    let answer = timeout(PATIENCE, answer).await.ok().flatten();
    let record = answer.as_ref().and_then(|answer| answer["records"].get(0));
    let Some(record) = record else {
        let why = answer.as_ref().and_then(|answer| answer["not_begun"].get(0)?["why"].as_str());
        return format!("burn-in: none ({})", why.unwrap_or("the agent could not be asked"));
    };
    let outcome = record["judgement"]["outcome"].as_str().unwrap_or("unknown");
    let figures = record["judgement"]["figures"].as_array().map_or(0, Vec::len);
    let by =
        if record["simulated"] == true { " (simulated: the kernels' source on a processor)" } else { "" };
    format!(
        "burn-in: probe of GPU {slot}: {outcome}{by}; {figures} figures, every check proved by a spoiled bit"
    )
}
