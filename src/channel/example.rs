//! Examples of a platform file: a parcel and the request that it must make; an answer, or a report of the platform's, and what
//! it must mean.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::answer::Then;
use super::{Fault, Follows, Holds, Parcel};
use crate::quantity::Span;
use crate::render::message::{Filled, Message};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Example {
    // the parcel
    pub id: Option<String>,
    pub to: Option<String>,
    pub text: Option<String>,
    pub title: Option<String>,
    pub html: Option<String>,
    pub status: Option<String>,
    pub unsubscribe_url: Option<String>,
    pub urgent: bool,
    pub secrets: Vec<String>,
    /// The reference of the earlier message under which it is posted.
    pub reply: Option<String>,
    /// Of the one whose words it changes.
    pub edit: Option<String>,
    /// In place of the samples of `[settings]`.
    pub settings: BTreeMap<String, String>,

    // the request
    pub method: Option<String>,
    /// Without the query, where `query` is given.
    pub url: Option<String>,
    pub query: Option<BTreeMap<String, String>>,
    pub headers: BTreeMap<String, String>,
    pub json: Option<Value>,
    pub form: Option<BTreeMap<String, String>>,
    pub body: Option<String>,

    // an answer or a report, and what it means
    pub answer: Option<ExampleAnswer>,
    pub receipt: Option<ExampleReceipt>,
    pub then: Option<String>,
    pub fault: Option<Fault>,
    pub holds: Option<Holds>,
    pub after: Option<Span>,
    pub throttled: Option<bool>,
    #[serde(rename = "ref")]
    pub reference: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExampleAnswer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Option<String>,
    pub json: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExampleReceipt {
    pub query: BTreeMap<String, String>,
    pub form: Option<BTreeMap<String, String>>,
    pub json: Option<Value>,
    pub mail: Option<String>,
}

/// The id of examples that name none.
pub const ID: &str = "dlv_1_2_3_example000";

impl Example {
    /// The section of the request that it shows.
    pub fn shows(&self) -> Option<&'static str> {
        let shown = self.url.is_some()
            || self.query.is_some()
            || self.json.is_some()
            || self.form.is_some()
            || self.body.is_some()
            || !self.headers.is_empty();
        let request = match self.follows() {
            None => "send",
            Some(Follows::Reply(_)) => "reply",
            Some(Follows::Edit(_)) => "edit",
        };
        (self.to.is_some() && shown && self.answer.is_none() && self.receipt.is_none()).then_some(request)
    }

    pub fn follows(&self) -> Option<Follows> {
        let edit = self.edit.clone().map(Follows::Edit);
        edit.or_else(|| self.reply.clone().map(Follows::Reply))
    }

    /// The parcel; what the example does not say is `to`.
    pub fn parcel(&self, to: &str) -> Parcel {
        Parcel {
            id: self.id.clone().unwrap_or(ID.into()),
            broadcast: None,
            incident: None,
            to: self.to.as_deref().unwrap_or(to).into(),
            secrets: self.secrets.clone(),
            message: Arc::new(self.message()),
            name: None,
            unsubscribe_url: self.unsubscribe_url.clone(),
            urgent: self.urgent,
            follows: self.follows(),
            at: crate::clock::Time(0),
        }
    }

    fn message(&self) -> Message {
        let words = Filled {
            title: self.title.clone(),
            text: self.text.clone().unwrap_or("Hello.".into()),
            html: self.html.clone(),
            locale: "en".into(),
        };
        Message { status: self.status.clone(), ..words.into() }
    }

    pub fn outcome(&self) -> Result<Then, String> {
        self.then.as_deref().ok_or("the example does not say what the answer means: then")?.parse()
    }
}

impl ExampleAnswer {
    pub fn bytes(&self) -> Vec<u8> {
        match (&self.json, &self.body) {
            (Some(json), _) => json.to_string().into_bytes(),
            (None, Some(body)) => body.clone().into_bytes(),
            (None, None) => Vec::new(),
        }
    }
}
