//! Promise 9. Unknown is an answer: it stays one until a receipt resolves it, and is not repeated where the platform does not drop a known id.

use loudhailer::channel::Repeat;
use loudhailer::store::DeliveryState;

use super::Found;
use super::evidence::Evidence;
use crate::simulation::channels::Channel;
use crate::simulation::world::Answer;

pub fn check(evidence: &Evidence<'_>, found: &mut Found) {
    let known = evidence.known;
    for seen in evidence.attempts.iter().filter(|seen| seen.was(Answer::Unknown) && !known.lost(seen)) {
        let Some(id) = seen.delivery else { continue };
        let state = evidence.rows.get(&id).map(|row| row.state);
        let tries = evidence.tries.get(&id).into_iter().flatten();
        let touched = known.reported.iter().any(|r| r.id == id) || known.replayed.iter().any(|(of, _)| *of == id);
        let kept = tries.into_iter().any(|one| one.outcome == "unknown");
        let stays = kept || matches!(state, Some(DeliveryState::Unknown | DeliveryState::Told));
        found.holds(9, touched || stays, || format!("{} may have arrived at {:?}, and is {state:?}", seen.id, seen.at));
        if Channel::of(seen.channel).repeat == Repeat::Unsafe {
            let same = |other: &&crate::simulation::check::evidence::Seen| {
                (&other.id, other.channel) == (&seen.id, seen.channel)
            };
            let later = evidence.attempts.iter().filter(same).find(|other| other.at > seen.at);
            let asked = later.is_some_and(|later| known.asked_again(id, seen.at, later.at));
            found.holds(9, later.is_none() || asked, || {
                format!("{} may have arrived at {:?}, and is sent again at {:?}", seen.id, seen.at, later.map(|l| l.at))
            });
        }
    }
    for report in known.reported.iter().filter(|report| report.answered.is_some() && !report.bounced) {
        let bounced = known.reported.iter().any(|other| other.id == report.id && other.bounced);
        let replayed = known.replayed.iter().any(|(of, _)| *of == report.id);
        let tries = evidence.attempts.iter().filter(|seen| seen.delivery == Some(report.id));
        let lost = tries.into_iter().any(|seen| seen.channel != report.channel || known.lost(seen));
        let state = evidence.rows.get(&report.id).map(|row| row.state);
        if !bounced && !replayed && !lost {
            found.holds(9, state == Some(DeliveryState::Told), || {
                format!(
                    "{:?}, tried at {:?}, was delivered by its platform's word, and is {state:?}",
                    report.id, report.began
                )
            });
        }
    }
}
