//! A platform's requests beside `[send]`: `[reply]` posts under an earlier message, `[edit]` changes the words of one. What they do
//! not say is as `[send]` says it. Which of them a parcel takes follows from what it follows.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::file::{Platform, Send};
use super::request::Request;
use super::template::{Name, Template};
use super::{Following, Follows, Outcome, Parcel};
use crate::quantity::Span;

/// As it stands in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    method: Option<String>,
    url: Option<Template>,
    query: Option<BTreeMap<String, Template>>,
    headers: Option<BTreeMap<String, Template>>,
    json: Option<toml::Table>,
    form: Option<BTreeMap<String, Template>>,
    text: Option<Template>,
    timeout: Option<Span>,
}

impl Section {
    /// The whole request. What changes a message is no second one when it is repeated, so the id that prevents that is left out.
    fn whole(&self, send: &Send, edit: bool) -> Send {
        let mut whole = send.clone();
        let Section { method, url, query, headers, json, form, text, timeout } = self;
        set(&mut whole.method, method);
        set(&mut whole.url, url);
        set(&mut whole.query, query);
        set(&mut whole.headers, headers);
        set(&mut whole.timeout, timeout);
        if json.is_some() || form.is_some() || text.is_some() {
            (whole.json, whole.form, whole.text) = (json.clone(), form.clone(), text.clone());
        }
        whole.idempotent = whole.idempotent.filter(|_| !edit);
        whole
    }
}

fn set<T: Clone>(to: &mut T, given: &Option<T>) {
    if let Some(given) = given {
        to.clone_from(given);
    }
}

impl Platform {
    /// Every request of the file, by its section, each whole.
    pub fn requests(&self) -> Vec<(&'static str, Send)> {
        let Some(send) = &self.send else { return Vec::new() };
        let reply = self.reply.as_ref().map(|section| ("reply", section.whole(send, false)));
        let edit = self.edit.as_ref().map(|section| ("edit", section.whole(send, true)));
        [("send", send.clone())].into_iter().chain(reply).chain(edit).collect()
    }
}

/// What a request reads, and whether it may be missing there.
pub(super) fn template_names(send: &Send) -> impl Iterator<Item = (Name, bool)> {
    let own = send.query.values().chain(send.headers.values()).chain(&send.text).chain([&send.url]);
    let own = own.chain(send.form.iter().flat_map(BTreeMap::values)).cloned();
    let all: Vec<Template> = own.chain(send.json.iter().flat_map(in_json)).collect();
    all.into_iter()
        .flat_map(|template| template.names().map(|(name, optional)| (name.clone(), optional)).collect::<Vec<_>>())
}

pub(super) fn in_json(json: &toml::Table) -> Vec<Template> {
    let mut texts = Vec::new();
    super::body::strings(&toml::Value::Table(json.clone()), &mut texts);
    texts.iter().filter_map(|text| Template::parse(text).ok()).collect()
}

/// A channel's requests.
pub struct Requests {
    pub send: Request,
    reply: Option<Request>,
    edit: Option<Request>,
}

impl Requests {
    pub fn new(
        platform: &Platform,
        setting: &dyn Fn(&str) -> Option<String>,
        callback: String,
    ) -> Result<Requests, String> {
        let (mut reply, mut edit) = (None, None);
        for (section, of) in platform.requests() {
            let request = || Request::of(platform, &of, setting, callback.clone());
            match section {
                "reply" => reply = Some(request()?),
                "edit" => edit = Some(request()?),
                _ => {}
            }
        }
        Ok(Requests { send: Request::new(platform, setting, callback)?, reply, edit })
    }

    pub fn following(&self) -> Following {
        Following { reply: self.reply.is_some(), edit: self.edit.is_some() }
    }

    /// The request of a parcel, and the message that it follows. Where the platform cannot, it is a message of its own.
    pub fn of<'a>(&self, parcel: &'a Parcel) -> (&Request, Option<&'a Follows>) {
        let request = match &parcel.follows {
            None => None,
            Some(Follows::Reply(_)) => self.reply.as_ref(),
            Some(Follows::Edit(_)) => self.edit.as_ref(),
        };
        request.map_or((&self.send, None), |request| (request, parcel.follows.as_ref()))
    }
}

/// The words of an edited message stand where they stood, whatever the platform calls the change.
pub fn settled(outcome: Outcome, follows: Option<&Follows>) -> Outcome {
    match (outcome, follows) {
        (Outcome::Accepted { .. }, Some(Follows::Edit(reference))) => {
            Outcome::Accepted { reference: Some(reference.clone()) }
        }
        (outcome, _) => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::example::Example;
    use crate::channel::kit::{callback, samples};
    use crate::channel::platforms::Platforms;

    fn parcel(follows: Option<Follows>) -> Parcel {
        Parcel { follows, ..Example::default().parcel("C0123456789") }
    }

    #[test]
    fn a_parcel_takes_the_request_of_what_it_follows_and_is_sent_anew_where_the_platform_can_not() {
        let platforms = Platforms::load(None).expect("the embedded files load");
        let requests = |name: &str| {
            let platform = platforms.get(name).expect("a platform");
            let own = BTreeMap::new();
            let setting = samples(platform, &own);
            Requests::new(platform, &setting, callback(platform)).expect("requests")
        };
        let slack = requests("slack");
        assert_eq!(slack.following(), Following { reply: true, edit: true });
        let (reply, edit) = (Follows::Reply("C1/1.2".into()), Follows::Edit("C1/1.2".into()));
        let path = |requests: &Requests, follows: Option<Follows>| {
            let parcel = parcel(follows);
            let (request, follows) = requests.of(&parcel);
            let built = request.build(&parcel, crate::clock::Time(0)).unwrap_or_else(|outcome| panic!("{outcome:?}"));
            (built.request.uri().path().to_string(), follows.cloned())
        };
        assert_eq!(path(&slack, None), ("/api/chat.postMessage".into(), None));
        assert_eq!(path(&slack, Some(reply.clone())), ("/api/chat.postMessage".into(), Some(reply.clone())));
        assert_eq!(path(&slack, Some(edit.clone())), ("/api/chat.update".into(), Some(edit)));
        let rocketchat = requests("rocketchat");
        assert_eq!(rocketchat.following(), Following::default());
        assert_eq!(path(&rocketchat, Some(reply)).1, None);
    }

    #[test]
    fn the_words_of_an_edited_message_are_known_by_what_they_were_known_by() {
        let accepted = |reference: &str| Outcome::Accepted { reference: Some(reference.into()) };
        assert_eq!(settled(accepted("$2"), Some(&Follows::Edit("$1".into()))), accepted("$1"));
        assert_eq!(settled(accepted("$2"), Some(&Follows::Reply("$1".into()))), accepted("$2"));
        assert_eq!(settled(accepted("$2"), None), accepted("$2"));
        let refused = Outcome::Unknown { detail: "HTTP 200".into() };
        assert_eq!(settled(refused.clone(), Some(&Follows::Edit("$1".into()))), refused);
    }
}
