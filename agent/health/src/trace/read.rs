use rackmark_model::ipc::GPUS_MAX;
use rackmark_model::readings::{Fast, Inventory, SetError, Slow};
use rackmark_model::{NoData, NvLink, Quantity, Reading, Value};
use serde_json::{Map, Value as Json};

use super::{
    About, BYTES_MAX, LINE_BYTES_MAX, LINES_MAX, PERIOD_MS_MAX, TraceError, TraceItem, What, XidSeen,
    XidSource,
};

/// Reads a recording of version 1 or 2, item by item. Total: any bytes give items or an error that names its line;
/// after an error there is nothing more.
#[derive(Debug)]
pub struct Reader<'a> {
    lines: Lines<'a>,
    version: u8,
    about: About,
    /// Position in [`Fast`] for each column after `t_ms,gpu`; none for a name that is not known.
    columns: Vec<Option<usize>>,
    last: Vec<Fast>,
    last_ms: u64,
    ended: bool,
}

/// What a line is not; the caller knows its number.
enum Problem {
    Line(String),
    Json(serde_json::Error),
}

impl From<&str> for Problem {
    fn from(problem: &str) -> Self {
        Self::Line(problem.to_owned())
    }
}

impl From<String> for Problem {
    fn from(problem: String) -> Self {
        Self::Line(problem)
    }
}

impl From<SetError> for Problem {
    fn from(error: SetError) -> Self {
        Self::Line(format!("has a value that does not fit: {error}"))
    }
}

impl From<serde_json::Error> for Problem {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

impl Problem {
    fn at(self, line: usize) -> TraceError {
        match self {
            Self::Line(problem) => TraceError::Line { line, problem },
            Self::Json(source) => TraceError::Json { line, source },
        }
    }
}

#[derive(Debug)]
struct Lines<'a> {
    rest: &'a [u8],
    number: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<Option<&'a str>, Problem> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        let end = self.rest.iter().position(|byte| *byte == b'\n');
        let line = &self.rest[..end.unwrap_or(self.rest.len())];
        self.rest = end.map_or(&[], |end| &self.rest[end + 1..]);
        if line.len() > LINE_BYTES_MAX {
            return Err(format!("is longer than {LINE_BYTES_MAX} bytes").into());
        }
        if self.number > LINES_MAX + 3 {
            return Err(format!("is beyond the limit of {LINES_MAX} lines").into());
        }
        let text = std::str::from_utf8(line).map_err(|_| Problem::from("is not UTF-8 text"))?;
        Ok(Some(text.strip_suffix('\r').unwrap_or(text)))
    }

    /// One of the first three lines, which must be there.
    fn head<T>(&mut self, parse: impl FnOnce(&str) -> Result<T, Problem>) -> Result<T, TraceError> {
        let parsed = match self.next() {
            Ok(Some(line)) => parse(line),
            Ok(None) => {
                self.number += 1;
                Err("is missing".into())
            }
            Err(problem) => Err(problem),
        };
        parsed.map_err(|problem| problem.at(self.number))
    }
}

impl<'a> Reader<'a> {
    /// Reads the first three lines.
    ///
    /// # Errors
    /// Larger than [`BYTES_MAX`], or one of these lines is not as it must be.
    pub fn open(bytes: &'a [u8]) -> Result<Self, TraceError> {
        if bytes.len() > BYTES_MAX {
            return Err(TraceError::TooLarge);
        }
        let mut lines = Lines { rest: bytes, number: 0 };
        let version = lines.head(|line| match line {
            "rackmark-trace 1" => Ok(1),
            "rackmark-trace 2" => Ok(2),
            _ => Err("is not `rackmark-trace 1` or `rackmark-trace 2`".into()),
        })?;
        let about = lines.head(about)?;
        let columns = lines.head(columns)?;
        let last = vec![Fast::absent(NoData::NotSampled); about.gpus.len()];
        Ok(Self { lines, version, about, columns, last, last_ms: 0, ended: false })
    }

    /// What was recorded.
    pub const fn about(&self) -> &About {
        &self.about
    }

    /// The next item, past empty lines and kinds that are not known.
    fn advance(&mut self) -> Result<Option<TraceItem>, Problem> {
        while let Some(line) = self.lines.next()? {
            if line.is_empty() {
                continue;
            }
            let Some(rest) = line.strip_prefix('@') else { return self.row(line).map(Some) };
            if self.version < 2 {
                return Err("begins with `@`, which version 1 does not have".into());
            }
            let (time, content) =
                rest.split_once(' ').ok_or_else(|| Problem::from("has no content after its time"))?;
            let t_ms = self.time(time)?;
            if let Some(what) = self.other(content)? {
                return Ok(Some(TraceItem { t_ms, what }));
            }
        }
        Ok(None)
    }

    fn time(&mut self, text: &str) -> Result<u64, Problem> {
        let t_ms: u32 = text.parse().map_err(|_| format!("has `{}` as its time", short(text)))?;
        if u64::from(t_ms) < self.last_ms {
            return Err("goes back in time".into());
        }
        self.last_ms = u64::from(t_ms);
        Ok(self.last_ms)
    }

    fn row(&mut self, line: &str) -> Result<TraceItem, Problem> {
        let mut cells = line.split(',');
        let t_ms = self.time(cells.next().unwrap_or_default())?;
        let text = cells.next().unwrap_or_default();
        let gpu: u8 = text.parse().map_err(|_| format!("has `{}` as its GPU", short(text)))?;
        let last = self
            .last
            .get_mut(usize::from(gpu))
            .ok_or_else(|| format!("names GPU {gpu}, which line 2 lacks"))?;
        for column in &self.columns {
            let text = cells.next().ok_or_else(|| Problem::from("has too few cells"))?;
            let Some(position) = column.filter(|_| !text.is_empty()) else { continue };
            let reading = cell(text).ok_or_else(|| format!("has `{}` as a cell", short(text)))?;
            last.set(position, reading)?;
        }
        if cells.next().is_some() {
            return Err("has too many cells".into());
        }
        Ok(TraceItem { t_ms, what: What::Fast { gpu, fast: Box::new(last.clone()) } })
    }

    fn other(&self, text: &str) -> Result<Option<What>, Problem> {
        let content: Map<String, Json> = serde_json::from_str(text)?;
        let mut entries = content.iter();
        let (Some((kind, content)), None) = (entries.next(), entries.next()) else {
            return Err("has not exactly one kind of content".into());
        };
        let of = Content { kind, json: content };
        Ok(Some(match kind.as_str() {
            "slow" => slow(of, self.gpu(of)?)?,
            "inventory" => {
                let gpu = self.gpu(of)?;
                What::Inventory { gpu, inventory: Box::new(inventory(of.json)?) }
            }
            "xid" => What::Xid(self.xid(of)?),
            "presence" => {
                let (gpu, why) = (self.gpu(of)?, of.text("why")?);
                let absent = match why {
                    "answering" => None,
                    why => Some(NoData::from_name(why).ok_or_else(|| of.lacks("why"))?),
                };
                What::Presence { gpu, absent, function: of.text("function")?.to_owned() }
            }
            "driver_gone" => What::DriverGone { cause: of.text("cause")?.to_owned() },
            "driver_back" => What::DriverBack { version: of.text("version")?.to_owned() },
            _ => return Ok(None),
        }))
    }

    fn gpu(&self, of: Content<'_>) -> Result<u8, Problem> {
        let gpu: u8 = of.number("gpu")?;
        if usize::from(gpu) < self.last.len() {
            Ok(gpu)
        } else {
            Err(format!("names GPU {gpu}, which line 2 lacks").into())
        }
    }

    fn xid(&self, of: Content<'_>) -> Result<XidSeen, Problem> {
        let pci = match of.optional("pci") {
            None => None,
            Some(_) => Some(of.text("pci")?.parse().map_err(|_| of.lacks("pci"))?),
        };
        Ok(XidSeen {
            gpu: of.optional("gpu").map(|_| self.gpu(of)).transpose()?,
            pci,
            code: of.number("code")?,
            source: match of.text("source")? {
                "kernel_log" => XidSource::KernelLog,
                "driver" => XidSource::Driver,
                _ => return Err(of.lacks("source")),
            },
            text: of.text("text")?.to_owned(),
            gpu_instance_id: of.optional("gi").map(|_| of.number("gi")).transpose()?,
            compute_instance_id: of.optional("ci").map(|_| of.number("ci")).transpose()?,
        })
    }
}

impl Iterator for Reader<'_> {
    type Item = Result<TraceItem, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.advance().map_err(|problem| problem.at(self.lines.number)).transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

/// The first 40 characters of something that does not fit.
fn short(text: &str) -> &str {
    text.char_indices().nth(40).map_or(text, |(end, _)| &text[..end])
}

fn about(line: &str) -> Result<About, Problem> {
    let json: Json = serde_json::from_str(line)?;
    let of = Content { kind: "head", json: &json };
    let period_ms: u64 = of.number("period_ms")?;
    if !(1..=PERIOD_MS_MAX).contains(&period_ms) {
        return Err(of.lacks("period_ms"));
    }
    let gpus = json["gpus"].as_array().ok_or_else(|| of.lacks("gpus"))?;
    if gpus.len() > GPUS_MAX {
        return Err(format!("has more than {GPUS_MAX} GPUs").into());
    }
    Ok(About {
        recorded_unix_ms: of.number("recorded_unix_ms")?,
        period_ms,
        driver_version: of.text("driver_version")?.to_owned(),
        gpus: gpus.iter().map(inventory).collect::<Result<_, _>>()?,
    })
}

fn columns(line: &str) -> Result<Vec<Option<usize>>, Problem> {
    let names = line
        .strip_prefix("t_ms,gpu,")
        .ok_or_else(|| Problem::from("does not begin with the columns t_ms and gpu"))?;
    let columns: Vec<Option<usize>> = names.split(',').map(Fast::position).collect();
    let mut seen = vec![false; Fast::DESCRIPTORS.len()];
    for position in columns.iter().flatten() {
        if std::mem::replace(&mut seen[*position], true) {
            return Err(format!("names the column {} twice", Fast::DESCRIPTORS[*position].edge_name()).into());
        }
    }
    Ok(columns)
}

fn cell(text: &str) -> Option<Reading<Value<'_>>> {
    match text.strip_prefix('!') {
        Some(reason) => NoData::from_name(reason).map(Err),
        None => text.parse().map(Value::Unsigned).or_else(|_| text.parse().map(Value::Signed)).ok().map(Ok),
    }
}

fn figure(json: &Json) -> Option<Reading<Value<'_>>> {
    match json {
        Json::Bool(flag) => Some(Ok(Value::Flag(*flag))),
        Json::String(text) => Some(Ok(Value::Text(text))),
        Json::Number(number) => {
            number.as_u64().map(Value::Unsigned).or_else(|| number.as_i64().map(Value::Signed)).map(Ok)
        }
        Json::Object(map) => NoData::from_name(map.get("no_data")?.as_str()?).map(Err),
        Json::Null | Json::Array(_) => None,
    }
}

fn inventory(json: &Json) -> Result<Inventory, Problem> {
    let mut inventory = Inventory::absent(NoData::NotSampled);
    let map = json.as_object().ok_or_else(|| Problem::from("has a GPU that is no object"))?;
    for (name, json) in map {
        if let Some(position) = Inventory::position(name) {
            let reading = figure(json).ok_or_else(|| format!("has no figure as {name}"))?;
            inventory.set(position, reading)?;
        }
    }
    Ok(inventory)
}

fn slow(of: Content<'_>, gpu: u8) -> Result<What, Problem> {
    let mut slow = Slow::absent(NoData::NotSampled);
    for (name, json) in of.json.as_object().into_iter().flatten() {
        if let Some(position) = Slow::position(name) {
            slow.set(position, figure(json).ok_or_else(|| of.lacks(name))?)?;
        }
    }
    let links = of.json["nvlinks"].as_array().ok_or_else(|| of.lacks("nvlinks"))?;
    let nvlinks =
        links.iter().map(|json| nvlink(Content { kind: "NVLink", json })).collect::<Result<_, _>>()?;
    Ok(What::Slow { gpu, slow: Box::new(slow), nvlinks, processes: of.number("processes")? })
}

fn nvlink(of: Content<'_>) -> Result<NvLink, Problem> {
    Ok(NvLink {
        link: of.number("link")?,
        active: of.reading("active", bool::from_value)?,
        version: of.reading("version", unsigned)?,
        remote_type: of.reading("remote_type", String::from_value)?,
        crc_flit_errors: of.reading("crc_flit_errors", unsigned)?,
        crc_data_errors: of.reading("crc_data_errors", unsigned)?,
        replay_errors: of.reading("replay_errors", unsigned)?,
        recovery_errors: of.reading("recovery_errors", unsigned)?,
        transmit_bytes_total: of.reading("transmit_bytes_total", unsigned)?,
        receive_bytes_total: of.reading("receive_bytes_total", unsigned)?,
    })
}

fn unsigned<T: TryFrom<u64>>(value: Value<'_>) -> Option<T> {
    if let Value::Unsigned(number) = value { T::try_from(number).ok() } else { None }
}

/// A JSON object and what it is called in errors.
#[derive(Clone, Copy)]
struct Content<'a> {
    kind: &'a str,
    json: &'a Json,
}

impl<'a> Content<'a> {
    fn lacks(self, name: &str) -> Problem {
        format!("has no valid `{}` in its {}", short(name), short(self.kind)).into()
    }

    fn optional(self, name: &str) -> Option<&'a Json> {
        self.json.get(name).filter(|json| !json.is_null())
    }

    fn number<T: TryFrom<u64>>(self, name: &str) -> Result<T, Problem> {
        let number = self.json.get(name).and_then(Json::as_u64).and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| self.lacks(name))
    }

    fn text(self, name: &str) -> Result<&'a str, Problem> {
        self.json.get(name).and_then(Json::as_str).ok_or_else(|| self.lacks(name))
    }

    /// A reading, not sampled where it is missing.
    fn reading<T>(self, name: &str, of: impl Fn(Value<'_>) -> Option<T>) -> Result<Reading<T>, Problem> {
        match self.json.get(name).map(figure) {
            None => Ok(Err(NoData::NotSampled)),
            Some(Some(Err(why))) => Ok(Err(why)),
            Some(Some(Ok(value))) => of(value).map(Ok).ok_or_else(|| self.lacks(name)),
            Some(None) => Err(self.lacks(name)),
        }
    }
}
