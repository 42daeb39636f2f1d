//! What CAP 1.2 lets stand where, in its order (the schema of section 3.4): each element's name, how often, and what it holds. A
//! table, and one walk over it.

use std::str::FromStr;

use super::words::{Category, Certainty, MsgType, ResponseType, Scope, Severity, Status, Urgency};
use super::xml::{Element, short, wrong};
use crate::clock::Time;
use crate::config::suggest;
use crate::ingest::event::BadEvent;
use crate::ingest::{language, quoted, rfc3339};

pub struct Child {
    pub name: &'static str,
    needed: bool,
    most: usize,
    pub holds: Holds,
}

pub enum Holds {
    /// Something, where it is needed; one that is not may be empty, and says nothing then.
    Text,
    /// Also nothing.
    Any,
    /// Text without blank, comma, `<` and `&`.
    Name,
    Time,
    Language,
    Word(fn(&str) -> Result<(), String>),
    Group(&'static [Child]),
}

/// How many of what may stand several times.
const MANY: usize = 1000;
const INFOS: usize = 64;
/// Of a name, in bytes: two of them are an incident's key.
const NAME: usize = 120;

const fn one(name: &'static str, holds: Holds) -> Child {
    Child { name, needed: true, most: 1, holds }
}

const fn may(name: &'static str, holds: Holds) -> Child {
    Child { name, needed: false, most: 1, holds }
}

const fn many(name: &'static str, most: usize, holds: Holds) -> Child {
    Child { name, needed: false, most, holds }
}

fn word<W: FromStr<Err = String>>(text: &str) -> Result<(), String> {
    text.parse::<W>().map(drop)
}

pub const ALERT: &[Child] = &[
    one("identifier", Holds::Name),
    one("sender", Holds::Name),
    one("sent", Holds::Time),
    one("status", Holds::Word(word::<Status>)),
    one("msgType", Holds::Word(word::<MsgType>)),
    may("source", Holds::Text),
    one("scope", Holds::Word(word::<Scope>)),
    may("restriction", Holds::Text),
    may("addresses", Holds::Text),
    many("code", MANY, Holds::Any),
    may("note", Holds::Text),
    may("references", Holds::Text),
    may("incidents", Holds::Text),
    many("info", INFOS, Holds::Group(INFO)),
];

const INFO: &[Child] = &[
    may("language", Holds::Language),
    Child { name: "category", needed: true, most: MANY, holds: Holds::Word(word::<Category>) },
    one("event", Holds::Text),
    many("responseType", MANY, Holds::Word(word::<ResponseType>)),
    one("urgency", Holds::Word(word::<Urgency>)),
    one("severity", Holds::Word(word::<Severity>)),
    one("certainty", Holds::Word(word::<Certainty>)),
    may("audience", Holds::Text),
    many("eventCode", MANY, Holds::Group(PAIR)),
    may("effective", Holds::Time),
    may("onset", Holds::Time),
    may("expires", Holds::Time),
    may("senderName", Holds::Text),
    may("headline", Holds::Text),
    may("description", Holds::Text),
    may("instruction", Holds::Text),
    may("web", Holds::Text),
    may("contact", Holds::Text),
    many("parameter", MANY, Holds::Group(PAIR)),
    many("resource", MANY, Holds::Group(RESOURCE)),
    many("area", MANY, Holds::Group(AREA)),
];

const PAIR: &[Child] = &[one("valueName", Holds::Any), one("value", Holds::Any)];

const RESOURCE: &[Child] = &[
    one("resourceDesc", Holds::Text),
    one("mimeType", Holds::Text),
    may("size", Holds::Text),
    may("uri", Holds::Text),
    may("derefUri", Holds::Text),
    may("digest", Holds::Text),
];

const AREA: &[Child] = &[
    one("areaDesc", Holds::Text),
    many("polygon", MANY, Holds::Text),
    many("circle", MANY, Holds::Text),
    many("geocode", MANY, Holds::Group(PAIR)),
    may("altitude", Holds::Text),
    may("ceiling", Holds::Text),
];

/// Whether an alert holds what the standard says. The order of elements is not asked for: their names tell what they are.
pub fn check(alert: &Element) -> Result<(), BadEvent> {
    group(alert, "/alert", ALERT)
}

fn group(element: &Element, path: &str, children: &[Child]) -> Result<(), BadEvent> {
    if !element.text.trim().is_empty() {
        let message = format!("has the text {} beside its elements", quoted(element.text.trim()));
        return Err(wrong(path, element.line, message));
    }
    let mut counts = vec![0; children.len()];
    for inner in &element.children {
        let Some(at) = children.iter().position(|child| child.name == inner.name) else {
            let name = short(&inner.name);
            let near = suggest(name, children.iter().map(|child| child.name));
            return Err(wrong(path, inner.line, format!("has no <{name}> in CAP 1.2{near}")));
        };
        let child = &children[at];
        counts[at] += 1;
        let path = match child.most {
            1 => format!("{path}/{}", child.name),
            _ => format!("{path}/{}[{}]", child.name, counts[at]),
        };
        if counts[at] > child.most {
            let times = if child.most == 1 { "once".into() } else { format!("{} times", child.most) };
            return Err(wrong(&path, inner.line, format!("stands more often than {times}")));
        }
        holds(inner, &path, child)?;
    }
    match children.iter().zip(counts).find(|(child, count)| child.needed && *count == 0) {
        Some((child, _)) => Err(wrong(&format!("{path}/{}", child.name), element.line, "is required")),
        None => Ok(()),
    }
}

fn holds(element: &Element, path: &str, child: &Child) -> Result<(), BadEvent> {
    if let Holds::Group(children) = child.holds {
        return group(element, path, children);
    }
    if let Some(inner) = element.children.first() {
        return Err(wrong(path, inner.line, format!("holds a text, and no <{}>", short(&inner.name))));
    }
    let text = element.text.trim();
    if text.is_empty() {
        let may_be = !child.needed && !matches!(child.holds, Holds::Word(_)) || matches!(child.holds, Holds::Any);
        return if may_be { Ok(()) } else { Err(wrong(path, element.line, "is empty")) };
    }
    let fault = match &child.holds {
        Holds::Text | Holds::Any | Holds::Group(_) => None,
        Holds::Name => name(text).err().map(str::to_string),
        Holds::Time => time(text).is_none().then(|| {
            format!("{} is no time of CAP such as 2030-05-01T10:00:00-00:00: no Z, no fractions", quoted(text))
        }),
        Holds::Language => {
            language(text).is_none().then(|| format!("{} is no language tag such as en-US", quoted(text)))
        }
        Holds::Word(known) => known(short(text)).err(),
    };
    fault.map_or(Ok(()), |fault| Err(wrong(path, element.line, fault)))
}

/// What two of make a reference, parted by commas and blanks.
pub fn name(text: &str) -> Result<(), &'static str> {
    if text.len() > NAME {
        return Err("is longer than 120 bytes");
    }
    match text.contains(|c: char| c.is_whitespace() || matches!(c, ',' | '<' | '&')) {
        true => Err("has a blank, a comma, < or &, which section 3.2.1 forbids"),
        false => Ok(()),
    }
}

/// As the notes on DateTime in section 3.3 say: an offset always, `-00:00` for UTC; `+00:00` is read too.
pub fn time(text: &str) -> Option<Time> {
    let fits = text.len() == 25 && text.as_bytes()[10] == b'T' && matches!(text.as_bytes()[19], b'+' | b'-');
    fits.then(|| rfc3339(text)).flatten()
}
