//! A platform as a file in `channels/`: what the operator must set, what an address looks like, limits, the request, how to
//! read answers and receipts, what it depends on, and the examples that are its tests. Unknown keys are refused with their
//! place and the nearest right name; a file without an example of its request does not load.

use std::collections::BTreeMap;

use regex::Regex;
use serde::{Deserialize, Deserializer};

use super::Repeat;
use super::answer::Rule;
use super::auth::Auth;
use super::example::Example;
use super::follow::{Section, in_json, template_names};
use super::template::{Name, Part, Template};
use crate::config::{ConfigError, suggest};
use crate::quantity::{Limit, Span};
use crate::receipt::Receipts;
use crate::render::message::{Format, Markup};

/// The kinds that a plan's routes may name.
pub const KINDS: &[&str] = &["email", "sms", "voice", "chat", "push", "post", "webhook"];
const DRIVERS: &[&str] = &["http", "webhook", "smtp", "mqtt", "nats", "amqp", "kafka", "smpp", "irc", "xmpp", "outbox"];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Platform {
    /// The file's name without `.toml`.
    #[serde(skip)]
    pub name: String,
    pub title: String,
    /// The platform's own documentation, from which the file was written.
    pub docs: String,
    pub driver: String,
    pub kind: String,
    pub format: Format,
    #[serde(default = "plain")]
    pub markup: Markup,
    /// Failure domains; incidents name them in `platforms_down`.
    #[serde(default)]
    pub depends: Vec<String>,
    #[serde(default = "not_known_to_be_safe")]
    pub repeat: Repeat,
    #[serde(default)]
    pub settings: BTreeMap<String, Setting>,
    pub address: Address,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub auth: Auth,
    pub send: Option<Send>,
    /// Posts under an earlier message.
    pub reply: Option<Section>,
    /// Changes the words of an earlier message.
    pub edit: Option<Section>,
    #[serde(default, rename = "answer")]
    pub answers: Vec<Rule>,
    pub receipts: Option<Receipts>,
    #[serde(default, rename = "example")]
    pub examples: Vec<Example>,
}

fn plain() -> Markup {
    Markup::Plain
}

fn not_known_to_be_safe() -> Repeat {
    Repeat::Unsafe
}

/// Something that the operator sets in `[channels.X.settings]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    #[serde(default)]
    pub secret: bool,
    #[serde(default)]
    pub help: String,
    pub default: Option<String>,
    /// May be missing without a default: `{{settings.x?}}` is then left out.
    #[serde(default)]
    pub optional: bool,
    /// What the file's examples use.
    pub example: Option<String>,
}

impl Setting {
    /// What an example uses where it says nothing itself.
    pub fn sample(&self, name: &str) -> Option<String> {
        match (&self.example, &self.default, self.optional) {
            (Some(value), _, _) | (None, Some(value), _) => Some(value.clone()),
            (None, None, true) => None,
            (None, None, false) => Some(format!("example-{name}")),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Address {
    pub kind: String,
    #[serde(deserialize_with = "pattern")]
    pub pattern: Regex,
    pub example: String,
}

fn pattern<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Regex, D::Error> {
    use serde::de::Error;
    let text = String::deserialize(deserializer)?;
    if !text.starts_with('^') || !text.ends_with('$') {
        return Err(D::Error::custom(format!("{text:?} must begin with ^ and end with $")));
    }
    Regex::new(&text).map_err(D::Error::custom)
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    pub rate: Vec<Limit>,
    /// Channels whose account has the same value share the limits.
    pub account: Option<Template>,
    pub concurrency: Option<usize>,
    pub address: Option<Limit>,
    pub host: Host,
    pub size: Size,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Host {
    pub rate: Option<Limit>,
    pub concurrency: Option<usize>,
}

/// The largest message; what is longer is rejected before it is sent.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Size {
    pub chars: Option<usize>,
    pub segments: Option<usize>,
    pub bytes: Option<usize>,
}

/// The request. At most one of `json`, `form` and `text` is its body.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Send {
    #[serde(default = "post")]
    pub method: String,
    pub url: Template,
    #[serde(default)]
    pub query: BTreeMap<String, Template>,
    #[serde(default)]
    pub headers: BTreeMap<String, Template>,
    pub json: Option<toml::Table>,
    pub form: Option<BTreeMap<String, Template>>,
    pub text: Option<Template>,
    #[serde(default)]
    pub idempotent: Option<Idempotent>,
    #[serde(default = "patience")]
    pub timeout: Span,
}

/// Where the delivery's id travels, so that the platform drops a second try.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Idempotent {
    pub header: String,
}

fn post() -> String {
    "POST".into()
}

fn patience() -> Span {
    Span(std::time::Duration::from_secs(15))
}

impl Platform {
    /// Whether each address names a host of its own: the URL begins with it.
    pub fn is_per_host(&self) -> bool {
        let url = self.send.as_ref().and_then(|send| send.url.parts.first());
        matches!(url, Some(Part::Slot { name: Name::To, .. }))
    }

    /// Reads a file; `place` is what errors call it.
    pub fn parse(name: &str, text: &str, place: &str) -> Result<Platform, ConfigError> {
        let wrong = |line: Option<usize>, message: String| ConfigError::Wrong {
            place: line.map_or(place.to_string(), |line| format!("{place}:{line}")),
            message,
        };
        let mut platform: Platform = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            wrong(line, nearest(error.message()))
        })?;
        platform.name = name.into();
        platform.check().map_err(|(needle, message)| {
            wrong(text.lines().position(|line| !needle.is_empty() && line.contains(&needle)).map(|at| at + 1), message)
        })?;
        Ok(platform)
    }

    /// What the types cannot say. The error has a text that stands in the line at fault.
    fn check(&self) -> Result<(), (String, String)> {
        let word = |key: &str, given: &str, known: &[&'static str]| match known.contains(&given) {
            true => Ok(()),
            false => Err((
                format!("{key} "),
                format!("unknown {key} {given:?}{}; known: {}", suggest(given, known.iter().copied()), known.join(" ")),
            )),
        };
        word("driver", &self.driver, DRIVERS)?;
        word("kind", &self.kind, KINDS)?;
        self.address(&self.address.example).map_err(|error| ("example".into(), format!("address.example: {error}")))?;
        for (name, optional) in self.setting_names() {
            match self.settings.get(&name) {
                None => {
                    let near = suggest(&name, self.settings.keys().map(String::as_str));
                    return Err((format!("settings.{name}"), format!("{name:?} is not in [settings]{near}")));
                }
                Some(setting) if setting.optional && setting.default.is_none() && !optional => {
                    return Err((
                        format!("settings.{name}"),
                        format!("setting {name:?} may be missing here; write {{{{settings.{name}?}}}}"),
                    ));
                }
                Some(_) => {}
            }
        }
        let follows = self.reply.is_some() || self.edit.is_some();
        for rule in &self.answers {
            rule.check(follows).map_err(|message| ("[[answer]]".into(), message))?;
        }
        if let Some(receipts) = &self.receipts {
            receipts.check(&self.settings).map_err(|message| ("[receipts]".into(), message))?;
            if receipts.by_connection() != (self.driver == "smpp") {
                let message = "how = \"connection\" belongs to the driver smpp, and to no other";
                return Err(("[receipts]".into(), message.into()));
            }
        }
        let http = matches!(self.driver.as_str(), "http" | "webhook");
        if http && self.send.is_none() {
            return Err(("driver".into(), "this driver needs a [send]".into()));
        }
        for (section, given) in
            [("[send]", self.send.is_some()), ("[reply]", self.reply.is_some()), ("[edit]", self.edit.is_some())]
        {
            if given && !http {
                return Err((section.into(), format!("driver {:?} has no {section}", self.driver)));
            }
        }
        for (section, request) in self.requests() {
            self.check_request(section, &request)?;
        }
        Ok(())
    }

    fn check_request(&self, section: &str, send: &Send) -> Result<(), (String, String)> {
        if [send.json.is_some(), send.form.is_some(), send.text.is_some()].iter().filter(|some| **some).count() > 1 {
            return Err((format!("[{section}]"), "give one of json, form and text".into()));
        }
        if !matches!(send.method.as_str(), "GET" | "POST" | "PUT" | "PATCH") {
            return Err(("method".into(), format!("{:?} is none of GET POST PUT PATCH", send.method)));
        }
        if !self.examples.iter().any(|example| example.shows() == Some(section)) {
            let of = if section == "send" { "the request".into() } else { format!("the request [{section}]") };
            return Err((String::new(), format!("no [[example]] shows {of}; a platform without one does not load")));
        }
        let follows = template_names(send).any(|(name, _)| name.follows());
        match (section, follows) {
            ("send", true) => Err(("{{ref.".into(), "only [reply] and [edit] have an earlier message".into())),
            ("reply" | "edit", false) => {
                Err((format!("[{section}]"), "it does not say which message: {{ref.id}} or {{ref.number}}".into()))
            }
            _ => Ok(()),
        }
    }

    /// Every `settings.x` that the file reads, and whether it may be missing there.
    fn setting_names(&self) -> Vec<(String, bool)> {
        let mut templates: Vec<Template> = self.limits.account.iter().chain(self.auth.templates()).cloned().collect();
        if let Auth::Token(ask) = &self.auth {
            templates.extend(ask.json.iter().flat_map(in_json));
        }
        let requests = self.requests();
        templates
            .iter()
            .flat_map(Template::names)
            .map(|(name, optional)| (name.clone(), optional))
            .chain(requests.iter().flat_map(|(_, request)| template_names(request)))
            .filter_map(|(name, optional)| match name {
                Name::Setting(setting) => Some((setting, optional)),
                _ => None,
            })
            .collect()
    }

    /// An address as this platform takes it, without the blanks around it.
    pub fn address(&self, given: &str) -> Result<String, String> {
        let address = given.trim();
        if address.chars().any(char::is_control) {
            return Err("an address has no control characters".into());
        }
        if address.is_empty() || address.len() > 2048 {
            return Err("an address has 1 to 2048 characters".into());
        }
        if !self.address.pattern.is_match(address) {
            return Err(format!("not a usable {} address; one looks like {}", self.address.kind, self.address.example));
        }
        if self.address.kind == "url" {
            let url = url::Url::parse(address).map_err(|error| format!("not a URL: {error}"))?;
            if !url.username().is_empty() || url.password().is_some() {
                return Err("a URL with a user's name or password in it is refused".into());
            }
        }
        Ok(address.into())
    }
}

/// Adds the nearest right name to what serde says about an unknown one.
fn nearest(message: &str) -> String {
    let message = message.trim();
    let mut names = message.split('`').skip(1).step_by(2);
    match (message.strip_prefix("unknown field"), message.strip_prefix("unknown variant"), names.next()) {
        (Some(_), _, Some(given)) => match suggest(given, names) {
            near if near.is_empty() => message.into(),
            near => format!("unknown key {given:?}{near}"),
        },
        (_, Some(_), Some(given)) => format!("{message}{}", suggest(given, names)),
        _ => message.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
title = "T"
docs = "https://example.org"
driver = "http"
kind = "chat"
format = "chat"
[settings.token]
secret = true
[address]
kind = "t"
pattern = '^[a-z]+$'
example = "abc"
[send]
url = "https://t.example/{{settings.token}}/x"
json = { a = "{{text}}" }
[[example]]
to = "abc"
text = "x"
json = { a = "x" }
"#;

    fn error(from: &str, to: &str) -> String {
        assert!(WHOLE.contains(from), "{from}");
        Platform::parse("t", &WHOLE.replacen(from, to, 1), "t.toml").expect_err(to).to_string()
    }

    #[test]
    fn a_whole_file_loads_and_what_is_wrong_is_refused_with_its_line() {
        Platform::parse("t", WHOLE, "t.toml").expect("loads");
        assert_eq!(
            error("secret = true", "sekret = true"),
            "t.toml:8: unknown key \"sekret\"; did you mean \"secret\"?"
        );
        assert_eq!(
            error("{{settings.token}}", "{{settings.tokn}}"),
            "t.toml:14: \"tokn\" is not in [settings]; did you mean \"token\"?"
        );
        assert_eq!(
            error("url = \"", "url = \"{{tezt}}"),
            "t.toml:14: unknown placeholder \"tezt\"; did you mean \"text\"?"
        );
        assert!(error("a = \"{{text}}\"", "a = \"{{settings.tokn}}\"").starts_with("t.toml:15: "));
        assert!(
            error("kind = \"chat\"", "kind = \"chta\"").starts_with("t.toml:5: unknown kind \"chta\"; did you mean")
        );
        assert!(error("'^[a-z]+$'", "'[a-z]+'").starts_with("t.toml:11: "));
        assert!(error("example = \"abc\"", "example = \"123\"").contains("not a usable t address"));
        assert!(error("json = { a = \"x\" }", "").contains("does not load"));
        assert!(error("driver = \"http\"", "driver = ").starts_with("t.toml:4: "));
    }

    #[test]
    fn an_address_with_a_control_character_or_of_another_form_is_refused() {
        let platform = Platform::parse("t", WHOLE, "t.toml").expect("loads");
        assert_eq!(platform.address(" abc "), Ok("abc".into()));
        for address in ["", "ABC", "a\nb", "a\u{0}", &"a".repeat(3000)] {
            assert!(platform.address(address).is_err(), "{address:?}");
        }
    }
}
