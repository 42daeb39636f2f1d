//! What an event would do, before it is taken: whom each step would tell and by which way, whom it would miss and why, and the
//! words. Enters: an event and the plan. Leaves: counts and rendered words. Nothing is written and nothing is sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::app::App;
use crate::audience::route::{Routed, route};
use crate::audience::{Omission, select};
use crate::clock::Time;
use crate::dispatch::decide::{chance, quiet_until};
use crate::id::{BroadcastId, IncidentId};
use crate::incident::{Change, Mode, Occasion};
use crate::ingest::IngestError;
use crate::ingest::event::Event;
use crate::pipeline;
use crate::plan::{Draw, Held, Priority, Purpose};
use crate::render::message::{Format, Markup};
use crate::render::{self, Scene, Wording, Wrong};
use crate::store::{Applied, Broadcast, BroadcastState, Known};

/// Members decided between two looks at other work.
const PAGE: usize = 1000;
/// Wordings shown for one audience: the most common languages of each format.
const WORDINGS: usize = 12;

#[derive(Debug, Clone, Serialize)]
pub struct Preview {
    pub incident: String,
    pub update: i64,
    pub occasion: Occasion,
    pub mode: Mode,
    /// Over all steps.
    pub recipients: u64,
    pub steps: Vec<Step>,
}

/// One broadcast that would be drawn.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    pub audience: String,
    pub plan: String,
    pub step: String,
    pub priority: Priority,
    pub purpose: Purpose,
    pub held: Held,
    /// Those told at once and those who wait.
    pub recipients: u64,
    /// By the channels taken, joined by ` + `.
    pub routes: BTreeMap<String, u64>,
    /// `quiet_hours`, or `no_way_now` while everything that reaches them is down or paused.
    pub waiting: BTreeMap<&'static str, u64>,
    pub missed: Vec<Missed>,
    /// Ways not taken by those who have another, by channel and reason.
    pub left_out: BTreeMap<String, u64>,
    pub words: Vec<Words>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Missed {
    pub reason: Omission,
    pub count: u64,
    /// They should be told and can't be; the others are not meant.
    pub unreachable: bool,
}

/// The words in one language and format.
#[derive(Debug, Clone, Serialize)]
pub struct Words {
    pub locale: String,
    pub zone: String,
    pub format: Format,
    pub recipients: u64,
    pub title: Option<String>,
    pub text: String,
    /// The template.
    pub file: String,
    /// What the lint thinks of them, or why there are none.
    pub findings: Vec<String>,
}

/// An event folded into its incident, and the broadcasts it would draw; not written.
pub struct Drawn {
    pub known: Known,
    pub change: Change,
    pub draws: Vec<Draw>,
    pub now: Time,
}

pub async fn draw(app: &App, event: &Event, plan: Option<&str>) -> Result<Drawn, IngestError> {
    let known = app.store.known(&event.source, &event.id, &event.incident, event.corrects).await?;
    let Applied { change, draws, .. } = pipeline::application(app, Arc::new(event.clone()), plan)(known.clone())?;
    let now = change.at;
    Ok(Drawn { known, change, draws, now })
}

pub async fn preview(app: &App, event: &Event, plan: Option<&str>) -> Result<Preview, IngestError> {
    let drawn = draw(app, event, plan).await?;
    let mut steps = Vec::new();
    for draw in &drawn.draws {
        steps.push(step(app, event, &drawn, draw).await?);
    }
    Ok(Preview {
        incident: event.incident.clone(),
        update: drawn.change.update.number,
        occasion: drawn.change.occasion,
        mode: drawn.change.incident.mode,
        recipients: steps.iter().map(|step| step.recipients).sum(),
        steps,
    })
}

async fn step(app: &App, event: &Event, drawn: &Drawn, draw: &Draw) -> Result<Step, IngestError> {
    let broadcast = as_broadcast(drawn, draw);
    let mut step = Step {
        audience: draw.step.audience.clone(),
        plan: draw.plan.clone(),
        step: draw.step.name.clone(),
        priority: draw.step.priority,
        purpose: draw.purpose,
        held: draw.held,
        recipients: 0,
        routes: BTreeMap::new(),
        waiting: BTreeMap::new(),
        missed: Vec::new(),
        left_out: BTreeMap::new(),
        words: Vec::new(),
    };
    let mut missed: BTreeMap<Omission, u64> = BTreeMap::new();
    let mut wordings: BTreeMap<(Format, Markup), BTreeMap<(String, String), u64>> = BTreeMap::new();
    let mut down = app.engine.platforms_down();
    down.extend(drawn.change.after.platforms_down.iter().cloned());
    let mut after = 0;
    loop {
        let candidates = app.engine.candidates();
        let (members, end) = app.store.page(&broadcast, 0..=63, after, PAGE).await?;
        after = members.last().map_or(after, |last| last.subscriber.id.0);
        for member in members {
            let subscriber = &member.subscriber;
            if let Err(omission) = select(&draw.selection, subscriber, member.told) {
                *missed.entry(omission).or_default() += 1;
                continue;
            }
            let chance = chance(subscriber.id);
            let (routed, left_out) = route(subscriber, &draw.step.routes, &candidates, &down, &[], chance);
            let ways = match routed {
                Routed::Nowhere(omission) => {
                    *missed.entry(omission).or_default() += 1;
                    continue;
                }
                Routed::Wait => {
                    *step.waiting.entry("no_way_now").or_default() += 1;
                    step.recipients += 1;
                    continue;
                }
                Routed::Ways(ways) => ways,
            };
            step.recipients += 1;
            for left in left_out {
                let channel = app.channel_name(left.way.channel);
                *step.left_out.entry(format!("{channel}: {}", left.why)).or_default() += 1;
            }
            if quiet_until(draw.step.priority, subscriber, drawn.now).is_some() {
                *step.waiting.entry("quiet_hours").or_default() += 1;
            }
            let names: Vec<&str> = ways.iter().map(|way| app.channel_name(way.channel)).collect();
            *step.routes.entry(names.join(" + ")).or_default() += 1;
            for (_, channel) in ways.iter().filter_map(|way| app.channels.iter().find(|(id, _)| *id == way.channel)) {
                let theirs = wordings.entry((channel.format, channel.markup)).or_default();
                *theirs.entry((subscriber.locale.clone(), subscriber.zone.clone())).or_default() += 1;
            }
        }
        if end {
            break;
        }
    }
    step.missed =
        missed.into_iter().map(|(reason, count)| Missed { reason, count, unreachable: reason.unreachable() }).collect();
    step.words = said(app, event, drawn, draw, wordings);
    Ok(step)
}

/// For each format and language the zone that most of its readers live in, the most common languages first.
fn said(
    app: &App,
    event: &Event,
    drawn: &Drawn,
    draw: &Draw,
    wordings: BTreeMap<(Format, Markup), BTreeMap<(String, String), u64>>,
) -> Vec<Words> {
    let mut all = Vec::new();
    for ((format, markup), readers) in wordings {
        let mut locales: BTreeMap<String, (u64, String, u64)> = BTreeMap::new();
        for ((locale, zone), count) in readers {
            let (total, most, in_zone) = locales.entry(locale).or_default();
            *total += count;
            if count > *in_zone {
                (*most, *in_zone) = (zone, count);
            }
        }
        for (locale, (recipients, zone, _)) in locales {
            all.push((recipients, format, markup, locale, zone));
        }
    }
    all.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| (a.1, &a.3).cmp(&(b.1, &b.3))));
    all.truncate(WORDINGS);
    let words = |(recipients, format, markup, locale, zone): (u64, Format, Markup, String, String)| {
        let written = write(app, event, drawn, draw, &locale, &zone, format, markup);
        let (title, text, file, findings) = match written {
            Ok(render::Preview { filled, file, findings, .. }) => {
                let findings = findings.iter().map(|finding| format!("{}: {}", finding.check, finding.message));
                (filled.title, filled.text, file, findings.collect())
            }
            Err(error) => (None, String::new(), String::new(), vec![error.to_string()]),
        };
        Words { locale, zone, format, recipients, title, text, file, findings }
    };
    all.into_iter().map(words).collect()
}

/// The words of a draw for one reader.
#[allow(clippy::too_many_arguments)]
pub fn write(
    app: &App,
    event: &Event,
    drawn: &Drawn,
    draw: &Draw,
    locale: &str,
    zone: &str,
    format: Format,
    markup: Markup,
) -> Result<render::Preview, render::RenderError> {
    let templates = app.templates.load();
    let config = &app.config;
    let audience = config.audiences.get(&draw.step.audience);
    let folder = audience.and_then(|audience| audience.templates.clone()).unwrap_or(draw.step.audience.clone());
    let before = drawn.known.incident.as_ref().map(|incident| incident.state.facts());
    let scene = Scene {
        facts: &draw.facts,
        incident: &event.incident,
        update: drawn.change.update.number,
        mode: drawn.change.incident.mode,
        code: &draw.code,
        sender: &config.sender,
        components: &config.components,
        regions: &config.regions,
        opened: drawn.change.incident.opened,
        now: drawn.now,
        wrong: event.corrects.filter(|_| draw.purpose != Purpose::Update).map(|number| Wrong {
            number,
            sent: drawn.now,
            said: before.as_ref().and_then(|facts| facts.summary.as_ref().or(facts.title.as_ref())),
        }),
        window_before: before.as_ref().and_then(|facts| facts.ended_at),
    };
    let wording = Wording {
        clearance: audience.map_or(templates.clearance(&folder), |audience| audience.clearance),
        template: folder,
        occasion: draw.occasion,
        locale: locale.into(),
        zone: zone.into(),
        format,
        markup,
    };
    render::preview(&templates, &scene, &wording)
}

/// A draw as the store pages for it: younger than everything that was said before.
fn as_broadcast(drawn: &Drawn, draw: &Draw) -> Broadcast {
    Broadcast {
        id: BroadcastId(i64::MAX),
        incident: drawn.known.incident.as_ref().map_or(IncidentId(0), |incident| incident.id),
        incident_key: String::new(),
        audience: draw.step.audience.clone(),
        number: drawn.change.update.number,
        version: i64::MAX,
        plan: draw.plan.clone(),
        step: draw.step.clone(),
        purpose: draw.purpose,
        occasion: draw.occasion,
        priority: draw.step.priority,
        state: BroadcastState::Held,
        selection: draw.selection.clone(),
        held: draw.held,
        created: drawn.now,
        released: None,
        ended: None,
        deadline: draw.deadline,
        templates: [0; 32],
        facts: draw.facts.clone(),
        code: draw.code.clone(),
        shards: u64::MAX,
        progress: BTreeMap::new(),
    }
}
