//! The summary of a page of Statuspage, `/api/v2/summary.json`: the state of its components and its unresolved incidents. What is
//! maintained by plan is not broken. (The page's own description stands at `/api` of each page, such as
//! https://metastatuspage.com/api.)

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::words::Speaks;
use super::{Finding, line};
use crate::config::suggest;

#[derive(Deserialize)]
struct Summary {
    page: Page,
    status: Status,
    components: Vec<Component>,
    #[serde(default)]
    incidents: Vec<Incident>,
}

#[derive(Deserialize)]
struct Page {
    name: String,
}

#[derive(Deserialize)]
struct Status {
    indicator: String,
    #[serde(default)]
    description: String,
}

#[derive(Deserialize)]
struct Component {
    id: String,
    name: String,
    status: String,
}

#[derive(Deserialize)]
struct Incident {
    id: String,
    name: String,
    status: String,
    #[serde(default)]
    impact: String,
    #[serde(default)]
    components: Vec<Component>,
}

/// What is wrong with a component, in words; `None`: it works, or is maintained.
fn trouble(status: &str) -> Option<&'static str> {
    match status {
        "degraded_performance" => Some("degraded performance"),
        "partial_outage" => Some("partial outage"),
        "major_outage" => Some("major outage"),
        _ => None,
    }
}

impl Component {
    fn is(&self, theirs: &str) -> bool {
        self.id == theirs || self.name.trim().eq_ignore_ascii_case(theirs.trim())
    }
}

impl Incident {
    /// Somebody still looks for it. What is watched after a remedy says so by its components.
    fn lasts(&self) -> bool {
        matches!(self.status.as_str(), "investigating" | "identified")
            && self.impact != "none"
            && self.impact != "maintenance"
    }
}

/// What the page says, and what it does not have of what is looked for there.
pub fn read(body: &[u8], speaks: &Speaks) -> Result<(BTreeMap<String, Finding>, Option<String>), String> {
    let summary: Summary = serde_json::from_slice(body)
        .map_err(|error| format!("is no summary of Statuspage (/api/v2/summary.json): {error}"))?;
    let mut says = BTreeMap::new();
    let mut note = None;
    match speaks {
        Speaks::Of(component) => {
            if ["minor", "major", "critical"].contains(&summary.status.indicator.as_str()) {
                let of: Vec<&Incident> = summary.incidents.iter().filter(|incident| incident.lasts()).collect();
                let state = [summary.status.description.as_str()];
                says.insert(component.clone(), finding(&summary.page.name, &state, &of, &summary.status.indicator));
            }
        }
        Speaks::Named(named) => {
            let ours: BTreeSet<&String> = named.values().collect();
            for component in ours {
                let theirs = || named.iter().filter(|(_, ours)| *ours == component).map(|(theirs, _)| theirs.as_str());
                let is_meant = |known: &Component| theirs().any(|theirs| known.is(theirs));
                let of: Vec<&Incident> = summary
                    .incidents
                    .iter()
                    .filter(|incident| incident.lasts() && incident.components.iter().any(is_meant))
                    .collect();
                let broken: Vec<&Component> = summary
                    .components
                    .iter()
                    .filter(|known| is_meant(known) && trouble(&known.status).is_some())
                    .collect();
                if broken.is_empty() && of.is_empty() {
                    continue;
                }
                let states: Vec<String> = broken
                    .iter()
                    .map(|known| format!("{}: {}", known.name, trouble(&known.status).unwrap_or_default()))
                    .collect();
                let states: Vec<&str> = states.iter().map(String::as_str).collect();
                says.insert(component.clone(), finding(&summary.page.name, &states, &of, &states.join(",")));
            }
            let lacks = named.keys().find(|theirs| !summary.components.iter().any(|known| known.is(theirs)));
            note = lacks.map(|theirs| {
                let near = suggest(theirs, summary.components.iter().map(|known| known.name.as_str()));
                line(&format!("the page shows no component {theirs:?}{near}"))
            });
        }
    }
    Ok((says, note))
}

fn finding(page: &str, states: &[&str], of: &[&Incident], state: &str) -> Finding {
    let names = of.iter().map(|incident| incident.name.as_str());
    let text: Vec<&str> = states.iter().copied().chain(names).filter(|part| !part.trim().is_empty()).collect();
    let ids: Vec<&str> = of.iter().map(|incident| incident.id.as_str()).collect();
    Finding { text: line(&format!("{page}: {}", text.join("; "))), cause: format!("{state} {}", ids.join(" ")) }
}
