//! Whether words stand in a text, and of which of our components it speaks. Large and small letters are the same; `S3` does not
//! stand in `S30`.

use std::collections::BTreeMap;

/// Words as they are looked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Words(Vec<String>);

impl Words {
    pub fn new(words: &[String]) -> Words {
        Words(words.iter().map(|word| word.trim().to_lowercase()).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them stands in `text`, which is in small letters.
    pub fn stand_in(&self, text: &str) -> bool {
        self.0.iter().any(|word| stands(word, text))
    }
}

fn stands(word: &str, text: &str) -> bool {
    // Of scripts that have small letters: others may write without blanks.
    let letter = |c: Option<char>| c.is_some_and(|c| c.is_lowercase() || c.is_numeric());
    let apart = |one: Option<char>, other: Option<char>| !(letter(one) && letter(other));
    text.match_indices(word).any(|(at, found)| {
        let (before, after) = (text[..at].chars().next_back(), text[at + found.len()..].chars().next());
        apart(before, found.chars().next()) && apart(found.chars().next_back(), after)
    })
}

/// Of which components a page speaks.
#[derive(Debug, Clone, PartialEq)]
pub enum Speaks {
    /// All of it of this one.
    Of(String),
    /// What stands there, and which of ours that is.
    Named(BTreeMap<String, String>),
}

impl Speaks {
    /// Ours of which a text speaks, which is in small letters.
    pub fn of(&self, text: &str) -> Vec<String> {
        let mut ours: Vec<String> = match self {
            Speaks::Of(component) => vec![component.clone()],
            Speaks::Named(named) => named
                .iter()
                .filter(|(theirs, _)| stands(&theirs.trim().to_lowercase(), text))
                .map(|(_, ours)| ours.clone())
                .collect(),
        };
        ours.sort_unstable();
        ours.dedup();
        ours
    }

    /// Ours of which it may ever speak.
    pub fn ours(&self) -> Vec<&str> {
        let mut ours: Vec<&str> = match self {
            Speaks::Of(component) => vec![component],
            Speaks::Named(named) => named.values().map(String::as_str).collect(),
        };
        ours.sort_unstable();
        ours.dedup();
        ours
    }
}

/// A text without its tags, in small letters: in HTML, which entries and posts hold, no word is parted by a tag.
pub fn plain(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let mut rest = html;
    while let Some((before, tag)) = rest.split_once('<') {
        text.push_str(before);
        text.push(' ');
        rest = tag.split_once('>').map_or("", |(_, after)| after);
    }
    text.push_str(rest);
    text.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_stands_by_itself_in_any_letters() {
        for (word, text, expected) in [
            ("S3", "<p>Errors of <b>S3</b></p>", true),
            ("S3", "S30 fails", false),
            ("S3", "AWS3", false),
            ("s3", "(S3)", true),
            ("eu-west-1", "In EU-WEST-1: errors", true),
            ("störung", "STÖRUNG im Netz", true),
            ("störung", "Entstörungsdienst", false),
            ("error rates", "Elevated error rates", true),
            ("障害", "障害が発生", true),
            ("[resolved]", "Service [RESOLVED]: s", true),
        ] {
            assert_eq!(Words::new(&[word.into()]).stand_in(&plain(text)), expected, "{word:?} in {text:?}");
        }
        assert!(!Words::new(&[]).stand_in("anything"));
    }

    #[test]
    fn a_page_speaks_of_what_is_named_on_it() {
        let named = [("Git Operations", "git"), ("API", "api"), ("Webhooks", "api")];
        let named = Speaks::Named(named.map(|(theirs, ours)| (theirs.into(), ours.into())).into());
        assert_eq!(named.of("api and webhooks are slow"), ["api"]);
        assert_eq!(named.of("git operations, api"), ["api", "git"]);
        assert_eq!(named.of("pages"), [""; 0]);
        assert_eq!(named.ours(), ["api", "git"]);
        assert_eq!(Speaks::Of("web".into()).of("whatever"), ["web"]);
    }
}
