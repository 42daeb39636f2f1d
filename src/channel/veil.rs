//! Covers the secrets of a channel in a text, in every form in which a request can have them: as they are, escaped for a path,
//! a query, a form or JSON, and in base64. The longest goes first, so that no part of one is left beside another.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::exchange::COVERED;
use super::pieces::{Position, escape};
use super::registry::Channel;
use super::template::{Name, Template};

pub struct Veil(Vec<String>);

impl Veil {
    /// Over what the platform's file calls secret, and what its `[auth]` says who we are by.
    pub fn of(channel: &Channel) -> Veil {
        let of_auth = channel.platform.auth.secrets().into_iter().flat_map(Template::names);
        let of_auth = of_auth.filter_map(|(name, _)| match name {
            Name::Setting(setting) => channel.settings.get(setting),
            _ => None,
        });
        Veil::over(channel.secrets().map(|(_, secret)| secret).chain(of_auth.map(String::as_str)))
    }

    fn over<'a>(secrets: impl Iterator<Item = &'a str>) -> Veil {
        let mut forms: Vec<String> = secrets.flat_map(forms).filter(|form| !form.is_empty()).collect();
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        forms.dedup();
        Veil(forms)
    }

    pub fn covers(&self, text: &str) -> String {
        self.0.iter().fold(text.to_string(), |text, secret| match text.contains(secret.as_str()) {
            true => text.replace(secret.as_str(), COVERED),
            false => text,
        })
    }
}

fn forms(secret: &str) -> Vec<String> {
    let escaped = |position| {
        let mut out = Vec::new();
        escape(secret, position, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    };
    // A setting that a URL begins with stands there without its last slashes.
    let begins = secret.trim_end_matches('/').to_string();
    let form = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let positions = [Position::Raw, Position::Path, Position::Query, Position::Json, Position::Header];
    positions.into_iter().map(escaped).chain([begins, form, STANDARD.encode(secret)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_covered_in_every_form_that_a_request_can_have() {
        let secret = "tö \"k/n=1";
        let veil = Veil::over([secret, "tö"].into_iter());
        for form in forms(secret) {
            let covered = veil.covers(&format!("before {form} after"));
            assert_eq!(covered, "before *** after", "{form}");
        }
        assert_eq!(veil.covers("nothing of it"), "nothing of it");
        assert_eq!(Veil::over(["", "a"].into_iter()).covers("b"), "b");
    }
}
