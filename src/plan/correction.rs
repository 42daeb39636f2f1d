//! Corrections. Enter: a change that corrects or withdraws an update, and the broadcasts that told it. Leave: the draws that tell
//! exactly those whom the wrong words reached or may have, and the true state to those whom they had not reached yet. What was still
//! held says the true state in its place, held as it was; the store ends it (`end_held`).

use std::collections::BTreeSet;

use super::{Draw, Held, Plans, Purpose, Selection, Step, code};
use crate::clock::Time;
use crate::incident::{Change, Occasion, Severity};

/// The broadcasts of a wrong update towards one audience.
#[derive(Debug, Clone)]
pub struct Wrong {
    pub plan: String,
    pub step: Step,
    pub broadcasts: Vec<i64>,
    /// Whom the last of them was for, if it is still under way or was stopped.
    pub unfinished: Option<Selection>,
    /// What was held, and whom for, where nothing was released.
    pub held: Option<(Held, Selection)>,
}

/// One broadcast for each audience that the wrong update was told to, for exactly those whom it reached or may have; and where it
/// was still under way or was stopped, an ordinary one with the true state for the others.
pub fn corrections(
    change: &Change,
    wrong: &[Wrong],
    plans: &Plans,
    now: Time,
    chance: &mut fastrand::Rng,
) -> Vec<Draw> {
    if change.update.late {
        return Vec::new();
    }
    let retracts = change.occasion == Occasion::Retraction;
    let mut draws = Vec::new();
    for wrong in wrong {
        let mut draw = |purpose, occasion, held, selection| {
            draws.push(Draw {
                plan: wrong.plan.clone(),
                purpose,
                occasion,
                held,
                deadline: now.plus(wrong.step.deadline.map_or(plans.deadline, |span| span.0)),
                selection,
                facts: change.after.clone(),
                code: code(chance),
                step: wrong.step.clone(),
            });
        };
        if wrong.broadcasts.is_empty() {
            // What they have not heard needs no withdrawal.
            if let Some((held, selection)) = wrong.held.clone().filter(|_| !retracts) {
                draw(Purpose::Update, Occasion::Update, held, selection);
            }
            continue;
        }
        let held = if wrong.step.approval { Held::Approval } else { Held::Not };
        let reached = Selection {
            told_by: wrong.broadcasts.clone(),
            untold_by: Vec::new(),
            components: BTreeSet::new(),
            regions: BTreeSet::new(),
            severity: Severity::Critical,
            mode: change.incident.mode,
            only_if_told: false,
            not_in: Vec::new(),
            listed: Vec::new(),
        };
        draw(if retracts { Purpose::Retraction } else { Purpose::Correction }, change.occasion, held, reached);
        // Nobody is told that what they never heard is withdrawn.
        let untold = wrong.unfinished.as_ref().filter(|selection| !retracts && !selection.only_if_told);
        if let Some(selection) = untold.filter(|selection| selection.told_by.is_empty()) {
            let untold = Selection { untold_by: wrong.broadcasts.clone(), ..selection.clone() };
            draw(Purpose::Update, Occasion::Update, held, untold);
        }
    }
    draws
}
