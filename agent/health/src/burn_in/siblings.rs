use rackmark_model::gpu_work::FigureKind;

use super::judge::{JudgedFigure, Judgement};
use super::reason::{Reason, ReasonCode};

/// Slower than the median of the others by this much is worth a look, in thousandths: 5 % between healthy GPUs of one
/// node is usual (ml-engineering), so it never fails a card.
const APART_PERMILLE: u64 = 50;

/// A figure of fewer units than this steps by more than is looked for.
const UNITS_MIN: u64 = 1_000 / APART_PERMILLE;

/// The median, the upper one of two.
fn median(values: &mut [u64]) -> Option<u64> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

fn is_slower(figure: &JudgedFigure, median: u64) -> bool {
    let (mine, median) = (u128::from(figure.figure.median), u128::from(median));
    match figure.figure.kind {
        FigureKind::NanosecondsPerRead => mine * 1_000 > median * u128::from(1_000 + APART_PERMILLE),
        FigureKind::GigaOperationsPerSecond | FigureKind::MegabytesPerSecond => {
            mine * 1_000 < median * u128::from(1_000 - APART_PERMILLE)
        }
    }
}

/// Compares GPUs of the same model on one node that ran the same mode, and adds what is found to each.
pub fn compare(judgements: &mut [&mut Judgement]) {
    let mut found = vec![Vec::new(); judgements.len()];
    for (at, judgement) in judgements.iter().enumerate() {
        for figure in &judgement.figures {
            let same = |other: &&JudgedFigure| {
                (other.test, other.figure.part, other.figure.kind)
                    == (figure.test, figure.figure.part, figure.figure.kind)
            };
            let others = judgements.iter().enumerate().filter(|(other, _)| *other != at);
            let mut values: Vec<_> = others
                .filter_map(|(_, other)| other.figures.iter().find(same))
                .map(|other| other.figure.median)
                .collect();
            if let Some(median) =
                median(&mut values).filter(|median| *median > UNITS_MIN && is_slower(figure, *median))
            {
                let detail =
                    format!("{} {}, the others' median is {median}", figure.name(), figure.figure.median);
                found[at].push(Reason { code: ReasonCode::SlowerThanSiblings, detail });
            }
        }
    }
    for (judgement, reasons) in judgements.iter_mut().zip(found) {
        judgement.add(reasons);
    }
}
