//! Sample incidents that every template is tried on: with all facts and with none, confirmed and not, real and as a drill.

use std::collections::BTreeMap;

use super::{Occasion, Scene, Wrong};
use crate::clock::Time;
use crate::config;
use crate::incident::{Cause, CauseCategory, DataEffect, Facts, Impact, Kind, Mode, Severity, Status, Text};

pub struct Sample {
    pub name: &'static str,
    pub facts: Facts,
    pub mode: Mode,
    /// Findings about what these facts cannot give.
    pub excused: &'static [&'static str],
    pub status: Status,
}

/// What the configuration would know, and the wrong words of a correction.
pub struct Stage {
    pub sender: config::Sender,
    pub components: BTreeMap<String, config::Component>,
    pub regions: BTreeMap<String, config::Region>,
    pub said: Text,
}

/// A suspicion that no message may repeat.
const SUSPICION: &str = "Engineers suspect a hacked supplier";

/// Texts of facts, as a comms team would write them.
const TEXTS: &[(&str, [&str; 5])] = &[
    (
        "en",
        [
            "Apps cannot be reached",
            "The apps do not open.",
            "If urgent, call or text.",
            "Use e-mail until then.",
            "A command cut off our network.",
        ],
    ),
    (
        "de",
        [
            "Apps nicht erreichbar",
            "Die Apps öffnen sich nicht.",
            "Rufen Sie an.",
            "Nutzen Sie bis dahin E-Mail.",
            "Ein Befehl hat unser Netz getrennt.",
        ],
    ),
    (
        "es",
        [
            "Apps sin servicio",
            "Las aplicaciones no se abren.",
            "Llame o escriba un SMS.",
            "Use el correo entretanto.",
            "Una orden dejó aislada nuestra red.",
        ],
    ),
    (
        "pt",
        [
            "Apps fora do ar",
            "Os aplicativos não abrem.",
            "Ligue ou mande SMS.",
            "Use o e-mail por enquanto.",
            "Um comando isolou a nossa rede.",
        ],
    ),
    ("hi", ["ऐप बंद हैं", "ऐप नहीं खुल रहे हैं।", "कॉल या एसएमएस कीजिए।", "तब तक ईमेल अपनाइए।", "एक आदेश से हमारा नेटवर्क कट गया।"]),
];

fn text(at: usize) -> Option<Text> {
    Some(Text::ByLocale(TEXTS.iter().map(|(tag, texts)| (tag.to_string(), texts[at].to_string())).collect()))
}

fn time(text: &str) -> Time {
    Time::parse(text).unwrap_or_default()
}

impl Stage {
    pub fn set() -> Stage {
        let titles = [
            ("facebook", "Facebook"),
            ("instagram", "Instagram"),
            ("whatsapp", "WhatsApp"),
            ("workplace", "Workplace"),
        ];
        let component = |title: &str| config::Component { title: Text::Plain(title.into()), platforms: Vec::new() };
        let europe = [("en", "Europe"), ("de", "Europa"), ("es", "Europa"), ("pt", "Europa"), ("hi", "यूरोप")];
        let europe = europe.into_iter().map(|(tag, title)| (tag.to_string(), title.to_string())).collect();
        Stage {
            sender: config::Sender {
                name: "Facebook".into(),
                email: "status@status.example".into(),
                status_page: "status.example".into(),
                locale: "en".into(),
                zone: "UTC".into(),
            },
            components: titles.into_iter().map(|(id, title)| (id.to_string(), component(title))).collect(),
            regions: [("europe".to_string(), config::Region { title: Text::ByLocale(europe) })].into(),
            said: Text::Plain("Some people have trouble reaching our apps.".into()),
        }
    }

    pub fn scene<'a>(&'a self, sample: &'a Sample, occasion: Occasion) -> Scene<'a> {
        let corrects = matches!(occasion, Occasion::Correction | Occasion::Retraction);
        Scene {
            facts: &sample.facts,
            incident: "inc_1",
            update: 3,
            mode: sample.mode,
            code: "7KQ4",
            sender: &self.sender,
            components: &self.components,
            regions: &self.regions,
            opened: time("2021-10-04T15:39:00Z"),
            now: now(sample.status),
            wrong: corrects.then(|| Wrong { number: 2, sent: time("2021-10-04T15:50:00Z"), said: Some(&self.said) }),
            window_before: (occasion == Occasion::Extended).then(|| time("2021-11-13T04:00:00Z")),
        }
    }
}

/// A reader of that language is there.
pub fn zone(locale: &str) -> &'static str {
    match super::base(locale) {
        "de" => "Europe/Berlin",
        "es" => "Europe/Madrid",
        "pt" => "America/Sao_Paulo",
        "hi" => "Asia/Kolkata",
        _ => "America/New_York",
    }
}

fn now(status: Status) -> Time {
    time(match status {
        Status::Investigating | Status::Identified => "2021-10-04T15:55:00Z",
        Status::Monitoring => "2021-10-04T22:35:00Z",
        Status::Resolved => "2021-10-04T23:50:00Z",
        Status::Scheduled => "2021-11-10T12:00:00Z",
        Status::InProgress => "2021-11-13T02:05:00Z",
        Status::Verifying => "2021-11-13T04:30:00Z",
        Status::Completed => "2021-11-13T05:05:00Z",
    })
}

fn statuses(occasion: Occasion) -> &'static [Status] {
    use Occasion::*;
    match occasion {
        Identified => &[Status::Identified],
        Restoring => &[Status::Monitoring],
        Resolved | Summary => &[Status::Resolved],
        Scheduled => &[Status::Scheduled],
        Started | Extended => &[Status::InProgress],
        Completed => &[Status::Completed],
        Update | Reminder | Correction => &[
            Status::Investigating,
            Status::Identified,
            Status::Monitoring,
            Status::Scheduled,
            Status::InProgress,
            Status::Verifying,
        ],
        _ => &[Status::Investigating],
    }
}

/// What is known of any incident: three services, everywhere, since when, what to do, when we speak next.
fn known(status: Status) -> Facts {
    let maintenance = matches!(status, Status::Scheduled | Status::InProgress | Status::Verifying | Status::Completed);
    let next = match status {
        Status::Monitoring => Some("2021-10-04T23:30:00Z"),
        Status::Resolved | Status::Completed => None,
        Status::Scheduled => Some("2021-11-13T02:00:00Z"),
        Status::InProgress => Some("2021-11-13T02:35:00Z"),
        Status::Verifying => Some("2021-11-13T04:50:00Z"),
        _ => Some("2021-10-04T16:30:00Z"),
    };
    Facts {
        kind: Some(if maintenance { Kind::Maintenance } else { Kind::Incident }),
        status: Some(status),
        severity: Some(Severity::Critical),
        title: text(0),
        action: text(2),
        components: ["facebook", "instagram", "whatsapp"].map(String::from).to_vec(),
        regions: vec!["global".into()],
        started_at: Some(time(if maintenance { "2021-11-13T02:00:00Z" } else { "2021-10-04T15:39:00Z" })),
        ended_at: match status {
            Status::Resolved => Some(time("2021-10-04T23:45:00Z")),
            _ if maintenance => Some(time("2021-11-13T05:00:00Z")),
            _ => None,
        },
        next_update_at: next.map(time),
        ..Facts::default()
    }
}

fn everything(status: Status) -> Facts {
    Facts {
        owner: Some("network operations".into()),
        summary: text(1),
        alternatives: text(3),
        support_url: Some("https://help.example/outage".into()),
        compensation: Some(Text::Plain("Advertisers are credited for the time of the outage.".into())),
        internal_notes: Some(Text::Plain("Some door badges fail, too.".into())),
        impact: Impact {
            users: Some(3_500_000_000),
            businesses: Some(200_000_000),
            functions: vec!["login".into(), "messaging".into()],
            data: Some(DataEffect::None),
        },
        restored_percent: (status == Status::Monitoring).then_some(60),
        ..known(status)
    }
}

pub fn samples(occasion: Occasion) -> Vec<Sample> {
    statuses(occasion).iter().flat_map(|status| of_status(*status)).collect()
}

fn of_status(status: Status) -> Vec<Sample> {
    let sample = |name, facts, excused| Sample { name, facts, mode: Mode::Real, excused, status };
    let suspected = Cause {
        category: Some(CauseCategory::ThirdParty),
        text: Some(Text::Plain(SUSPICION.into())),
        confirmed_by: None,
    };
    let confirmed = |text| Cause {
        category: Some(CauseCategory::TechnicalFailure),
        text,
        confirmed_by: Some("Ada Lovelace".into()),
    };
    let bare =
        Facts { title: None, action: None, regions: Vec::new(), next_update_at: None, ended_at: None, ..known(status) };
    vec![
        sample("what is known of any incident", known(status), &[]),
        sample("every fact, the cause suspected", Facts { cause: suspected, ..everything(status) }, &[]),
        sample("every fact, the cause confirmed", Facts { cause: confirmed(text(4)), ..everything(status) }, &[]),
        sample("the cause confirmed without a text", Facts { cause: confirmed(None), ..known(status) }, &[]),
        // Whoever speaks without these facts is told so by the lint when the message is made.
        sample("no optional fact", bare.clone(), &["next-update", "voice"]),
        sample("no component", Facts { components: Vec::new(), ..known(status) }, &["length"]),
        sample("one component", Facts { components: vec!["facebook".into()], ..known(status) }, &[]),
        sample("one region", Facts { regions: vec!["europe".into()], ..known(status) }, &["length"]),
        Sample { mode: Mode::Exercise, ..sample("a drill", known(status), &[]) },
    ]
}
