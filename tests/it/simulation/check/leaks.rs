//! Promise 8. Nothing leaks: an exercise reaches only who is enrolled and says that it is one; a cause that nobody has confirmed is told to
//! nobody, and what is internal to nobody outside.

use loudhailer::incident::{Clearance, Mode};

use super::Found;
use super::evidence::Evidence;
use crate::simulation::act::{CAUSE, NOTES};
use crate::simulation::words::AUDIENCES;

pub fn check(evidence: &Evidence<'_>, found: &mut Found) {
    for seen in &evidence.attempts {
        let (Some(broadcast), Some(id)) = (evidence.broadcast(seen), seen.delivery) else { continue };
        if broadcast.selection.mode == Mode::Exercise {
            let enrolled = evidence.person(id.subscriber).is_some_and(|person| person.wanted.exercises);
            found
                .holds(8, enrolled, || format!("{} is not enrolled, and hears of an exercise by {}", seen.to, seen.id));
            found.holds(8, seen.body.contains("EXERCISE"), || {
                format!("{} does not say that it is an exercise", seen.id)
            });
        }
        found.holds(8, !seen.body.contains(CAUSE), || format!("{} names a cause that nobody has confirmed", seen.id));
        let public =
            AUDIENCES.iter().any(|(name, clearance)| *name == broadcast.audience && *clearance == Clearance::Public);
        if public {
            found.holds(8, !seen.body.contains(NOTES), || {
                format!("{} tells {} what is internal", seen.id, broadcast.audience)
            });
        }
    }
}
