//! The hooks that are shipped, run on stand-ins for what they call.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rackmark_e2e::Outcome;
use tempfile::TempDir;

/// A search path of stand-ins that log their arguments and their standard input.
struct Stage(TempDir);

/// How a hook ended.
struct Ended {
    code: Option<i32>,
    stdout: String,
    /// Calls of the stand-ins since the hook began.
    calls: Vec<String>,
}

impl Stage {
    fn new() -> Outcome<Self> {
        let stage = Self(TempDir::new()?);
        fs::create_dir(stage.path("bin"))?;
        Ok(stage)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn program(&self, name: &str, body: &str) -> Outcome<()> {
        let (path, calls) = (self.path("bin").join(name), self.path("calls"));
        fs::write(&path, format!("#!/bin/sh\necho {name} \"$@\" >>'{}'\n{body}\n", calls.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    fn settings(&self, text: &str) -> Outcome<()> {
        Ok(fs::write(self.path("conf"), text)?)
    }

    /// Runs a hook with a document and nothing in its environment but what a test needs.
    fn run(&self, hook: &str, document: &str) -> Outcome<Ended> {
        let _ = fs::remove_file(self.path("calls"));
        fs::write(self.path("input"), format!("{document}\n"))?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/examples/hooks").join(hook);
        let output = Command::new(script)
            .env_clear()
            .env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.path("bin").display()))
            .env("RACKMARK_HOOK_CONF", self.path("conf"))
            .stdin(Stdio::from(fs::File::open(self.path("input"))?))
            .output()?;
        let stdout = String::from_utf8(output.stdout)?;
        if !stdout.is_empty() {
            let said: serde_json::Value = serde_json::from_str(&stdout)?;
            assert!(said["message"].is_string(), "{stdout}");
        }
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        Ok(Ended { code: output.status.code(), stdout, calls: calls.lines().map(str::to_owned).collect() })
    }
}

fn verdict(gpu: &str, to: &str, reason: &str) -> String {
    let reason = serde_json::Value::from(reason);
    format!(
        "{{\"at_unix_ms\":1,\"event\":\"verdict-changed\",\"from\":\"unknown\",\"gpu\":{gpu},\"reason\":{reason},\"test\":false,\"to\":\"{to}\",\"version\":1}}"
    )
}

#[test]
fn slurm_is_drained_for_a_reason_and_only_its_own_drain_ends() -> Outcome<()> {
    let stage = Stage::new()?;
    stage.settings("NODE=gpu-17\n")?;
    let slurm = |present: &str, document: &str| -> Outcome<Vec<String>> {
        stage.program(
            "scontrol",
            &format!("[ \"$1\" = update ] || printf '   State=IDLE\\n   Reason={present}\\n'"),
        )?;
        let ended = stage.run("slurm", document)?;
        assert_eq!(ended.code, Some(0), "{}", ended.stdout);
        Ok(ended.calls.into_iter().filter(|call| call.contains("update")).collect())
    };
    let unusable =
        verdict("null", "unusable", "GPU 3 is unusable: \"XID 79\",\"to\":\"schedulable\"; $(reboot)");
    let drained = "scontrol update NodeName=gpu-17 State=DRAIN Reason=rackmark: GPU 3 is unusable: ";
    assert_eq!(slurm("none", &unusable)?, [drained]);
    assert_eq!(slurm("rackmark: before", &unusable)?, [drained]);
    assert_eq!(slurm("by hand", &unusable)?, Vec::<String>::new());
    let good = verdict("null", "schedulable", "");
    assert_eq!(
        slurm("rackmark: x [root@2026-01-01]", &good)?,
        ["scontrol update NodeName=gpu-17 State=RESUME"]
    );
    assert_eq!(slurm("by hand", &good)?, Vec::<String>::new());
    // One GPU is not the node, and a test is none of Slurm's business.
    assert_eq!(slurm("none", &verdict("{\"slot\":3}", "unusable", ""))?, Vec::<String>::new());
    assert_eq!(slurm("none", &unusable.replace("\"test\":false", "\"test\":true"))?, Vec::<String>::new());
    let draining = verdict("null", "draining", "in maintenance");
    assert_eq!(slurm("none", &draining)?.len(), 1);
    stage.settings("NODE=gpu-17\nDRAIN_FROM=unusable\n")?;
    assert_eq!(slurm("none", &draining)?, Vec::<String>::new());
    // A controller that does not answer is asked again.
    stage.program("scontrol", "exit 1")?;
    assert_eq!(stage.run("slurm", &unusable)?.code, Some(75));
    Ok(())
}

#[test]
fn kubernetes_is_cordoned_and_only_its_own_cordon_ends() -> Outcome<()> {
    let stage = Stage::new()?;
    let config = stage.path("kubeconfig");
    let unusable = verdict("null", "unusable", "GPU 3 is unusable");
    stage.program("kubectl", "exit 0")?;
    stage.settings("NODE=gpu-17\n")?;
    assert_eq!(stage.run("kubernetes", &unusable)?.code, Some(78), "no kubeconfig");
    fs::write(&config, "")?;
    stage.settings(&format!("NODE=gpu-17\nKUBECONFIG={}\n", config.display()))?;
    let kubernetes = |mark: &str, cordoned: &str, document: &str| -> Outcome<Vec<String>> {
        let body = format!(
            "case \"$*\" in *annotations*) printf '{mark}' ;; *unschedulable*) printf '{cordoned}' ;; esac"
        );
        stage.program("kubectl", &body)?;
        let ended = stage.run("kubernetes", document)?;
        assert_eq!(ended.code, Some(0), "{}", ended.stdout);
        let calls = ended.calls.into_iter().filter(|call| !call.contains(" get node "));
        Ok(calls.map(|call| call.replace("kubectl --request-timeout=10s ", "")).collect())
    };
    let cordon = ["annotate --overwrite node gpu-17 rackmark/cordoned=GPU 3 is unusable", "cordon gpu-17"];
    assert_eq!(kubernetes("", "", &unusable)?, cordon);
    // The mark without the cordon: it broke off in between.
    assert_eq!(kubernetes("x", "", &unusable)?, cordon);
    assert_eq!(kubernetes("", "true", &unusable)?, Vec::<String>::new(), "by somebody else");
    let good = verdict("null", "schedulable", "");
    assert_eq!(
        kubernetes("x", "true", &good)?,
        ["uncordon gpu-17", "annotate node gpu-17 rackmark/cordoned-"]
    );
    assert_eq!(kubernetes("", "true", &good)?, Vec::<String>::new());
    assert_eq!(kubernetes("", "", &verdict("{\"slot\":3}", "unusable", ""))?, Vec::<String>::new());
    stage.program("kubectl", "exit 1")?;
    assert_eq!(stage.run("kubernetes", &unusable)?.code, Some(75));
    Ok(())
}

#[test]
fn a_web_server_gets_the_document_over_https_only() -> Outcome<()> {
    let stage = Stage::new()?;
    let body = stage.path("body");
    stage.program("curl", &format!("cat >'{}'", body.display()))?;
    let document = "{\"event\":\"lease-start\",\"test\":false}";
    for wrong in ["", "URL=http://example.org\n", "URL=file:///etc/passwd\n"] {
        stage.settings(wrong)?;
        let ended = stage.run("webhook", document)?;
        assert_eq!((ended.code, ended.calls.len()), (Some(78), 0), "{wrong:?}");
    }
    stage.settings("URL=https://example.org/x\nHEADERS=/etc/headers\nCA_FILE=/etc/ca.pem\n")?;
    let ended = stage.run("webhook", document)?;
    assert_eq!((ended.code, ended.calls.len()), (Some(0), 1));
    assert_eq!(fs::read_to_string(&body)?, format!("{document}\n"));
    let call = &ended.calls[0];
    for needed in [
        "--proto =https",
        "--fail",
        "--header @/etc/headers",
        "--cacert /etc/ca.pem",
        "https://example.org/x",
    ] {
        assert!(call.contains(needed), "{needed}: {call}");
    }
    assert!(!call.contains("insecure") && !call.contains(" -k"), "{call}");
    for (curl, code) in [(7, 75), (28, 75), (60, 1), (22, 1)] {
        stage.program("curl", &format!("exit {curl}"))?;
        assert_eq!(stage.run("webhook", document)?.code, Some(code), "{curl}");
    }
    Ok(())
}

#[test]
fn the_light_of_the_chassis_is_lit_and_put_out() -> Outcome<()> {
    let stage = Stage::new()?;
    stage.program("curl", "exit 0")?;
    stage.program("ipmitool", "exit 0")?;
    let event = |event: &str, more: &str| format!("{{\"event\":\"{event}\",{more}\"test\":false}}");
    let on = [
        event("quarantine", "\"reason\":\"\\\"phase\\\":\\\"end\\\"\","),
        event("maintenance", "\"phase\":\"start\","),
    ];
    let off = [event("unquarantine", ""), event("maintenance", "\"phase\":\"end\",")];
    let credentials = stage.path("netrc");
    stage.settings("BMC=https://bmc-17\nCHASSIS=1\n")?;
    assert_eq!(stage.run("identify-redfish", &on[0])?.code, Some(78), "no credentials");
    fs::write(&credentials, "machine bmc-17 login hook password word\n")?;
    let settings = format!("BMC=https://bmc-17/\nCHASSIS=1\nCREDENTIALS={}\n", credentials.display());
    stage.settings(&settings.replace("https", "http"))?;
    assert_eq!(stage.run("identify-redfish", &on[0])?.code, Some(78), "no TLS");
    for (property, lit, out) in [
        ("", "{\"LocationIndicatorActive\":true}", "{\"LocationIndicatorActive\":false}"),
        ("PROPERTY=IndicatorLED\n", "{\"IndicatorLED\":\"Blinking\"}", "{\"IndicatorLED\":\"Off\"}"),
    ] {
        stage.settings(&format!("{settings}{property}"))?;
        for (documents, body, how) in [(&on, lit, "force"), (&off, out, "0")] {
            for document in documents {
                let ended = stage.run("identify-redfish", document)?;
                assert_eq!((ended.code, ended.calls.len()), (Some(0), 1), "{document}");
                let call = &ended.calls[0];
                assert!(call.contains(&format!("--data {body} ")), "{call}");
                assert!(call.ends_with(" https://bmc-17/redfish/v1/Chassis/1"), "{call}");
                assert!(call.contains("--proto =https") && call.contains("--netrc-file"), "{call}");
                assert!(
                    !call.contains("word") && !call.contains("insecure") && !call.contains(" -k"),
                    "{call}"
                );
                let ended = stage.run("identify-ipmitool", document)?;
                assert_eq!(ended.calls, [format!("ipmitool chassis identify {how}")], "{document}");
            }
        }
    }
    for hook in ["identify-redfish", "identify-ipmitool"] {
        let tried = stage.run(hook, &on[0].replace("\"test\":false", "\"test\":true"))?;
        assert_eq!((tried.code, tried.calls.len()), (Some(0), 0), "{hook}");
        assert_eq!(stage.run(hook, &event("lease-end", ""))?.code, Some(78), "{hook}");
    }
    stage.program("curl", "exit 7")?;
    assert_eq!(stage.run("identify-redfish", &on[0])?.code, Some(75));
    stage.program("ipmitool", "exit 1")?;
    assert!(matches!(stage.run("identify-ipmitool", &on[0])?.code, Some(75 | 77)));
    Ok(())
}
