//! An alert as it was read, of elements that were checked: what of it an event is made from.

use super::shape;
use super::words::{Certainty, MsgType, ResponseType, Scope, Severity, Status, Urgency};
use super::xml::{Element, wrong};
use crate::clock::Time;
use crate::ingest::event::BadEvent;
use crate::ingest::{language, quoted};

/// Each is looked for in the store.
const REFERENCES: usize = 200;

/// What an info without one is in, by section 3.2.2.
const LANGUAGE: &str = "en-US";

#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    pub identifier: String,
    pub sender: String,
    pub sent: Time,
    pub status: Status,
    pub msg_type: MsgType,
    pub note: Option<String>,
    pub incidents: Option<String>,
    pub references: Vec<Reference>,
    pub infos: Vec<Info>,
    /// Of what it says, however it is spaced.
    pub digest: [u8; 32],
}

/// An earlier alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub sender: String,
    pub identifier: String,
    pub sent: Time,
}

impl Reference {
    /// The key of an incident that this alert began. Neither part has a comma.
    pub fn key(&self) -> String {
        format!("{},{}", self.sender, self.identifier)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Info {
    pub language: String,
    pub categories: Vec<String>,
    pub event: String,
    pub responses: Vec<ResponseType>,
    pub urgency: Urgency,
    pub severity: Severity,
    pub certainty: Certainty,
    pub effective: Option<Time>,
    pub onset: Option<Time>,
    pub expires: Option<Time>,
    pub sender_name: Option<String>,
    pub headline: Option<String>,
    pub description: Option<String>,
    pub instruction: Option<String>,
    pub web: Option<String>,
    pub contact: Option<String>,
    pub parameters: Vec<(String, String)>,
    pub areas: Vec<Area>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Area {
    pub name: String,
    /// The values of its geocodes.
    pub codes: Vec<String>,
}

impl Alert {
    /// Of an element whose shape was checked; what the shape can't say is checked here.
    pub fn of(alert: &Element) -> Result<Alert, BadEvent> {
        let refuse = |name: &str, message: &str| {
            let line = all(alert, name).next().map_or(alert.line, |element| element.line);
            Err(wrong(&format!("/alert/{name}"), line, message))
        };
        let read = Alert {
            identifier: needed(alert, "identifier"),
            sender: needed(alert, "sender"),
            sent: moment(alert, "sent").unwrap_or_default(),
            status: word(alert, "status").unwrap_or(Status::Draft),
            msg_type: word(alert, "msgType").unwrap_or(MsgType::Error),
            note: text(alert, "note"),
            incidents: text(alert, "incidents"),
            references: references(alert)?,
            infos: all(alert, "info").map(Info::of).collect(),
            digest: digest(alert),
        };
        match word(alert, "scope") {
            Some(Scope::Restricted) if text(alert, "restriction").is_none() => {
                return refuse("restriction", "is required where scope is Restricted");
            }
            Some(Scope::Private) if text(alert, "addresses").is_none() => {
                return refuse("addresses", "is required where scope is Private");
            }
            Some(Scope::Public) => {}
            _ => {
                let message =
                    "only what is Public is taken: what an alert says may be told to everyone by the plans here";
                return refuse("scope", message);
            }
        }
        match read.msg_type {
            MsgType::Update | MsgType::Cancel if read.references.is_empty() => refuse(
                "references",
                "is required in an Update and a Cancel: sender,identifier,sent of the earlier alerts",
            ),
            MsgType::Alert if read.infos.is_empty() => {
                refuse("info", "is required in an Alert: without one it says nothing")
            }
            _ => Ok(read),
        }
    }

    /// As a later alert names this one.
    pub fn reference(&self) -> Reference {
        Reference { sender: self.sender.clone(), identifier: self.identifier.clone(), sent: self.sent }
    }

    /// It is about what really is, and somebody is to act on it.
    pub fn is_actual(&self) -> bool {
        self.status == Status::Actual && matches!(self.msg_type, MsgType::Alert | MsgType::Update | MsgType::Cancel)
    }

    pub fn is_cancel(&self) -> bool {
        self.msg_type == MsgType::Cancel
    }

    /// What it is called, in the first of its languages.
    pub fn headline(&self) -> String {
        let info = self.infos.first();
        info.map(|info| info.headline.as_ref().unwrap_or(&info.event).clone()).unwrap_or_default()
    }

    /// All that it says in words, of all its infos.
    pub fn words(&self) -> String {
        let of = |info: &Info| {
            let said = [&info.headline, &info.description, &info.instruction].into_iter().flatten().cloned();
            [info.event.clone()].into_iter().chain(said).collect::<Vec<_>>()
        };
        self.infos.iter().flat_map(of).collect::<Vec<_>>().join("\n")
    }

    /// The names and codes of its areas.
    pub fn areas(&self) -> impl Iterator<Item = &String> {
        let areas = self.infos.iter().flat_map(|info| &info.areas);
        areas.flat_map(|area| [&area.name].into_iter().chain(&area.codes))
    }

    /// When the last of its infos ends; `None`: one says nothing of it.
    pub fn expires(&self) -> Option<Time> {
        let all: Option<Vec<Time>> = self.infos.iter().map(|info| info.expires).collect();
        all?.into_iter().max()
    }

    /// Each of its infos says that the danger is over.
    pub fn all_clear(&self) -> bool {
        let clear = |info: &Info| info.responses.contains(&ResponseType::AllClear);
        !self.infos.is_empty() && self.infos.iter().all(clear)
    }
}

impl Info {
    fn of(info: &Element) -> Info {
        let words = |name| all(info, name).map(|element| element.text.trim());
        Info {
            language: text(info, "language").and_then(|tag| language(&tag)).unwrap_or_else(|| LANGUAGE.into()),
            categories: words("category").map(str::to_string).collect(),
            event: needed(info, "event"),
            responses: words("responseType").filter_map(|word| word.parse().ok()).collect(),
            urgency: word(info, "urgency").unwrap_or(Urgency::Unknown),
            severity: word(info, "severity").unwrap_or(Severity::Unknown),
            certainty: word(info, "certainty").unwrap_or(Certainty::Unknown),
            effective: moment(info, "effective"),
            onset: moment(info, "onset"),
            expires: moment(info, "expires"),
            sender_name: text(info, "senderName"),
            headline: text(info, "headline"),
            description: text(info, "description"),
            instruction: text(info, "instruction"),
            web: text(info, "web"),
            contact: text(info, "contact"),
            parameters: all(info, "parameter").map(|pair| (needed(pair, "valueName"), needed(pair, "value"))).collect(),
            areas: all(info, "area").map(Area::of).collect(),
        }
    }
}

impl Area {
    fn of(area: &Element) -> Area {
        let codes = all(area, "geocode").map(|pair| needed(pair, "value"));
        Area { name: needed(area, "areaDesc"), codes: codes.collect() }
    }
}

fn references(alert: &Element) -> Result<Vec<Reference>, BadEvent> {
    let Some(element) = all(alert, "references").next() else { return Ok(Vec::new()) };
    let refuse = |message: String| Err(wrong("/alert/references", element.line, message));
    let mut references = Vec::new();
    for given in element.text.split_whitespace() {
        let mut parts = given.split(',');
        let (Some(sender), Some(identifier), Some(sent), None) =
            (parts.next(), parts.next(), parts.next().and_then(shape::time), parts.next())
        else {
            return refuse(format!("{} is not sender,identifier,sent of an earlier alert", quoted(given)));
        };
        if sender.is_empty() || identifier.is_empty() || shape::name(sender).and(shape::name(identifier)).is_err() {
            return refuse(format!("{} names no sender and identifier that an alert may have", quoted(given)));
        }
        references.push(Reference { sender: sender.into(), identifier: identifier.into(), sent });
    }
    match references.len() {
        0..=REFERENCES => Ok(references),
        more => refuse(format!("has {more} references; the most is {REFERENCES}")),
    }
}

fn all<'a>(element: &'a Element, name: &str) -> impl Iterator<Item = &'a Element> {
    element.children.iter().filter(move |child| child.name == name)
}

/// What an element says, if it is there and says something.
fn text(element: &Element, name: &str) -> Option<String> {
    all(element, name).next().map(|child| child.text.trim().to_string()).filter(|text| !text.is_empty())
}

/// What a checked element must hold.
fn needed(element: &Element, name: &str) -> String {
    text(element, name).unwrap_or_default()
}

fn word<W: std::str::FromStr>(element: &Element, name: &str) -> Option<W> {
    text(element, name)?.parse().ok()
}

fn moment(element: &Element, name: &str) -> Option<Time> {
    shape::time(&text(element, name)?)
}

/// SHA-256 over the elements with their texts: what only looks different is the same.
fn digest(alert: &Element) -> [u8; 32] {
    fn add(element: &Element, context: &mut ring::digest::Context) {
        for part in [element.name.as_str(), element.text.trim()] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        context.update(&(element.children.len() as u64).to_be_bytes());
        element.children.iter().for_each(|child| add(child, context));
    }
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    add(alert, &mut context);
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}
