//! Every configuration key once: its default, what it means and what is
//! allowed. The default file and the reference in `docs/` are made from here.

use std::fmt::Write as _;

/// One key of the configuration file.
pub struct Key {
    /// Table it stands in.
    pub section: &'static str,
    /// Its name, units last.
    pub name: &'static str,
    /// Its default as TOML; an example where `required_by_default` is false.
    pub default: &'static str,
    /// The default applies; otherwise the line is shown commented out.
    pub set: bool,
    /// What it means and what is allowed.
    pub doc: &'static str,
}

const fn key(section: &'static str, name: &'static str, default: &'static str, doc: &'static str) -> Key {
    Key { section, name, default, set: true, doc }
}

const fn unset(section: &'static str, name: &'static str, example: &'static str, doc: &'static str) -> Key {
    Key { section, name, default: example, set: false, doc }
}

/// All keys, in the order of the file.
pub const KEYS: &[Key] = &[
    key("node", "site", "\"unnamed-site\"", "Site name in topics: 1 to 64 of a-z, 0-9, '-', '_', '.'."),
    unset("node", "name", "\"gpu-17\"", "Node name in topics, same characters; the host name if unset."),
    unset(
        "node",
        "place",
        "\"Frankfurt, DE\"",
        "Where the machine stands, as told to buyers (declared, not proven); up to 128 characters.",
    ),
    unset("node", "expected_gpus", "8", "How many GPUs this node should have, 0 to 64; fewer is reported."),
    key("sampling", "period_ms", "1000", "Time between samples, 100 to 60000 milliseconds."),
    key(
        "sampling",
        "slow_every_secs",
        "60",
        "Time between slow readings (ECC by location, NVLinks, processes), 1 to 3600 seconds.",
    ),
    key(
        "sampling",
        "pcie_throughput",
        "false",
        "Measure PCIe traffic; the driver takes 20 ms for each of two calls per GPU.",
    ),
    unset(
        "sampler",
        "socket",
        "\"/run/rackmark/sampler.sock\"",
        "Socket on which systemd starts a sampler per connection. This or `program`.",
    ),
    key(
        "sampler",
        "program",
        "\"rackmark-sampler\"",
        "Sampler to start directly; a bare name is looked up beside this binary. This or `socket`.",
    ),
    key(
        "sampler",
        "nvml_library",
        "\"libnvidia-ml.so.1\"",
        "NVML library given to a sampler started directly.",
    ),
    key("hardware", "sysfs_root", "\"/sys\"", "Where sysfs is mounted."),
    key("hardware", "proc_root", "\"/proc\"", "Where procfs is mounted."),
    key("mqtt", "enabled", "true", "Publish the feed."),
    key(
        "mqtt",
        "brokers",
        "[\"mqtt://127.0.0.1:1883\"]",
        "Brokers in order of preference, 1 to 8 of mqtt://host:port.",
    ),
    key("mqtt", "keep_alive_secs", "30", "Keep-alive, 5 to 600 seconds."),
    key("mqtt", "batch_samples", "10", "Samples in one telemetry message, 1 to 60."),
    unset("mqtt", "username", "\"rackmark\"", "User name for the broker; needs `password_file`."),
    unset(
        "mqtt",
        "password_file",
        "\"/etc/rackmark/mqtt-password\"",
        "File whose first line is the password.",
    ),
    key("metrics", "listen", "\"127.0.0.1:9810\"", "Address of the Prometheus endpoint."),
    key("control", "socket", "\"/run/rackmark/control.sock\"", "Socket of the command line."),
    key(
        "control",
        "admin_group",
        "\"rackmark-admin\"",
        "Members of this group may use it, besides root and the agent's own user.",
    ),
    key("state", "dir", "\"/var/lib/rackmark\"", "Identity key and roster of GPUs; created with mode 0700."),
    key("log", "level", "\"info\"", "error, warn, info, debug or trace."),
];

/// The default configuration file, commented.
pub fn default_file() -> String {
    let mut text = String::from(
        "# rackmark configuration. Every key is shown with its default; commented lines have none.\n# `rackmark check-config` names every mistake at once.\n",
    );
    let mut section = "";
    for key in KEYS {
        if key.section != section {
            section = key.section;
            let _ = write!(text, "\n[{section}]\n");
        }
        let mark = if key.set { "" } else { "# " };
        let _ = write!(text, "# {}\n{mark}{} = {}\n", key.doc, key.name, key.default);
    }
    text
}
