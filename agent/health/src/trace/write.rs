use std::fmt::Write as _;

use rackmark_model::readings::{Descriptor, Fast, Inventory, Slow};
use rackmark_model::{NvLink, Quantity, Reading, Value};
use serde_json::{Map, Value as Json, json};

use super::{About, NAMES, TraceItem, What, XidSeen};

/// Writes a recording of version 2, line by line, into a text that its owner brings to disk.
#[derive(Debug)]
pub struct Writer {
    anonymous: bool,
    last_ms: u64,
    /// Last row of each GPU.
    last: Vec<Option<Box<Fast>>>,
}

impl Writer {
    /// Appends the first three lines to `out`.
    pub fn begin(about: &About, anonymous: bool, out: &mut String) -> Self {
        let gpus: Vec<Json> = about.gpus.iter().map(|gpu| Json::Object(inventory(gpu, anonymous))).collect();
        let head = json!({
            "recorded_unix_ms": about.recorded_unix_ms,
            "period_ms": about.period_ms,
            "driver_version": about.driver_version,
            "gpus": gpus,
        });
        let columns: Vec<String> = Fast::DESCRIPTORS.iter().map(Descriptor::edge_name).collect();
        let _ = write!(out, "rackmark-trace 2\n{head}\nt_ms,gpu,{}\n", columns.join(","));
        Self { anonymous, last_ms: 0, last: vec![None; about.gpus.len()] }
    }

    /// Appends one line to `out`; nothing where it is about a GPU that the head does not name. Time never goes back:
    /// a sample is stamped when it was due, so something that arrived before it may bear a later time.
    pub fn item(&mut self, item: &TraceItem, out: &mut String) {
        let slots = self.last.len();
        let known = |gpu: u8| usize::from(gpu) < slots;
        let t_ms = item.t_ms.max(self.last_ms);
        let (kind, content) = match &item.what {
            What::Fast { gpu, fast } => {
                if let Some(last) = self.last.get_mut(usize::from(*gpu)) {
                    let _ = write!(out, "{t_ms},{gpu}");
                    row(last.as_deref(), fast, out);
                    *last = Some(fast.clone());
                    self.last_ms = t_ms;
                }
                return;
            }
            What::Slow { gpu, .. } | What::Inventory { gpu, .. } | What::Presence { gpu, .. }
                if !known(*gpu) =>
            {
                return;
            }
            What::Slow { gpu, slow, nvlinks, processes } => ("slow", {
                let mut content = Map::new();
                slow.each(|at, reading| {
                    content.insert(Slow::DESCRIPTORS[at].edge_name(), figure(reading));
                });
                content.insert("gpu".to_owned(), json!(gpu));
                content.insert("nvlinks".to_owned(), nvlinks.iter().map(nvlink).collect());
                content.insert("processes".to_owned(), json!(processes));
                Json::Object(content)
            }),
            What::Inventory { gpu, inventory: new } => ("inventory", {
                let mut content = inventory(new, self.anonymous);
                content.insert("gpu".to_owned(), json!(gpu));
                Json::Object(content)
            }),
            What::Xid(seen) => ("xid", xid(seen, self.anonymous)),
            What::Presence { gpu, absent, function } => {
                let why = absent.map_or("answering".to_owned(), |why| why.to_string());
                ("presence", json!({ "gpu": gpu, "why": why, "function": function }))
            }
            What::DriverGone { cause } => {
                ("driver_gone", json!({ "cause": if self.anonymous { "" } else { cause } }))
            }
            What::DriverBack { version } => ("driver_back", json!({ "version": version })),
        };
        self.last_ms = t_ms;
        let _ = writeln!(out, "@{t_ms} {}", json!({ kind: content }));
    }
}

fn row(last: Option<&Fast>, fast: &Fast, out: &mut String) {
    let mut before = Vec::with_capacity(Fast::DESCRIPTORS.len());
    if let Some(last) = last {
        last.each(|_, reading| before.push(reading));
    }
    fast.each(|at, reading| {
        out.push(',');
        if before.get(at) != Some(&reading) {
            // Writing to a String cannot fail.
            let _ = match reading {
                Ok(Value::Unsigned(number)) => write!(out, "{number}"),
                Ok(Value::Signed(number)) => write!(out, "{number}"),
                Ok(Value::Flag(flag)) => write!(out, "{}", u8::from(flag)),
                Ok(Value::Text(_)) => write!(out, "!not_supported"),
                Err(why) => write!(out, "!{why}"),
            };
        }
    });
    out.push('\n');
}

fn figure(reading: Reading<Value<'_>>) -> Json {
    match reading {
        Ok(Value::Unsigned(number)) => json!(number),
        Ok(Value::Signed(number)) => json!(number),
        Ok(Value::Text(text)) => json!(text),
        Ok(Value::Flag(flag)) => json!(flag),
        Err(why) => json!({ "no_data": why.to_string() }),
    }
}

fn inventory(from: &Inventory, anonymous: bool) -> Map<String, Json> {
    let mut content = Map::new();
    from.each(|at, reading| {
        let name = Inventory::DESCRIPTORS[at].edge_name();
        if !(anonymous && NAMES.contains(&name.as_str())) {
            content.insert(name, figure(reading));
        }
    });
    content
}

fn nvlink(link: &NvLink) -> Json {
    let number = |reading: &Reading<u64>| figure(reading.map(Value::Unsigned));
    json!({
        "link": link.link,
        "active": figure(link.active.map(Value::Flag)),
        "version": number(&link.version.map(u64::from)),
        "remote_type": figure(link.remote_type.as_ref().map(Quantity::value).map_err(|why| *why)),
        "crc_flit_errors": number(&link.crc_flit_errors),
        "crc_data_errors": number(&link.crc_data_errors),
        "replay_errors": number(&link.replay_errors),
        "recovery_errors": number(&link.recovery_errors),
        "transmit_bytes_total": number(&link.transmit_bytes_total),
        "receive_bytes_total": number(&link.receive_bytes_total),
    })
}

fn xid(seen: &XidSeen, anonymous: bool) -> Json {
    json!({
        "gpu": seen.gpu,
        "pci": seen.pci.filter(|_| !anonymous).map(|address| address.to_string()),
        "code": seen.code,
        "source": seen.source.name(),
        "text": if anonymous { "" } else { &seen.text },
        "gi": seen.gpu_instance_id,
        "ci": seen.compute_instance_id,
    })
}
