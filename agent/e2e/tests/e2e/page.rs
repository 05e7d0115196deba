//! The status page in a real browser.

use std::time::Duration;

use rackmark_e2e::Outcome;
use rackmark_e2e::agent::{Agent, Setup};
use rackmark_e2e::browser::{Between, Fate, png_size, visit};
use rackmark_e2e::http;
use rackmark_e2e::sim::Sim;
use tempfile::TempDir;

fn all_up(agent: &Agent) -> Outcome<()> {
    agent.wait("all GPUs and their names", Duration::from_secs(10), |scrape| {
        let up = (0..8).all(|gpu| scrape.contains(&format!("rackmark_gpu_up{{gpu=\"{gpu}\"}} 1")));
        up && !scrape.contains("uuid=\"\"")
    })?;
    Ok(())
}

fn eight() -> Outcome<(Sim, Agent)> {
    let sim = Sim::profile("h100-sxm-8", None)?;
    let agent = Agent::sampling(&Setup::on(&sim).line("node", "expected_gpus = 8"))?;
    all_up(&agent)?;
    Ok((sim, agent))
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}/")
}

/// The part of the document about one GPU.
fn about(dom: &str, slot: usize) -> &str {
    let from = dom.find(&format!("id=\"gpu-{slot}\"")).unwrap_or_else(|| panic!("GPU {slot} in {dom}"));
    dom[from..].split("</tbody>").next().unwrap_or("")
}

/// The tag of the document, where the script says how it fares.
fn root(dom: &str) -> &str {
    dom.split_once("<html").and_then(|(_, rest)| rest.split_once('>')).map_or("", |(tag, _)| tag)
}

fn updates(dom: &str) -> usize {
    let value = root(dom).split_once("data-updates=\"").and_then(|(_, rest)| rest.split_once('"'));
    value.and_then(|(value, _)| value.parse().ok()).unwrap_or(0)
}

#[test]
fn a_browser_shows_every_gpu_and_has_nothing_to_complain_about() -> Outcome<()> {
    let (_sim, agent) = eight()?;
    let visit = visit(&url(agent.metrics), 9, &[])?;
    let status = agent.status()?;
    for slot in 0..8 {
        let gpu = &status["gpus"][slot];
        let part = about(&visit.dom, slot);
        for name in ["uuid", "serial", "pci_address", "name"] {
            let text = gpu[name].as_str().ok_or(name)?;
            assert!(part.contains(text), "{name} {text} of GPU {slot} in {part}");
        }
        assert!(part.contains("aria-label=\"Power over 15 minutes: "), "{part}");
    }
    assert!(visit.dom.contains("<b>SIMULATED</b>"));
    assert!((2..=6).contains(&updates(&visit.dom)), "updates in 9 s: {}", updates(&visit.dom));
    assert!(root(&visit.dom).contains("data-live=\"live\""));
    assert_eq!(visit.complaints(), [""; 0]);
    Ok(())
}

#[test]
fn what_the_policy_refuses_would_be_noticed_and_configured_headers_win() -> Outcome<()> {
    let sim = Sim::profile("h100-sxm-8", Some(1))?;
    let folder = TempDir::new()?;
    let web = folder.path().join("web.yml");
    std::fs::write(
        &web,
        "http_server_config:\n  headers:\n    Content-Security-Policy: \"default-src 'none'\"\n",
    )?;
    let agent = Agent::sampling(&Setup::on(&sim).line("metrics", format!("web_config_file = {web:?}")))?;
    let head = http::get(agent.metrics, "/", "text/html")?.head.to_lowercase();
    assert!(head.contains("content-security-policy: default-src 'none'\r\n"), "{head}");
    let visit = visit(&url(agent.metrics), 3, &[])?;
    assert_ne!(visit.complaints(), [""; 0], "{}", visit.log);
    // Where no script runs, the page is whole, and does not claim to be live.
    assert!(about(&visit.dom, 0).contains("H100"), "{}", visit.dom);
    assert!(updates(&visit.dom) == 0 && !root(&visit.dom).contains("data-live="));
    Ok(())
}

#[test]
fn an_open_page_follows_a_loss_without_being_loaded_again() -> Outcome<()> {
    let (sim, agent) = eight()?;
    let agent = std::sync::Arc::new(agent);
    let seen = agent.clone();
    let between = Between::browser_and(agent.metrics, move |request| {
        // The first one loads the page.
        if request == 3 {
            sim.command("lost 1").expect("loss");
            seen.wait("the loss", Duration::from_secs(5), |scrape| {
                scrape.contains("rackmark_gpu_no_data{gpu=\"1\",reason=\"gpu_lost\"} 1")
            })
            .expect("loss");
        }
        Fate::Answered
    })?;
    let visit = visit(&url(between.port), 9, &[])?;
    assert!(between.requests() >= 3, "{}", between.requests());
    assert_eq!(updates(&visit.dom), between.requests() - 1, "one request loads, every other one updates");
    assert!(about(&visit.dom, 1).contains("faulted: GPU lost"), "{}", about(&visit.dom, 1));
    assert!(!about(&visit.dom, 0).contains("GPU lost"));
    assert!(visit.dom.contains("<title>Simulated: 1 unusable · node / test</title>"), "{}", visit.dom);
    assert_eq!(visit.complaints(), [""; 0]);
    Ok(())
}

/// Opens the names of GPU 2, puts the focus there and selects its UUID; then says again and again
/// whether all that is still so.
const HANDS: &str = "addEventListener('load', () => {
  const names = document.getElementById('d-2');
  const uuid = names.querySelector('code');
  names.open = true;
  names.querySelector('summary').focus();
  getSelection().selectAllChildren(uuid);
  setInterval(() => {
    const now = document.getElementById('d-2');
    const still = [now === names, now.open, document.activeElement === now.querySelector('summary'),
      getSelection().toString() === uuid.textContent];
    document.documentElement.dataset.still = still.join(' ');
  }, 100);
});";

#[test]
fn an_update_leaves_what_is_open_focused_and_selected() -> Outcome<()> {
    let (sim, agent) = eight()?;
    let agent = std::sync::Arc::new(agent);
    let seen = agent.clone();
    let between = Between::with_hands(agent.metrics, HANDS, move |request| {
        if request == 2 {
            sim.command("lost 1").expect("loss");
            let lost = "rackmark_gpu_no_data{gpu=\"1\",reason=\"gpu_lost\"} 1";
            seen.wait("the loss", Duration::from_secs(5), |scrape| scrape.contains(lost)).expect("loss");
        }
        Fate::Answered
    })?;
    let visit = visit(&url(between.port), 7, &[])?;
    assert!(updates(&visit.dom) >= 2 && about(&visit.dom, 1).contains("GPU lost"), "{}", visit.dom);
    assert!(root(&visit.dom).contains("data-still=\"true true true true\""), "{}", root(&visit.dom));
    Ok(())
}

#[test]
fn a_page_without_answers_says_that_it_is_stale_until_it_has_one() -> Outcome<()> {
    let (_sim, agent) = eight()?;
    for (first, last, state) in [(3, usize::MAX, "stale"), (3, 4, "live")] {
        let fate =
            move |request| if (first..=last).contains(&request) { Fate::Refused } else { Fate::Answered };
        let between = Between::browser_and(agent.metrics, fate)?;
        let visit = visit(&url(between.port), 15, &[])?;
        assert!(root(&visit.dom).contains(&format!("data-live=\"{state}\"")), "{state}: {}", visit.dom);
        assert_eq!(visit.dom.contains("role=\"status\">Stale: no answer since "), state == "stale");
        assert!(about(&visit.dom, 7).contains("H100"), "what was known is still shown");
    }
    Ok(())
}

#[test]
fn the_page_is_whole_as_it_is_served() -> Outcome<()> {
    let (_sim, agent) = eight()?;
    let page = http::get(agent.metrics, "/", "text/html")?.body;
    assert!((0..8).all(|slot| about(&page, slot).contains("<span class=\"name\">NVIDIA H100")), "{page}");
    assert!(page.contains("<noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript>"), "{page}");
    Ok(())
}

#[test]
fn it_is_drawn_on_a_telephone_and_on_a_wide_screen() -> Outcome<()> {
    let (_sim, agent) = eight()?;
    let folder = TempDir::new()?;
    for (width, height) in [(400, 900), (1600, 1000)] {
        let file = folder.path().join(format!("{width}.png"));
        let (screenshot, size) =
            (format!("--screenshot={}", file.display()), format!("--window-size={width},{height}"));
        visit(&url(agent.metrics), 3, &[&screenshot, &size])?;
        assert_eq!(png_size(&file)?, (width, height));
        // A page of one colour is a few kilobytes.
        let bytes = std::fs::metadata(&file)?.len();
        assert!(bytes > 20_000, "{width}: {bytes} bytes");
    }
    Ok(())
}

#[test]
fn a_node_without_a_driver_says_why_there_are_no_readings() -> Outcome<()> {
    let sim = Sim::profile("h100-sxm-8", Some(1))?;
    let mut setup = Setup::on(&sim);
    setup.extra.retain(|(table, _)| *table != "sampler");
    let agent = Agent::start(&setup.line("sampler", "nvml_library = \"/nowhere/libnvidia-ml.so.1\""))?;
    rackmark_e2e::process::wait_for("the cause", Duration::from_secs(10), || {
        let page = http::get(agent.metrics, "/", "text/html").ok()?;
        let said = page.body.contains("The NVIDIA driver does not answer. <code>")
            && page.body.contains("/nowhere/libnvidia-ml.so.1")
            && page.body.contains("driver gone");
        said.then_some(())
    })?;
    Ok(())
}
