//! The catalogue against its facts, and our answers against the catalogue.

use std::path::Path;

use super::*;

/// One row: code, in use, class, follow-up.
fn facts(row: &str) -> (u16, bool, &str, &str) {
    let mut cells = row.split(',');
    let mut cell = || cells.next().expect("a cell");
    (cell().parse().expect("a code"), cell() == "yes", cell(), cell())
}

#[test]
fn the_table_agrees_with_the_facts() {
    let rows: Vec<_> = include_str!("../../tests/facts/xid_actions.csv").lines().skip(1).map(facts).collect();
    let table: Vec<_> = CATALOGUE
        .iter()
        .map(|xid| (xid.code, xid.in_use, xid.class.catalogue_name(), xid.follow_up))
        .collect();
    assert_eq!(table, rows);
    assert_eq!(table.len(), 172);
}

#[test]
fn the_table_agrees_with_the_whole_catalogue_where_it_is_at_hand() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/facts/xid-catalogue.csv");
    let Ok(text) = std::fs::read_to_string(path) else {
        println!("skipped: no facts");
        return;
    };
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("code,mnemonic,in_use,immediate_action,follow_up_action"));
    let mut compared = 0;
    for (line, xid) in lines.by_ref().zip(CATALOGUE) {
        let in_use = if xid.in_use { "yes" } else { "no" };
        let ours = format!(
            "{},{},{in_use},{},{}",
            xid.code,
            xid.mnemonic,
            xid.class.catalogue_name(),
            xid.follow_up
        );
        assert_eq!(ours, line);
        compared += 1;
    }
    assert_eq!((compared, lines.next()), (172, None));
}

#[test]
fn our_action_is_that_of_the_class_outside_the_differences() {
    let mismatches: Vec<u16> = CATALOGUE
        .iter()
        .filter(|xid| xid.in_use && differs(u32::from(xid.code)).is_none())
        .filter(|xid| advice(u32::from(xid.code)).action != expected(xid.class.catalogue_name()))
        .map(|xid| xid.code)
        .collect();
    println!("xid_action_mismatches {}", mismatches.len());
    assert!(mismatches.is_empty(), "{mismatches:?}");
    let differences: Vec<u16> = DIFFERENCES.iter().map(|difference| difference.code).collect();
    assert_eq!(differences, [45, 162, 163, 164, 165, 167, 169, 171, 172]);
}

/// What NVIDIA's words mean in ours, written down a second time.
fn expected(class: &str) -> Action {
    match class {
        "IGNORE" | "XID_154" => Action::None,
        "RESTART_APP" | "CHECK_UVM" => Action::RestartApplication,
        "CONTACT_SUPPORT" | "UPDATE_SWFW" | "" => Action::ContactSupport,
        "RESET_GPU" | "WORKFLOW_XID_48" => Action::ResetGpu,
        "RESTART_BM" | "RESTART_VM" => Action::RebootNode,
        "WORKFLOW_NVLINK_ERR" | "WORKFLOW_NVLINK5_ERR" | "CHECK_MECHANICALS" => Action::InspectHardware,
        other => panic!("{other} has no meaning yet"),
    }
}

#[test]
fn a_reset_or_reboot_is_critical_and_takes_the_gpu_out_until_it_happened() {
    for code in 0..=200 {
        let advice = advice(code);
        match advice.action {
            Action::ResetGpu => assert_eq!(
                (advice.severity, advice.effect, advice.lasts),
                (Severity::Critical, Effect::Unusable, Lasts::UntilGpuReset),
                "{code}"
            ),
            Action::RebootNode => assert_eq!(
                (advice.severity, advice.effect, advice.lasts),
                (Severity::Critical, Effect::Unusable, Lasts::UntilReboot),
                "{code}"
            ),
            Action::None | Action::RestartApplication => {
                assert_eq!((advice.effect, advice.lasts), (Effect::None, Lasts::Minutes(10)), "{code}");
            }
            _ => assert!(advice.severity >= Severity::Warning, "{code}"),
        }
        assert!(!advice.title.is_empty() && advice.text.ends_with('.'), "{code}");
    }
}

#[test]
fn the_codes_that_other_agents_get_wrong() {
    let actions = |codes: &[u32]| codes.iter().map(|code| advice(*code).action).collect::<Vec<_>>();
    assert!(
        actions(&[46, 48, 62, 64, 95, 109, 110, 119, 120, 136, 140, 143, 155, 156, 158])
            .iter()
            .all(|action| *action == Action::ResetGpu)
    );
    assert!(actions(&[32, 68, 69, 94, 126]).iter().all(|action| *action == Action::RestartApplication));
    assert!(actions(&[38, 44, 45, 63, 121, 154, 160]).iter().all(|action| *action == Action::None));
    assert!(actions(&[79, 151, 167]).iter().all(|action| *action == Action::RebootNode));
    assert_eq!(advice(79).title, "GPU has fallen off the bus");
}

#[test]
fn a_code_that_is_not_in_the_catalogue_drains_and_asks_support() {
    for code in [0, 173, 65_537 + 78, u32::MAX] {
        assert!(by_code(code).is_none());
        let advice = advice(code);
        assert_eq!(
            (advice.severity, advice.action, advice.effect, advice.lasts),
            (Severity::Warning, Action::ContactSupport, Effect::Drain, Lasts::UntilReboot)
        );
    }
    assert_eq!(advice(1).effect, Effect::Drain, "listed, but unused");
    assert_eq!(by_code(172).map(|xid| xid.code), Some(172));
}

#[test]
fn an_sxid_is_judged_by_what_its_line_says() {
    let shape = |fatal| {
        let advice = sxid_advice(11_001, fatal);
        (advice.severity, advice.action, advice.effect)
    };
    assert_eq!(shape(Some(true)), (Severity::Critical, Action::RebootNode, Effect::Unusable));
    assert_eq!(shape(Some(false)), (Severity::Warning, Action::None, Effect::None));
    assert_eq!(shape(None), (Severity::Warning, Action::InspectHardware, Effect::None));
    assert_ne!(sxid_advice(20_034, None).title, sxid_advice(11_001, None).title);
}
