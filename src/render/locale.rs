//! A Locale: what the renderer itself says in a language. Enters a file of `templates/locales/`, leaves joined lists,
//! numbers, labels. A language is added by a file.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::incident::{CauseCategory, Severity, Status};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locale {
    #[serde(skip)]
    pub tag: String,
    /// Whether its words can be written in GSM-7.
    pub gsm7: bool,
    pub and: String,
    /// Spanish: "e" before a word that begins with i.
    #[serde(default)]
    pub and_before_i: Option<String>,
    pub more: String,
    pub marked: String,
    /// Other languages' names in this one.
    pub languages: BTreeMap<String, String>,
    pub words: Words,
    /// A locale without it asks its readers in the sender's language.
    pub consent: Option<Consent>,
    pub time: TimeWords,
    pub number: Numbers,
    pub status: BTreeMap<String, String>,
    pub severity: BTreeMap<String, String>,
    pub cause: BTreeMap<String, String>,
    /// From the file of the same name in `templates/lint/`.
    #[serde(skip)]
    pub lint: super::lint::WordLists,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    pub exercise: String,
    pub our_services: String,
    pub our_services_start: String,
    pub check: String,
    pub genuine: String,
    pub manage: String,
    pub worldwide: String,
    pub where_one: String,
    pub where_many: String,
    pub correction: Vec<String>,
}

/// What an address is asked, and told, about being told: in a mail with a link (`ask`), and on the pages that links lead to.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consent {
    pub ask_subject: String,
    pub ask: String,
    pub ask_button: String,
    pub confirm_title: String,
    pub confirm: String,
    pub confirm_button: String,
    pub confirmed_title: String,
    pub confirmed: String,
    pub leave_title: String,
    pub leave: String,
    pub leave_button: String,
    pub left_title: String,
    pub left: String,
    pub dead_link_title: String,
    pub dead_link: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeWords {
    pub months: [String; 12],
    pub months_short: [String; 12],
    pub day: String,
    pub date: String,
    /// What a zone is called here, by its name (`Asia/Kolkata`) or its abbreviation (`CEST`).
    pub zones: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Numbers {
    pub decimal: String,
    pub group: String,
    /// Largest first.
    pub scales: Vec<Scale>,
    /// Portuguese: 1,5 bilhão.
    #[serde(default)]
    pub one_below_two: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    pub at: u64,
    pub one: String,
    pub many: String,
}

impl Locale {
    pub fn parse(tag: &str, text: &str) -> Result<Locale, toml::de::Error> {
        let mut locale: Locale = toml::from_str(text)?;
        locale.tag = tag.into();
        let all = [
            (&locale.status, Status::ALL.iter().map(|word| word.word()).collect::<Vec<_>>()),
            (&locale.severity, Severity::ALL.iter().map(|word| word.word()).collect()),
            (&locale.cause, CauseCategory::ALL.iter().map(|word| word.word()).collect()),
        ];
        for (said, words) in all {
            if let Some(missing) = words.iter().find(|word| !said.contains_key(**word)) {
                return Err(serde::de::Error::custom(format!("does not say {missing}")));
            }
        }
        Ok(locale)
    }

    /// "A, B and C"; past `most`, "A, B and 3 more".
    pub fn list(&self, items: &[String], most: usize) -> String {
        let shown = &items[..items.len().min(most.max(1))];
        if shown.len() < items.len() {
            let rest = (items.len() - shown.len()).to_string();
            return self.more.replace("{n}", &rest).replace("{list}", &shown.join(", "));
        }
        match shown {
            [] => String::new(),
            [one] => one.clone(),
            [head @ .., last] => format!("{}{}{last}", head.join(", "), self.and_before(last)),
        }
    }

    fn and_before(&self, word: &str) -> &str {
        let word = word.to_lowercase();
        // Not before a diphthong: "y hielo", "y iones".
        let sound = word.strip_prefix('h').unwrap_or(&word);
        let like_i = sound.starts_with('í') || sound.starts_with('i') && !sound[1..].starts_with(['a', 'e', 'o']);
        self.and_before_i.as_deref().filter(|_| like_i).unwrap_or(&self.and)
    }

    /// `3500000000` is "3.5 billion", "3,5 Milliarden", "3,5 mil millones", "3,5 bilhões", "3.5 अरब".
    pub fn number(&self, n: u64) -> String {
        let Some(scale) = self.number.scales.iter().find(|scale| n >= scale.at && scale.at > 0) else {
            return self.grouped(n);
        };
        // Two decimals, cut, so that a number never claims more than was said.
        let hundredths = (u128::from(n) * 100 / u128::from(scale.at)) as u64;
        let (whole, fraction) = (hundredths / 100, hundredths % 100);
        let digits = match fraction {
            0 => self.grouped(whole),
            f if f % 10 == 0 => format!("{}{}{}", self.grouped(whole), self.number.decimal, f / 10),
            f => format!("{}{}{f:02}", self.grouped(whole), self.number.decimal),
        };
        let one = hundredths == 100 || self.number.one_below_two && whole == 1;
        format!("{digits} {}", if one { &scale.one } else { &scale.many })
    }

    fn grouped(&self, n: u64) -> String {
        let digits = n.to_string();
        let mut out = String::new();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) && digits.len() > 4 {
                out.push_str(&self.number.group);
            }
            out.push(digit);
        }
        out
    }

    /// A text of another language, with the language's name before it.
    pub fn marked(&self, language: &str, text: &str) -> String {
        let base = super::base(language);
        let name = self.languages.get(base).map_or(base, String::as_str);
        self.marked.replace("{language}", name).replace("{text}", text)
    }
}

#[cfg(test)]
mod tests {
    use crate::render::templates::Templates;

    #[test]
    fn big_numbers_are_said_as_the_language_says_them() {
        let set = Templates::embedded().expect("loads");
        for (tag, expected) in [
            ("en", ["3.5 billion", "1 million", "12,000", "950", "1.25 million"]),
            ("de", ["3,5 Milliarden", "1 Million", "12.000", "950", "1,25 Millionen"]),
            ("es", ["3,5 mil millones", "1 millón", "12.000", "950", "1,25 millones"]),
            ("pt", ["3,5 bilhões", "1 milhão", "12.000", "950", "1,25 milhão"]),
            ("hi", ["3.5 अरब", "10 लाख", "12,000", "950", "12.5 लाख"]),
        ] {
            let locale = set.locale(tag);
            assert_eq!([3_500_000_000, 1_000_000, 12_000, 950, 1_250_000].map(|n| locale.number(n)), expected, "{tag}");
        }
    }

    #[test]
    fn every_shipped_language_asks_for_consent_and_another_falls_back() {
        let set = Templates::embedded().expect("loads");
        for tag in ["en", "de", "es", "pt", "hi"] {
            let (said_in, consent) = set.consent(tag, "en");
            assert_eq!(said_in, tag);
            assert!(consent.ask.contains("{sender}"), "{tag}");
        }
        for (wanted, senders, said_in) in [("de-AT", "en", "de"), ("fr", "pt-BR", "pt"), ("fr", "sv", "en")] {
            assert_eq!(set.consent(wanted, senders).0, said_in, "{wanted} {senders}");
        }
    }

    #[test]
    fn an_operators_english_that_asks_nothing_falls_back_to_the_shipped() {
        let folder = tempfile::tempdir().expect("a folder");
        let english = include_str!("../../templates/locales/en.toml");
        let (before, rest) = english.split_once("[consent]").expect("it asks");
        let (_, after) = rest.split_once("[time]").expect("it goes on");
        std::fs::create_dir(folder.path().join("locales")).expect("a folder");
        std::fs::write(folder.path().join("locales/en.toml"), format!("{before}[time]{after}")).expect("written");
        let set = Templates::load(Some(folder.path()), Default::default()).unwrap_or_else(|wrong| panic!("{wrong:?}"));
        let (said_in, consent) = set.consent("en", "en");
        assert_eq!((said_in, consent.leave_button.as_str()), ("en", "Unsubscribe"));
    }

    #[test]
    fn lists_end_with_the_languages_and() {
        let set = Templates::embedded().expect("loads");
        let names =
            |n: usize| ["Facebook", "WhatsApp", "Instagram"][..n].iter().map(|s| s.to_string()).collect::<Vec<_>>();
        assert_eq!(set.locale("en").list(&names(3), 9), "Facebook, WhatsApp and Instagram");
        assert_eq!(set.locale("es").list(&names(3), 9), "Facebook, WhatsApp e Instagram");
        assert_eq!(set.locale("es").list(&names(2), 9), "Facebook y WhatsApp");
        assert_eq!(set.locale("de").list(&names(3), 2), "Facebook, WhatsApp und 1 weitere");
        assert_eq!(set.locale("en").list(&[], 9), "");
    }
}
