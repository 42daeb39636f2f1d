//! `{{x}}` and `{{x?}}`: one value by name, no logic. A text with placeholders comes in, parts come out; a name that no
//! platform file may use is refused with the nearest right one.

use std::fmt;

use serde::{Deserialize, Deserializer};

use crate::config::suggest;

/// What a placeholder stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Name {
    To,
    Text,
    Title,
    Html,
    Locale,
    Id,
    /// The address without the + that it begins with: phone numbers of platforms that want digits alone.
    Number,
    /// The text as character data of XML.
    XmlText,
    /// When the delivery was decided.
    At,
    /// Of the incident, the same in all its messages.
    Incident,
    /// Where the incident stands, in our words: `investigating`, `in_progress` …; of posts alone.
    Status,
    /// The same as a number: 0 scheduled, 1 begun, 2 identified, 3 watched, 4 over.
    Stage,
    /// Where the platform reports what became of this delivery.
    Callback,
    UnsubscribeUrl,
    /// `true` or `false`.
    Urgent,
    /// The platform's name for the earlier message that this one follows.
    RefId,
    /// The same as a number.
    RefNumber,
    /// Where that message stands, as the platform said; else the address.
    RefTo,
    /// The SMS data coding of the text: `0` if the GSM 7-bit alphabet holds it, else `2` (UCS-2).
    Coding,
    Setting(String),
}

const NAMES: [(&str, Name); 19] = [
    ("to", Name::To),
    ("text", Name::Text),
    ("title", Name::Title),
    ("html", Name::Html),
    ("locale", Name::Locale),
    ("id", Name::Id),
    ("number", Name::Number),
    ("xml_text", Name::XmlText),
    ("at", Name::At),
    ("incident", Name::Incident),
    ("status", Name::Status),
    ("stage", Name::Stage),
    ("callback", Name::Callback),
    ("unsubscribe_url", Name::UnsubscribeUrl),
    ("urgent", Name::Urgent),
    ("coding", Name::Coding),
    ("ref.id", Name::RefId),
    ("ref.number", Name::RefNumber),
    ("ref.to", Name::RefTo),
];

impl Name {
    fn parse(text: &str) -> Result<Name, String> {
        if let Some(setting) = text.strip_prefix("settings.") {
            return Ok(Name::Setting(setting.into()));
        }
        NAMES.iter().find(|(name, _)| *name == text).map(|(_, name)| name.clone()).ok_or_else(|| {
            let names = NAMES.iter().map(|(name, _)| *name).chain(["settings."]);
            format!("unknown placeholder {text:?}{}", suggest(text, names))
        })
    }

    /// Whether it says which earlier message is followed.
    pub fn follows(&self) -> bool {
        matches!(self, Name::RefId | Name::RefNumber | Name::RefTo)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    Text(String),
    Slot { name: Name, optional: bool },
}

/// A text with placeholders.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template {
    pub parts: Vec<Part>,
}

impl Template {
    pub fn parse(text: &str) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(begin) = rest.find("{{") {
            if begin > 0 {
                parts.push(Part::Text(rest[..begin].into()));
            }
            let end =
                rest[begin..].find("}}").ok_or_else(|| format!("{text:?} opens a placeholder and never closes it"))?;
            let name = rest[begin + 2..begin + end].trim();
            let (name, optional) = name.strip_suffix('?').map_or((name, false), |name| (name, true));
            parts.push(Part::Slot { name: Name::parse(name)?, optional });
            rest = &rest[begin + end + 2..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Ok(Template { parts })
    }

    pub fn names(&self) -> impl Iterator<Item = (&Name, bool)> {
        self.parts.iter().filter_map(|part| match part {
            Part::Slot { name, optional } => Some((name, *optional)),
            Part::Text(_) => None,
        })
    }

    /// The placeholder, if the template is one and nothing else.
    pub fn only(&self) -> Option<&Name> {
        match self.parts.as_slice() {
            [Part::Slot { name, .. }] => Some(name),
            _ => None,
        }
    }

    /// With the settings in place; `None` if one that it needs, or a value that only a parcel has, is missing.
    pub fn constant(&self, setting: impl Fn(&str) -> Option<String>) -> Option<String> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Slot { name: Name::Setting(name), optional: _ } => out.push_str(&setting(name)?),
                Part::Slot { .. } => return None,
            }
        }
        Some(out)
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Template;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Template, E> {
                Template::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_into_parts() {
        let template = Template::parse("a{{to}}b{{ settings.x? }}").expect("parses");
        assert_eq!(
            template.parts,
            [
                Part::Text("a".into()),
                Part::Slot { name: Name::To, optional: false },
                Part::Text("b".into()),
                Part::Slot { name: Name::Setting("x".into()), optional: true },
            ]
        );
        assert_eq!(template.only(), None);
        assert_eq!(Template::parse("{{id}}").expect("parses").only(), Some(&Name::Id));
    }

    #[test]
    fn a_wrong_name_or_an_open_placeholder_is_refused() {
        assert_eq!(
            Template::parse("{{tekst}}").expect_err("refused"),
            "unknown placeholder \"tekst\"; did you mean \"text\"?"
        );
        assert!(Template::parse("{{to").is_err());
    }
}
