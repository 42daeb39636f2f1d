//! What a template sees of a scene: names to values, in the reader's language and zone, and nothing above the clearance.
//! A fact that is absent is `null`; one that may not be read is not there at all.

use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::clean::{clean, one_line};
use super::locale::Locale;
use super::{Scene, Wording, base, times};
use crate::clock::Time;
use crate::fault::{self, Fault};
use crate::incident::{Clearance, Kind, Mode, Text};

/// Component titles named in one line, and in the body.
pub const BRIEF: usize = 3;
pub const FULL: usize = 20;

pub struct View<'a> {
    pub scene: &'a Scene<'a>,
    pub clearance: Clearance,
    pub locale: &'a Locale,
    /// The language asked for, such as `de-AT`, if it is the locale's; else the locale's.
    pub tag: String,
    pub zone: TimeZone,
}

impl<'a> View<'a> {
    pub fn new(scene: &'a Scene<'a>, wording: &Wording, locale: &'a Locale) -> View<'a> {
        let same = base(&wording.locale) == base(&locale.tag);
        View {
            scene,
            clearance: wording.clearance,
            locale,
            tag: if same { wording.locale.clone() } else { locale.tag.clone() },
            zone: times::zone(&wording.zone),
        }
    }

    /// All names with their values; lists of components at most so long.
    pub fn values(&self, most: usize) -> Value {
        let facts = self.scene.facts;
        let mut all = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            all.insert(name.into(), value.unwrap_or(Value::Null));
        };
        let text = |text: String| Some(Value::String(text));
        let services = self.locale.list(&self.services(), most);
        let words = &self.locale.words;
        put("sender", text(self.sender()));
        put("Services", text(if services.is_empty() { words.our_services_start.clone() } else { services.clone() }));
        put("services", text(if services.is_empty() { words.our_services.clone() } else { services }));
        // Not a name of its own: the helper `agree` asks for it.
        put("one", Some(Value::Bool(facts.components.len() == 1)));
        put("started", self.time(Some(self.started())));
        put("now", self.time(Some(self.scene.now)));
        let status = self.status();
        put("status", text(status.into()));
        put("status_text", self.locale.status.get(status).cloned().map(Value::String));
        put("kind", text(facts.kind.unwrap_or(Kind::Incident).word().into()));
        put("status_page", text(self.status_page()));
        put("code", text(if self.scene.mode == Mode::Real { self.scene.code.into() } else { String::new() }));
        put("check", text(self.check()));
        put("update_number", text(self.scene.update.to_string()));
        put("title", self.said(&facts.title).map(|t| Value::String(one_line(&t))));
        put("summary", self.said(&facts.summary).map(Value::String));
        put("workaround", self.said_or_marked(&facts.workaround).map(Value::String));
        put("action", self.said_or_marked(&facts.action).map(Value::String));
        put("alternatives", self.said_or_marked(&facts.alternatives).map(Value::String));
        put("support_url", facts.support_url.as_deref().and_then(web_address).map(Value::String));
        let (places, place) = self.places();
        put("places", places.map(Value::String));
        put("where", place.map(Value::String));
        put("next", self.time(self.coming(facts.next_update_at)));
        put("expected", self.time(self.coming(facts.expected_restored_at)));
        let over = facts.status.is_some_and(|status| status.ended());
        put("ended", self.time(facts.ended_at.or(over.then_some(self.scene.now))));
        let restored = facts.restored_percent.filter(|percent| *percent > 0);
        put("restored_percent", restored.map(|percent| Value::String(percent.to_string())));
        put("window_from", self.time(Some(self.started())));
        let maintenance = facts.kind == Some(Kind::Maintenance);
        put("window_to", self.time(facts.ended_at.or(facts.expected_restored_at).filter(|_| maintenance)));
        put("window_before", self.time(self.scene.window_before));
        put("data", facts.impact.data.map(|data| Value::String(data.word().into())));
        put("cause", self.cause());
        put("wrong", self.wrong());
        if self.clearance >= Clearance::Partner {
            put("severity", facts.severity.map(|severity| Value::String(severity.word().into())));
            let severity = facts.severity.and_then(|severity| self.locale.severity.get(severity.word()));
            put("severity_text", severity.cloned().map(Value::String));
            put("impact", self.impact());
            put("compensation", self.said(&facts.compensation).map(Value::String));
        }
        if self.clearance >= Clearance::Internal || fault::on(Fault::InternalFactsTold) {
            put("owner", facts.owner.as_deref().map(|owner| Value::String(one_line(&clean(owner)))));
            put("internal_notes", self.said(&facts.internal_notes).map(Value::String));
        }
        Value::Object(all)
    }

    /// Where it stands, in our own word.
    pub fn status(&self) -> &'static str {
        self.scene.facts.status.map_or("investigating", |status| status.word())
    }

    /// Since when: as said, else since it is known of.
    pub fn started(&self) -> Time {
        self.scene.facts.started_at.unwrap_or(self.scene.opened)
    }

    /// A time still to come. What was said before stays in the facts until somebody clears it, and would promise the past.
    pub fn coming(&self, time: Option<Time>) -> Option<Time> {
        time.filter(|time| *time > self.scene.now)
    }

    pub fn time(&self, time: Option<Time>) -> Option<Value> {
        time.map(|time| times::parts(time, self.scene.now, &self.zone, self.locale))
    }

    pub fn services(&self) -> Vec<String> {
        let scene = self.scene;
        scene.facts.components.iter().map(|id| self.titled(id, scene.components.get(id).map(|c| &c.title))).collect()
    }

    pub fn regions(&self) -> Vec<String> {
        let scene = self.scene;
        scene.facts.regions.iter().map(|id| self.titled(id, scene.regions.get(id).map(|r| &r.title))).collect()
    }

    /// A registered title in the reader's language, else in any; what isn't registered is called by its id.
    fn titled(&self, id: &str, title: Option<&Text>) -> String {
        let title = title.and_then(|title| {
            self.in_own_language(title).or_else(|| match title {
                Text::Plain(text) => Some(text.clone()),
                Text::ByLocale(texts) => texts.get("en").or_else(|| texts.values().next()).cloned(),
            })
        });
        one_line(&clean(&title.unwrap_or_else(|| id.to_string())))
    }

    /// The bare list and the phrase with its preposition.
    pub fn places(&self) -> (Option<String>, Option<String>) {
        let words = &self.locale.words;
        let regions = &self.scene.facts.regions;
        if regions.is_empty() {
            return (None, None);
        }
        if regions.iter().any(|region| region == "global") && !self.scene.regions.contains_key("global") {
            return (Some(words.worldwide.clone()), Some(words.worldwide.clone()));
        }
        let list = self.locale.list(&self.regions(), FULL);
        let phrase = if regions.len() == 1 { &words.where_one } else { &words.where_many };
        let phrase = phrase.replace("{places}", &list);
        (Some(list), Some(phrase))
    }

    pub fn cause(&self) -> Option<Value> {
        let cause = &self.scene.facts.cause;
        let confirmed = cause.confirmed_by.as_deref().is_some_and(|name| !name.trim().is_empty());
        if !confirmed && !fault::on(Fault::UnconfirmedCauseTold) || (cause.category.is_none() && cause.text.is_none()) {
            return None;
        }
        let category = cause.category.map_or("unknown", |category| category.word());
        Some(json!({
            "category": category,
            "name": self.locale.cause.get(category),
            "text": self.said(&cause.text),
        }))
    }

    fn impact(&self) -> Option<Value> {
        let impact = &self.scene.facts.impact;
        let functions: Vec<String> = impact.functions.iter().map(|f| one_line(&clean(f))).collect();
        if impact.users.is_none() && impact.businesses.is_none() && functions.is_empty() {
            return None;
        }
        let functions = Some(self.locale.list(&functions, FULL)).filter(|list| !list.is_empty());
        Some(json!({
            "users": impact.users.map(|n| self.locale.number(n)),
            "businesses": impact.businesses.map(|n| self.locale.number(n)),
            "functions": functions,
        }))
    }

    fn wrong(&self) -> Option<Value> {
        let wrong = self.scene.wrong.as_ref()?;
        Some(json!({
            "number": wrong.number.to_string(),
            "sent": self.time(Some(wrong.sent)),
            "said": wrong.said.and_then(|said| self.in_language(said)),
        }))
    }

    pub fn status_page(&self) -> String {
        one_line(&clean(&self.scene.sender.status_page))
    }

    /// Page and code, as an SMS ends. A drill has no code: nobody is to take it for a real message.
    pub fn check(&self) -> String {
        if self.scene.mode == Mode::Exercise {
            return self.status_page();
        }
        self.locale.words.check.replace("{page}", &self.status_page()).replace("{code}", self.scene.code)
    }

    /// Who speaks, and how to see that it is they.
    pub fn genuine(&self) -> String {
        if self.scene.mode == Mode::Exercise {
            return self.sender();
        }
        let words = self.locale.words.genuine.replace("{page}", &self.status_page());
        words.replace("{code}", self.scene.code).replace("{sender}", &self.sender())
    }

    pub fn sender(&self) -> String {
        one_line(&clean(&self.scene.sender.name))
    }

    pub fn said(&self, text: &Option<Text>) -> Option<String> {
        text.as_ref().and_then(|text| self.in_language(text))
    }

    /// A text that is plain is in the operator's language.
    fn in_language(&self, text: &Text) -> Option<String> {
        match text {
            Text::Plain(text) => {
                let own = base(&self.scene.sender.locale) == base(&self.tag);
                Some(clean(text)).filter(|text| own && !text.is_empty())
            }
            text => self.in_own_language(text),
        }
    }

    fn in_own_language(&self, text: &Text) -> Option<String> {
        let Text::ByLocale(texts) = text else { return None };
        let own = [self.tag.as_str(), base(&self.tag)].into_iter().find_map(|tag| texts.get(tag));
        let same_base = || texts.iter().find(|(tag, _)| base(tag) == base(&self.tag)).map(|(_, text)| text);
        own.or_else(same_base).map(|text| clean(text)).filter(|text| !text.is_empty())
    }

    /// What people must do is rather said in another language, marked, than not at all.
    pub fn said_or_marked(&self, text: &Option<Text>) -> Option<String> {
        if let Some(said) = self.said(text) {
            return Some(said);
        }
        let (language, text) = match text.as_ref()? {
            Text::Plain(text) => (self.scene.sender.locale.as_str(), text),
            Text::ByLocale(texts) => {
                let operators = base(&self.scene.sender.locale);
                texts
                    .get_key_value(operators)
                    .or_else(|| texts.iter().next())
                    .map(|(tag, text)| (tag.as_str(), text))?
            }
        };
        let text = clean(text);
        (!text.is_empty()).then(|| self.locale.marked(language, &text))
    }
}

/// Only whole https addresses are shown.
fn web_address(text: &str) -> Option<String> {
    let url = url::Url::parse(text.trim()).ok()?;
    (url.scheme() == "https" && url.has_host() && url.username().is_empty() && url.password().is_none())
        .then(|| clean(url.as_str()))
}
