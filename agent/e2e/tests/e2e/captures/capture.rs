//! A capture of `nvidia-smi` under load, taken apart.

use rackmark_e2e::Outcome;

/// One MIG instance: what `-q` says of it.
pub type Mig = Vec<(String, String)>;

/// One process.
pub struct Process {
    pub pid: u32,
    pub name: String,
    pub mebibytes: u64,
}

/// What a capture says.
pub struct Capture {
    /// `--query-gpu` by field name, units taken off the name.
    pub fields: Vec<(String, String)>,
    /// `-q` by path, sections joined by ` / `; processes and MIG devices apart.
    pub query: Vec<(String, String)>,
    pub processes: Vec<Process>,
    pub mig: Vec<Mig>,
}

impl Capture {
    pub fn parse(text: &str) -> Outcome<Self> {
        let csv = section(text, "load :: query-gpu")?;
        let mut lines = csv.lines();
        let (names, values) = (lines.next().ok_or("no names")?, lines.next().ok_or("no values")?);
        let fields = names
            .split(',')
            .map(|name| name.split('[').next().unwrap_or("").trim().to_owned())
            .zip(values.split(", ").map(|value| value.trim().to_owned()))
            .collect();
        let mut capture = Self { fields, query: Vec::new(), processes: Vec::new(), mig: Vec::new() };
        capture.take_query(section(text, "load :: query (-q)")?)?;
        Ok(capture)
    }

    fn take_query(&mut self, text: &str) -> Outcome<()> {
        let mut path: Vec<(usize, String)> = Vec::new();
        let (mut pid, mut name) = (None, String::new());
        for line in text.lines().skip_while(|line| !line.starts_with("GPU ")).skip(1) {
            if line.trim().is_empty() {
                continue;
            }
            let depth = line.len() - line.trim_start().len();
            path.retain(|(above, _)| *above < depth);
            let Some((key, value)) = line.split_once(" : ").map(|(key, value)| (key.trim(), value.trim()))
            else {
                let title = line.trim().to_owned();
                if title == "MIG Device" {
                    self.mig.push(Vec::new());
                }
                path.push((depth, title));
                continue;
            };
            let mut full: Vec<&str> = path.iter().map(|(_, title)| title.as_str()).collect();
            full.push(key);
            match full.first() {
                Some(&"MIG Device") => {
                    let key = full[1..].join(" / ");
                    self.mig.last_mut().ok_or("a MIG device")?.push((key, value.to_owned()));
                }
                Some(&"Processes") => match key {
                    "Process ID" => pid = Some(value.parse()?),
                    "Name" => name = value.to_owned(),
                    "Used GPU Memory" => {
                        let mebibytes = value.trim_end_matches(" MiB").parse()?;
                        self.processes.push(Process {
                            pid: pid.ok_or("a pid")?,
                            name: std::mem::take(&mut name),
                            mebibytes,
                        });
                    }
                    _ => {}
                },
                _ => self.query.push((full.join(" / "), value.to_owned())),
            }
            // A value may itself head a section (`HW Slowdown` does).
            path.push((depth, key.to_owned()));
        }
        Ok(())
    }
}

/// The text of a section, which is framed by lines of `#`.
fn section<'a>(text: &'a str, title: &str) -> Outcome<&'a str> {
    let at = text.find(&format!("# {title}")).ok_or_else(|| format!("no section {title}"))?;
    let frame = "\n################################################################################\n";
    let body = text[at..].find(frame).map(|end| at + end + frame.len()).ok_or("no end of the frame")?;
    let end = text[body..].find("\n####").map_or(text.len(), |end| body + end);
    Ok(&text[body..end])
}
