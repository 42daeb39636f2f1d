//! A Message: rendered words, cut into segments and the fields that differ from recipient to recipient.

use serde::{Deserialize, Serialize};

use crate::incident::words;

words!(
    Format { Email = "email", Sms = "sms", Chat = "chat", Push = "push", Post = "post", Voice = "voice", Webhook = "webhook", Cap = "cap" }
);
words!(
    /// How the body's Markdown is written for a platform.
    Markup { Plain = "plain", Html = "html", Mrkdwn = "mrkdwn", Markdown = "markdown" }
);

/// How a field's value is written where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Escape {
    None,
    Html,
    Json,
    Mrkdwn,
    Markdown,
    /// A header of a mail: control characters removed.
    Header,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Segment {
    Words(String),
    Field { name: String, default: String, escape: Escape },
}

/// The rendered words in one language and format. Stored by the digest of its bytes (`to_bytes`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    pub format: Format,
    pub markup: Markup,
    pub locale: String,
    /// Subject of a mail, title of a push.
    pub title: Option<Vec<Segment>>,
    /// The plain text, or the JSON of a webhook.
    pub text: Vec<Segment>,
    /// The HTML part of a mail.
    pub html: Option<Vec<Segment>>,
    /// Of a post, where the incident stands, for pages that show it beside the words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

/// A message with one recipient's fields in place.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filled {
    pub title: Option<String>,
    pub text: String,
    pub html: Option<String>,
    pub locale: String,
}

/// What differs from recipient to recipient.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fields<'a> {
    /// The delivery's public id.
    pub delivery: &'a str,
    pub name: Option<&'a str>,
    pub unsubscribe_url: Option<&'a str>,
}

impl<'a> Fields<'a> {
    /// The names that a template may use.
    pub const NAMES: &'static [&'static str] = &["delivery", "name", "unsubscribe_url"];

    /// What stands in a field's place.
    pub fn value<'b>(&'b self, name: &str, default: &'b str) -> &'b str {
        self.get(name).filter(|value| !value.is_empty()).unwrap_or(default)
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        match name {
            "delivery" => Some(self.delivery),
            "name" => self.name,
            "unsubscribe_url" => self.unsubscribe_url,
            _ => None,
        }
    }
}

impl Message {
    pub fn fill(&self, fields: &Fields<'_>) -> Filled {
        Filled {
            title: self.title.as_deref().map(|segments| fill(segments, fields)),
            text: fill(&self.text, fields),
            html: self.html.as_deref().map(|segments| fill(segments, fields)),
            locale: self.locale.clone(),
        }
    }

    /// Whether a recipient's field of this name stands anywhere in it.
    pub fn mentions(&self, field: &str) -> bool {
        let parts = [self.title.as_deref(), Some(&self.text), self.html.as_deref()];
        let mut segments = parts.into_iter().flatten().flatten();
        segments.any(|segment| matches!(segment, Segment::Field { name, .. } if name == field))
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Message, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

/// Words that name no recipient.
impl From<Filled> for Message {
    fn from(filled: Filled) -> Message {
        let words = |text| vec![Segment::Words(text)];
        Message {
            format: Format::Email,
            markup: Markup::Plain,
            locale: filled.locale,
            title: filled.title.map(words),
            text: words(filled.text),
            html: filled.html.map(words),
            status: None,
        }
    }
}

fn fill(segments: &[Segment], fields: &Fields<'_>) -> String {
    let mut out =
        String::with_capacity(segments.iter().map(|s| if let Segment::Words(w) = s { w.len() } else { 48 }).sum());
    for segment in segments {
        match segment {
            Segment::Words(words) => out.push_str(words),
            Segment::Field { name, default, escape } => {
                escape_into(fields.value(name, default), *escape, &mut out);
            }
        }
    }
    out
}

pub fn escape_into(value: &str, escape: Escape, out: &mut String) {
    // Most values are names, ids and links, which no escape changes.
    if value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b' ' | b'-' | b'.' | b'/' | b':' | b'@' | b','))
        || (escape != Escape::Markdown && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-./:".contains(&b)))
    {
        return out.push_str(value);
    }
    for c in value.chars() {
        match (escape, c) {
            (Escape::Html, '&') | (Escape::Mrkdwn, '&') => out.push_str("&amp;"),
            (Escape::Html, '<') | (Escape::Mrkdwn, '<') => out.push_str("&lt;"),
            (Escape::Html, '>') | (Escape::Mrkdwn, '>') => out.push_str("&gt;"),
            (Escape::Html, '"') => out.push_str("&quot;"),
            (Escape::Html, '\'') => out.push_str("&#39;"),
            (Escape::Json, '"') => out.push_str("\\\""),
            (Escape::Json, '\\') => out.push_str("\\\\"),
            (Escape::Json, '\n') => out.push_str("\\n"),
            (Escape::Json, '\r') => out.push_str("\\r"),
            (Escape::Json, '\t') => out.push_str("\\t"),
            (Escape::Json, c) if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            (Escape::Markdown, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' | '~') => {
                out.push('\\');
                out.push(c);
            }
            (Escape::Header, c) if c.is_control() => out.push(' '),
            (_, c) => out.push(c),
        }
    }
}
