//! From a record to a Row: a subscriber as the file has them, checked in every value, or the reason why not. A reason names
//! the column, never the value: values are people's addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::Options;
use super::split::Cells;
use crate::audience::{Address, Quiet, Subscriber};
use crate::id::SubscriberId;
use crate::incident::Severity;

const LONGEST_TEXT: usize = 256;
const MOST_ENTRIES: usize = 1000;

/// What a file may have: a column of CSV, a key of NDJSON.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Column {
    Key,
    Name,
    Locale,
    Zone,
    Quiet,
    Severity,
    Audiences,
    Components,
    Regions,
    Exercises,
    Address(String),
    Verified(String),
    /// What a webhook's messages are signed with.
    Secret,
}

const NAMES: &[(&str, Column)] = &[
    ("key", Column::Key),
    ("name", Column::Name),
    ("locale", Column::Locale),
    ("time_zone", Column::Zone),
    ("quiet_hours", Column::Quiet),
    ("min_severity", Column::Severity),
    ("audiences", Column::Audiences),
    ("components", Column::Components),
    ("regions", Column::Regions),
    ("exercises", Column::Exercises),
    ("url_secret", Column::Secret),
];

/// A subscriber to be written, and what the file says nothing of.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub subscriber: Subscriber,
    given: Given,
}

/// What the file speaks of; the rest of a subscriber who is there already stays as it is.
#[derive(Debug, Clone, Default, PartialEq)]
struct Given {
    columns: u16,
    /// The kinds of address; `None`: the row has them all.
    kinds: Option<Arc<BTreeSet<String>>>,
}

impl Given {
    fn note(&mut self, column: &Column) {
        if let Some(at) = NAMES.iter().position(|(_, known)| known == column) {
            self.columns |= 1 << at;
        }
    }

    fn has(&self, column: &Column) -> bool {
        NAMES.iter().position(|(_, known)| known == column).is_some_and(|at| self.columns & 1 << at != 0)
    }
}

impl Row {
    /// Fills in what the file says nothing of from the subscriber who is there. Nobody who withdrew comes back by a file.
    pub fn over(&mut self, known: &Subscriber) {
        let Row { subscriber, given } = self;
        macro_rules! keep {
            ($($column:ident $field:ident),+) => {
                $(if !given.has(&Column::$column) { subscriber.$field = known.$field.clone(); })+
            };
        }
        keep!(Name name, Locale locale, Zone zone, Quiet quiet, Severity severity, Exercises exercises,
            Audiences audiences, Components components, Regions regions);
        subscriber.withdrawn = known.withdrawn;
        let mut ours = std::mem::take(&mut subscriber.addresses);
        for old in &known.addresses {
            match ours.iter().position(|new| new.kind == old.kind && new.value == old.value) {
                Some(at) => subscriber.addresses.push(ours.remove(at)),
                None if given.kinds.as_ref().is_some_and(|kinds| !kinds.contains(&old.kind)) => {
                    subscriber.addresses.push(old.clone());
                }
                None => {}
            }
        }
        subscriber.addresses.append(&mut ours);
    }
}

/// Reads records one after the other; of CSV, the first is the header.
pub struct Reader {
    options: Options,
    header: Option<(Vec<Column>, Given)>,
    /// Zones that were looked up and found: few, in however many rows.
    zones: BTreeMap<String, String>,
}

type Refused = String;

impl Reader {
    pub fn new(options: Options) -> Reader {
        Reader { options, header: None, zones: BTreeMap::new() }
    }

    pub fn has_header(&self) -> bool {
        self.header.is_some()
    }

    pub fn header(&mut self, cells: &Cells) -> Result<(), Refused> {
        let mut columns: Vec<Column> = Vec::new();
        let mut given = Given::default();
        let mut kinds = BTreeSet::new();
        for (at, cell) in cells.iter().enumerate() {
            let name = std::str::from_utf8(cell).map_err(|_| "the header is not UTF-8".to_string())?;
            let name = if at == 0 { name.trim_start_matches('\u{feff}') } else { name }.trim();
            if cells.len() == 1 && name.contains([';', '\t']) {
                return Err("the columns are not separated by commas".into());
            }
            let column = self.column(name)?;
            if columns.contains(&column) {
                return Err(format!("column {name:?} is there twice"));
            }
            if let Column::Address(kind) = &column {
                kinds.insert(kind.clone());
            }
            given.note(&column);
            columns.push(column);
        }
        if !given.has(&Column::Key) && kinds.is_empty() {
            return Err(format!("the file has no address: no column {}", self.kinds().join(", ")));
        }
        self.default_audience(&given)?;
        given.kinds = Some(Arc::new(kinds));
        self.header = Some((columns, given));
        Ok(())
    }

    /// Where a file names no audiences, the options must: nobody would ever be told.
    fn default_audience(&self, given: &Given) -> Result<(), Refused> {
        match given.has(&Column::Audiences) || self.options.audience.is_some() {
            true => Ok(()),
            false => Err("no audiences: add a column (or key) audiences, or name one for all rows (--audience)".into()),
        }
    }

    fn kinds(&self) -> Vec<&str> {
        self.options.validators.keys().map(String::as_str).collect()
    }

    fn column(&self, name: &str) -> Result<Column, Refused> {
        if let Some((_, column)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Ok(column.clone());
        }
        let (kind, verified) = match name.strip_suffix("_verified") {
            Some(kind) => (kind, true),
            None => (name, false),
        };
        if self.options.validators.contains_key(kind) {
            let kind = kind.to_string();
            return Ok(if verified { Column::Verified(kind) } else { Column::Address(kind) });
        }
        let verified: Vec<String> = self.kinds().iter().map(|kind| format!("{kind}_verified")).collect();
        let all = NAMES.iter().map(|(name, _)| *name).chain(self.kinds()).chain(verified.iter().map(String::as_str));
        let all: Vec<&str> = all.chain(["addresses"]).collect();
        let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
        let nearest = all.iter().map(|known| (strsim::damerau_levenshtein(known, &shown), known)).min();
        let nearest = nearest.map(|(_, known)| format!("; did you mean {known:?}?")).unwrap_or_default();
        Err(format!("unknown column {shown:?}{nearest}"))
    }

    pub fn cells(&mut self, cells: &Cells) -> Result<Row, Refused> {
        let Some((columns, given)) = self.header.take() else { return Err("there is no header".into()) };
        let row = self.with_columns(cells, &columns, &given);
        self.header = Some((columns, given));
        row
    }

    fn with_columns(&mut self, cells: &Cells, columns: &[Column], given: &Given) -> Result<Row, Refused> {
        if cells.len() != columns.len() {
            return Err(format!("the row has {} columns, and the header {}", cells.len(), columns.len()));
        }
        let mut draft = Draft::new(&self.options);
        for (column, cell) in columns.iter().zip(cells.iter()) {
            let text = std::str::from_utf8(cell).map_err(|_| format!("{}: is not UTF-8", column.name()))?.trim();
            if !text.is_empty() {
                self.text(&mut draft, column, text).map_err(|why| format!("{}: {why}", column.name()))?;
            }
        }
        self.finish(draft, given.clone())
    }

    pub fn line(&mut self, line: &[u8]) -> Result<Row, Refused> {
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        let value: Value = serde_json::from_slice(line).map_err(|error| {
            let (error, column) = (error.to_string(), error.column());
            format!("not JSON at column {column}: {}", error.split(" at line").next().unwrap_or_default())
        })?;
        let Value::Object(object) = value else { return Err("not a JSON object".into()) };
        let mut draft = Draft::new(&self.options);
        let mut given = Given::default();
        let mut kinds = BTreeSet::new();
        let mut all = false;
        for (name, value) in object {
            if name == "addresses" {
                all = true;
                self.addresses(&mut draft, value).map_err(|why| format!("addresses: {why}"))?;
                continue;
            }
            let column = self.column(&name)?;
            if let Column::Address(kind) = &column {
                kinds.insert(kind.clone());
            }
            given.note(&column);
            self.value(&mut draft, &column, value).map_err(|why| format!("{name}: {why}"))?;
        }
        self.default_audience(&given)?;
        given.kinds = (!all).then(|| Arc::new(kinds));
        self.finish(draft, given)
    }

    fn value(&mut self, draft: &mut Draft, column: &Column, value: Value) -> Result<(), Refused> {
        match value {
            Value::Null => Ok(()),
            Value::String(text) if text.trim().is_empty() => Ok(()),
            Value::String(text) => self.text(draft, column, text.trim()),
            Value::Bool(flag) => self.text(draft, column, if flag { "true" } else { "false" }),
            Value::Array(items) => {
                let Some(list) = draft.list(column) else { return Err("expected one value, not a list".into()) };
                for item in items {
                    let Value::String(text) = item else { return Err("expected a list of names".into()) };
                    list.insert(checked(text.trim())?.to_string());
                }
                bounded(list)
            }
            Value::Number(_) | Value::Object(_) => Err("expected a text".into()),
        }
    }

    fn addresses(&mut self, draft: &mut Draft, value: Value) -> Result<(), Refused> {
        let Value::Array(items) = value else { return Err("expected a list of {kind, address, verified}".into()) };
        for item in items {
            let Value::Object(item) = item else { return Err("expected {kind, address, verified}".into()) };
            let (mut kind, mut address, mut verified, mut signing) = (None, None, None, None);
            for (name, value) in item {
                match (name.as_str(), value) {
                    ("kind", Value::String(text)) => kind = Some(text),
                    ("address", Value::String(text)) => address = Some(text),
                    ("verified", Value::Bool(flag)) => verified = Some(flag),
                    ("secret", Value::String(text)) => signing = Some(secret(text.trim())?),
                    ("verified" | "secret", Value::Null) => {}
                    ("kind" | "address" | "verified" | "secret", _) => {
                        return Err(format!("{name} has the wrong type"));
                    }
                    _ => return Err("has an unknown key; it has kind, address, verified, secret".into()),
                }
            }
            let (Some(kind), Some(address)) = (kind, address) else { return Err("needs kind and address".into()) };
            self.address(draft, &kind, &address, verified, signing)?;
        }
        Ok(())
    }

    fn address(
        &self,
        draft: &mut Draft,
        kind: &str,
        text: &str,
        verified: Option<bool>,
        secret: Option<String>,
    ) -> Result<(), Refused> {
        let Some(validate) = self.options.validators.get(kind) else {
            return Err(format!("unknown kind of address; known: {}", self.kinds().join(" ")));
        };
        let value = validate(text)?;
        if draft.addresses.iter().any(|stated| stated.kind == kind && stated.value == value) {
            return Err("the same address twice in one row".into());
        }
        draft.addresses.push(Stated { kind: kind.into(), value, verified, secret });
        match draft.addresses.len() <= MOST_ENTRIES {
            true => Ok(()),
            false => Err("too many addresses".into()),
        }
    }

    fn text(&mut self, draft: &mut Draft, column: &Column, text: &str) -> Result<(), Refused> {
        match column {
            Column::Key => draft.subscriber.key = Some(checked(text)?.into()),
            Column::Name => draft.subscriber.name = Some(checked(text)?.into()),
            Column::Locale => {
                draft.subscriber.locale =
                    crate::ingest::language(checked(text)?).ok_or("is not a language tag such as en or pt-BR")?;
            }
            Column::Zone => draft.subscriber.zone = self.zone(checked(text)?)?,
            Column::Quiet => {
                let quiet = Quiet::parse(checked(text)?);
                draft.subscriber.quiet = Some(quiet.map_err(|_| "is not a span of quiet hours; write 22:00-07:00")?);
            }
            Column::Severity => {
                let words: Vec<&str> = Severity::ALL.iter().map(|severity| severity.word()).collect();
                draft.subscriber.severity = text.parse().map_err(|_| format!("is none of {}", words.join(" ")))?;
            }
            Column::Exercises => draft.subscriber.exercises = flag(text)?,
            Column::Secret => draft.secret = Some(secret(text)?),
            Column::Verified(kind) => drop(draft.verified.insert(kind.clone(), flag(text)?)),
            Column::Address(kind) => self.address(draft, kind, text, None, None)?,
            Column::Audiences | Column::Components | Column::Regions => {
                if let Some(list) = draft.list(column) {
                    for name in text.split(';').map(str::trim).filter(|name| !name.is_empty()) {
                        list.insert(checked(name)?.to_string());
                    }
                    bounded(list)?;
                }
            }
        }
        Ok(())
    }

    fn zone(&mut self, name: &str) -> Result<String, Refused> {
        if let Some(known) = self.zones.get(name) {
            return Ok(known.clone());
        }
        let zone = jiff::tz::TimeZone::get(name).map_err(|_| "is not a time zone such as Europe/Berlin")?;
        let zone = zone.iana_name().unwrap_or(name).to_string();
        if self.zones.len() < 2000 {
            self.zones.insert(name.into(), zone.clone());
        }
        Ok(zone)
    }

    fn finish(&self, draft: Draft, given: Given) -> Result<Row, Refused> {
        let Draft { mut subscriber, addresses, verified, secret } = draft;
        if addresses.is_empty() && subscriber.key.is_none() {
            return Err("has neither a key nor an address".into());
        }
        if subscriber.audiences.is_empty() {
            match &self.options.audience {
                Some(audience) => drop(subscriber.audiences.insert(audience.clone())),
                None => return Err("audiences: names none, so nobody would ever tell them anything".into()),
            }
        }
        if let Some(unknown) = subscriber.audiences.iter().find(|name| !self.options.audiences.contains(*name)) {
            let known = self.options.audiences.iter();
            let nearest = known.min_by_key(|known| strsim::damerau_levenshtein(known, unknown));
            let nearest = nearest.map(|known| format!("; did you mean {known:?}?")).unwrap_or_default();
            return Err(format!("audiences: {unknown:?} is not registered{nearest}"));
        }
        subscriber.addresses = addresses
            .into_iter()
            .map(|stated| Address {
                place: 0,
                verified: stated.verified.or(verified.get(&stated.kind).copied()).unwrap_or(self.options.verified),
                secrets: match stated.kind == SIGNED {
                    true => stated.secret.or(secret.clone()).into_iter().collect(),
                    false => Vec::new(),
                },
                kind: stated.kind,
                value: stated.value,
                suppressed: false,
            })
            .collect();
        let mut given = given;
        if self.options.audience.is_some() {
            given.note(&Column::Audiences);
        }
        Ok(Row { subscriber, given })
    }
}

/// An address as a row states it.
struct Stated {
    kind: String,
    value: String,
    verified: Option<bool>,
    secret: Option<String>,
}

struct Draft {
    subscriber: Subscriber,
    addresses: Vec<Stated>,
    verified: BTreeMap<String, bool>,
    secret: Option<String>,
}

impl Draft {
    fn new(options: &Options) -> Draft {
        let subscriber = Subscriber {
            id: SubscriberId(0),
            version: 0,
            key: None,
            name: None,
            locale: options.locale.clone(),
            zone: options.zone.clone(),
            quiet: None,
            severity: Severity::Info,
            exercises: false,
            withdrawn: false,
            audiences: BTreeSet::new(),
            components: BTreeSet::new(),
            regions: BTreeSet::new(),
            addresses: Vec::new(),
        };
        Draft { subscriber, addresses: Vec::new(), verified: BTreeMap::new(), secret: None }
    }

    fn list(&mut self, column: &Column) -> Option<&mut BTreeSet<String>> {
        match column {
            Column::Audiences => Some(&mut self.subscriber.audiences),
            Column::Components => Some(&mut self.subscriber.components),
            Column::Regions => Some(&mut self.subscriber.regions),
            _ => None,
        }
    }
}

impl Column {
    fn name(&self) -> std::borrow::Cow<'_, str> {
        match self {
            Column::Address(kind) => kind.as_str().into(),
            Column::Verified(kind) => format!("{kind}_verified").into(),
            other => NAMES.iter().find(|(_, known)| known == other).map_or("", |(name, _)| name).into(),
        }
    }
}

/// The kind of address that has a secret.
const SIGNED: &str = "url";

fn secret(text: &str) -> Result<String, Refused> {
    crate::channel::webhook::SigningKey::parse(text).map(|_| text.to_string()).map_err(str::to_string)
}

fn checked(text: &str) -> Result<&str, Refused> {
    if text.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        return Err("has a control character".into());
    }
    match text.len() {
        0 => Err("is empty".into()),
        1..=LONGEST_TEXT => Ok(text),
        length => Err(format!("is {length} bytes long; the most is {LONGEST_TEXT}")),
    }
}

fn bounded(list: &BTreeSet<String>) -> Result<(), Refused> {
    match list.len() <= MOST_ENTRIES {
        true => Ok(()),
        false => Err(format!("has more than {MOST_ENTRIES} entries")),
    }
}

fn flag(text: &str) -> Result<bool, Refused> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Ok(true),
        "false" | "no" | "0" => Ok(false),
        _ => Err("is neither true nor false".into()),
    }
}
