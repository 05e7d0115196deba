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
        "\"/run/rackmark-sampler.sock\"",
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
    unset(
        "collect",
        "socket",
        "\"/run/rackmark-collect.sock\"",
        "Socket on which systemd starts the collector of what only root may open, for each connection. This or `program`.",
    ),
    key(
        "collect",
        "program",
        "\"rackmark-collect\"",
        "Collector to start directly; a bare name is looked up beside this binary. This or `socket`.",
    ),
    key(
        "attest",
        "tpm",
        "\"auto\"",
        "Whose identity the node has: \"auto\" (the TPM's where there is one at the first start, then what it was), \"required\" (the TPM's), \"off\" (a software key's).",
    ),
    unset(
        "attest",
        "socket",
        "\"/run/rackmark-attest.sock\"",
        "Socket on which systemd starts the process with the TPM, for each connection. This or `program`.",
    ),
    key(
        "attest",
        "program",
        "\"rackmark-attest\"",
        "Process with the TPM to start directly; a bare name is looked up beside this binary. This or `socket`.",
    ),
    key(
        "attest",
        "tcti",
        "\"device:/dev/tpmrm0\"",
        "The TPM, as tpm2-tss names it: device:PATH or swtpm:host=HOST,port=PORT; given to a process started directly.",
    ),
    key(
        "attest",
        "succession_dir",
        "\"/etc/rackmark/succession.d\"",
        "Folder with what operators signed of this node's earlier ids, made by `rackmark key succeed`; read at start.",
    ),
    key(
        "hardware",
        "kernel_log",
        "\"/dev/kmsg\"",
        "The kernel log, or a FIFO that stands in for it; given to a collector started directly.",
    ),
    key("hardware", "sysfs_root", "\"/sys\"", "Where sysfs is mounted."),
    key("hardware", "proc_root", "\"/proc\"", "Where procfs is mounted."),
    key("hardware", "run_root", "\"/run\"", "Where services keep what lasts until the next boot."),
    key("hardware", "dev_root", "\"/dev\"", "Where device nodes are; `rackmark doctor` looks there."),
    unset(
        "bmc",
        "url",
        "\"https://192.0.2.17\"",
        "The BMC, to be asked over Redfish: https://host or https://host:port; with a user name, a password, and `ca_file` or `certificate_sha256`.",
    ),
    unset(
        "bmc",
        "username_file",
        "\"credential:bmc-username\"",
        "File whose first line is the name of an account that may read. For every file of this table, `credential:NAME` is a credential of the unit (systemd LoadCredential=).",
    ),
    unset("bmc", "password_file", "\"credential:bmc-password\"", "File whose first line is its password."),
    unset(
        "bmc",
        "ca_file",
        "\"/etc/rackmark/bmc-ca.pem\"",
        "PEM file with the authorities that may vouch for the BMC's certificate.",
    ),
    unset(
        "bmc",
        "certificate_sha256",
        "\"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"",
        "SHA-256 of the BMC's certificate (DER) in hexadecimal digits, with or without colons: this certificate and no other. With `ca_file`, both must agree.",
    ),
    key("bmc", "every_secs", "3600", "Time between two looks at the BMC, 60 to 86400 seconds."),
    key(
        "bmc",
        "spdm",
        "false",
        "Let components sign measurements through the BMC where evidence is asked for with devices; this takes seconds to minutes.",
    ),
    key("mqtt", "enabled", "true", "Publish the feed."),
    key(
        "mqtt",
        "brokers",
        "[\"mqtt://127.0.0.1:1883\"]",
        "Brokers in order of preference, 1 to 8 of mqtts://host:port (TLS) or mqtt://host:port.",
    ),
    key("mqtt", "keep_alive_secs", "30", "Keep-alive, 5 to 600 seconds."),
    // With 60 s a fleet of 125,000 agents makes about 4,200 attempts a second after a common outage.
    key(
        "mqtt",
        "reconnect_max_secs",
        "60",
        "Longest pause between attempts to reach the brokers, 1 to 3600 seconds; short is for small fleets.",
    ),
    key("mqtt", "batch_samples", "10", "Samples in one telemetry message, 1 to 60."),
    unset("mqtt", "username", "\"rackmark\"", "User name for the broker; needs `password_file`."),
    unset(
        "mqtt",
        "password_file",
        "\"/etc/rackmark/mqtt-password\"",
        "File whose first line is the password. For every file of this table, `credential:NAME` is a credential of the unit (systemd LoadCredential=).",
    ),
    key(
        "mqtt",
        "ca_file",
        "\"/etc/ssl/certs/ca-certificates.crt\"",
        "PEM file with the authorities that may vouch for mqtts brokers.",
    ),
    unset(
        "mqtt",
        "cert_file",
        "\"/etc/rackmark/node.pem\"",
        "Own certificate for mqtts brokers that ask for one, its chain after it, PEM; with `key_file`.",
    ),
    unset("mqtt", "key_file", "\"/etc/rackmark/node.key\"", "Private key of `cert_file`, PEM."),
    unset(
        "mqtt",
        "server_name",
        "\"broker.example\"",
        "Name in the certificate of mqtts brokers, where it is not the host in `brokers`.",
    ),
    key(
        "mqtt",
        "plain_hosts",
        "[]",
        "Hosts besides this one that may be used without TLS, by mqtt://; each named as in `brokers`.",
    ),
    key("spool", "series_mb", "256", "Disk for telemetry that waits for delivery, in MiB, 4 and more."),
    key("spool", "series_days", "14", "Telemetry older than this is given up, 1 to 3650 days."),
    key("spool", "edges_mb", "64", "Disk for events and session records, in MiB, 2 and more."),
    key("spool", "edges_days", "365", "Events older than this are given up, 1 to 3650 days."),
    key(
        "spool",
        "keep_series_minutes",
        "60",
        "Delivered telemetry is kept this long for whoever asks again, while there is room.",
    ),
    key(
        "spool",
        "keep_edges_hours",
        "168",
        "Delivered events are kept this long for whoever asks again, while there is room.",
    ),
    key(
        "consumers",
        "allowed",
        "[]",
        "Consumers that may confirm records and ask for them again: up to 16 of \"name=Ed25519 public key in hex\".",
    ),
    key(
        "consumers",
        "required",
        "[]",
        "Of these, the ones whose confirmation records wait for, as long as the budget allows.",
    ),
    key(
        "consumers",
        "operators",
        "[]",
        "Of these, the ones whose signed commands may drain, pause, acknowledge and begin maintenance or leases.",
    ),
    key("consumers", "lessors", "[]", "Of these, the ones whose signed commands may begin and end leases."),
    unset(
        "consumers",
        "keys_dir",
        "\"/etc/rackmark/keys.d\"",
        "Folder with one file per consumer, made by `rackmark key add`; a change there takes effect within 5 seconds.",
    ),
    key(
        "health",
        "boot_grace_secs",
        "300",
        "Links train and the fabric settles after a boot: for this long nothing of the kind is raised, 0 to 3600 seconds.",
    ),
    key(
        "health",
        "ignore",
        "[]",
        "Conditions that are not to be raised on this node, by their code, such as \"persistence_off\".",
    ),
    key(
        "leases",
        "source",
        "\"none\"",
        "Who tells of leases: \"none\" (processes mean in use), \"control\" (`rackmark lease`), \"file\" (`leases.file`, and `rackmark lease`).",
    ),
    unset(
        "leases",
        "file",
        "\"/run/rackmark/leases.json\"",
        "File with the leases that are in force, for `source = \"file\"`.",
    ),
    unset(
        "gpu",
        "socket",
        "\"/run/rackmark-gpu.sock\"",
        "Socket on which systemd starts the process that works on a GPU, for each connection. This or `program`.",
    ),
    key(
        "gpu",
        "program",
        "\"rackmark-gpu\"",
        "Process that works on a GPU, to start directly; a bare name is looked up beside this binary. This or `socket`.",
    ),
    key("hooks", "enabled", "true", "Run the hooks of the site (docs/hooks.md)."),
    key(
        "hooks",
        "dir",
        "\"/etc/rackmark/hooks.d\"",
        "Folder with a folder of executables for each event; nothing is started for an event without one.",
    ),
    unset(
        "hooks",
        "socket",
        "\"/run/rackmark-hook.sock\"",
        "Socket on which systemd starts the process that runs hooks, for each connection. This or `program`.",
    ),
    key(
        "hooks",
        "program",
        "\"rackmark-hook\"",
        "Process that runs hooks, to start directly; a bare name is looked up beside this binary. This or `socket`.",
    ),
    key("hooks", "timeout_secs", "30", "How long each hook may take, 1 to 3600 seconds."),
    key(
        "hooks",
        "timeouts",
        "[]",
        "The same for single events, as \"event=seconds\", such as \"before-burn-in=600\".",
    ),
    key("metrics", "listen", "\"127.0.0.1:9810\"", "Address of the Prometheus endpoint."),
    unset(
        "metrics",
        "web_config_file",
        "\"/etc/rackmark/web-config.yml\"",
        "TLS, passwords and limits of that endpoint, in the format of Prometheus' exporters.",
    ),
    key(
        "metrics",
        "dcgm_extra",
        "false",
        "Let /metrics/dcgm have what dcgm-exporter leaves out by default: ECC, violation times, NVLink errors.",
    ),
    key(
        "metrics",
        "dcgm_hostname_label",
        "\"Hostname\"",
        "Label of /metrics/dcgm with the node's name: \"Hostname\", or \"hostname\" as in dcgm-exporter since May 2026.",
    ),
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
