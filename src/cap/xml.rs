//! XML from strangers. Enters: bytes. Leaves: a tree of the elements of CAP 1.2, bounded in size, depth and number, or the line of
//! what is wrong. Nothing is fetched and nothing is defined: a document type and entities of one's own are refused.

use quick_xml::NsReader;
use quick_xml::events::{BytesDecl, BytesRef, BytesStart, Event};
use quick_xml::name::{Namespace, ResolveResult};

use super::NAMESPACE;
use crate::ingest::event::BadEvent;
use crate::ingest::quoted;

const BYTES: usize = 1 << 20;
const DEPTH: usize = 16;
const ELEMENTS: usize = 20_000;
const ATTRIBUTES: usize = 16;

/// The one other namespace that the standard lets into an alert, by its notes on digital signatures.
const SIGNATURES: &str = "http://www.w3.org/2000/09/xmldsig#";

#[derive(Debug, PartialEq)]
pub struct Element {
    pub name: String,
    /// Of its start, from 1.
    pub line: usize,
    /// Its own text, without that of its children.
    pub text: String,
    pub children: Vec<Element>,
}

/// An error with the place of an element and its line.
pub fn wrong(path: &str, line: usize, message: impl std::fmt::Display) -> BadEvent {
    BadEvent::new(path, format!("line {line}: {message}"))
}

pub fn read(body: &[u8]) -> Result<Element, BadEvent> {
    if body.len() > BYTES {
        return Err(BadEvent::new("", format!("is {} bytes long; an alert has at most {BYTES}", body.len())));
    }
    let text = std::str::from_utf8(body).map_err(|error| {
        BadEvent::new("", format!("is not UTF-8 at byte {}: an alert is read in UTF-8 alone", error.valid_up_to()))
    })?;
    Reading::new(text.strip_prefix('\u{feff}').unwrap_or(text)).run()
}

struct Reading<'a> {
    text: &'a str,
    /// How far lines were counted.
    counted: usize,
    line: usize,
    elements: usize,
    /// From the root to the element that is open.
    open: Vec<Element>,
    root: Option<Element>,
    /// How deep in a signature.
    skipped: usize,
}

impl<'a> Reading<'a> {
    fn new(text: &'a str) -> Reading<'a> {
        Reading { text, counted: 0, line: 1, elements: 0, open: Vec::new(), root: None, skipped: 0 }
    }

    fn run(mut self) -> Result<Element, BadEvent> {
        let mut reader = NsReader::from_str(self.text);
        loop {
            let at = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX).min(self.text.len());
            self.line += self.text.as_bytes()[self.counted..at].iter().filter(|byte| **byte == b'\n').count();
            self.counted = at;
            let (namespace, event) = match reader.read_resolved_event() {
                Ok((ResolveResult::Bound(Namespace(namespace)), event)) => (Some(namespace), event),
                Ok((_, event)) => (None, event),
                Err(error) => return Err(self.wrong(format!("is no XML: {error}"))),
            };
            match event {
                Event::Start(start) => self.starts(namespace, &start)?,
                Event::Empty(start) => {
                    self.starts(namespace, &start)?;
                    self.ends();
                }
                Event::End(_) => self.ends(),
                Event::Text(text) => self.says(&text.xml10_content())?,
                Event::CData(text) => self.says(&text.xml10_content())?,
                Event::GeneralRef(reference) => self.refers(&reference)?,
                Event::Decl(declaration) => self.declares(&declaration, at)?,
                Event::DocType(_) => {
                    return Err(self.wrong("has a document type, which is not taken: leave <!DOCTYPE …> out"));
                }
                Event::Comment(_) | Event::PI(_) => {}
                Event::Eof => break,
            }
        }
        match (self.open.last(), self.root.take()) {
            (Some(open), _) => Err(self.wrong(format!("the document ends before </{}>", short(&open.name)))),
            (None, Some(root)) if self.skipped == 0 => Ok(root),
            (None, _) => Err(self.wrong("the document holds no whole alert")),
        }
    }

    fn starts(&mut self, namespace: Option<&str>, start: &BytesStart<'_>) -> Result<(), BadEvent> {
        self.elements += 1;
        if self.elements > ELEMENTS {
            return Err(self.wrong(format!("more than {ELEMENTS} elements")));
        }
        if self.open.len() + self.skipped >= DEPTH {
            return Err(self.wrong(format!("elements in one another, deeper than {DEPTH}")));
        }
        for (count, attribute) in start.attributes().enumerate() {
            attribute.map_err(|error| self.wrong(format!("is no XML: {error}")))?;
            if count >= ATTRIBUTES {
                return Err(self.wrong(format!("more than {ATTRIBUTES} attributes on one element")));
            }
        }
        let name = start.local_name().into_inner();
        let signature = self.open.len() == 1 && name == "Signature" && namespace == Some(SIGNATURES);
        if self.skipped > 0 || signature {
            self.skipped += 1;
            return Ok(());
        }
        if namespace != Some(NAMESPACE) {
            let namespace =
                namespace.map_or("of no namespace".into(), |given| format!("of the namespace {}", quoted(given)));
            return Err(self.wrong(format!("<{}> is {namespace}; what is read is {NAMESPACE:?}", short(name))));
        }
        if self.open.is_empty() && (self.root.is_some() || name != "alert") {
            return Err(
                self.wrong(format!("<{}> stands where one <alert> is expected, and nothing beside it", short(name)))
            );
        }
        let element = Element { name: name.into(), line: self.line, text: String::new(), children: Vec::new() };
        self.open.push(element);
        Ok(())
    }

    fn ends(&mut self) {
        if self.skipped > 0 {
            self.skipped -= 1;
            return;
        }
        let Some(element) = self.open.pop() else { return };
        match self.open.last_mut() {
            Some(outer) => outer.children.push(element),
            None => self.root = Some(element),
        }
    }

    fn says(&mut self, text: &str) -> Result<(), BadEvent> {
        let is_bad =
            |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r') || matches!(c, '\u{fffe}' | '\u{ffff}');
        if let Some(bad) = text.chars().find(|c| is_bad(*c)) {
            return Err(self.wrong(format!("has the control character U+{:04X}", u32::from(bad))));
        }
        match self.open.last_mut() {
            _ if self.skipped > 0 => {}
            Some(element) => element.text.push_str(text),
            None if text.trim().is_empty() => {}
            None => return Err(self.wrong(format!("{} stands outside the alert", quoted(text.trim())))),
        }
        Ok(())
    }

    fn refers(&mut self, reference: &BytesRef<'_>) -> Result<(), BadEvent> {
        let name: &str = reference;
        let character = match name {
            "lt" => Some('<'),
            "gt" => Some('>'),
            "amp" => Some('&'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            _ => reference.resolve_char_ref().unwrap_or_default(),
        };
        match character {
            Some(character) => self.says(character.encode_utf8(&mut [0; 4])),
            None => Err(self.wrong(format!(
                "&{}; is not taken: only &lt; &gt; &amp; &quot; &apos; and characters by number are",
                short(name)
            ))),
        }
    }

    fn declares(&self, declaration: &BytesDecl<'_>, at: usize) -> Result<(), BadEvent> {
        let version = declaration.version().map_err(|error| self.wrong(format!("is no XML: {error}")))?;
        if at > 0 || version.as_ref() != "1.0" {
            return Err(self.wrong("<?xml …?> stands at the very beginning or nowhere, and its version is 1.0"));
        }
        let encoding = declaration.encoding().and_then(Result::ok).unwrap_or_else(|| "UTF-8".into());
        match encoding.to_ascii_lowercase().as_str() {
            "utf-8" | "us-ascii" => Ok(()),
            _ => Err(self.wrong(format!("the encoding {} is not read: send UTF-8", quoted(&encoding)))),
        }
    }

    /// In the element that is open.
    fn wrong(&self, message: impl std::fmt::Display) -> BadEvent {
        let path: String = self.open.iter().map(|element| format!("/{}", short(&element.name))).collect();
        wrong(&path, self.line, message)
    }
}

/// A stranger's name for a message.
pub fn short(name: &str) -> &str {
    name.char_indices().nth(40).map_or(name, |(at, _)| &name[..at])
}
