//! From a file's `[send]` and `[auth]`, with the operator's settings in place, to the requests themselves. What no parcel
//! changes is made once; a request then costs its own values. Bodies are built as values and their strings filled in, so that
//! no text can break the JSON.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Uri};
use ring::hmac;

use super::auth::{Auth, Encoding, basic};
use super::body::{body, members, needs};
use super::file::{Platform, Send, Size};
use super::oauth1::Oauth1;
use super::pieces::{Pieces, Position, Values};
use super::place::{Origin, Origins, Place};
use super::sigv4::Sigv4;
use super::template::{Name, Part, Template};
use super::webpush::Vapid;
use super::{Fault, Outcome, Parcel, webhook};
use crate::clock::Time;

/// What we call ourselves.
pub const USER: HeaderValue = HeaderValue::from_static(concat!("Loudhailer/", env!("CARGO_PKG_VERSION")));

pub struct Built {
    pub origin: Arc<Origin>,
    pub request: hyper::Request<Full<Bytes>>,
}

enum Url {
    /// The origin is the platform's; `path` is what follows it.
    Fixed { place: Place, path: Option<Pieces> },
    /// The parcel's address is the URL.
    OfParcel { url: Pieces, origins: Origins },
}

enum Sign {
    Nothing,
    Body { key: Box<hmac::Key>, header: HeaderName, prefix: String, encoding: Encoding },
    Webhook,
    Sigv4(Box<Sigv4>),
    Webpush(Box<Vapid>),
    Oauth1(Box<Oauth1>),
}

/// A platform's request with the settings of one channel.
pub struct Request {
    method: Method,
    url: Url,
    headers: HeaderMap,
    /// Headers that a parcel changes, with the values without which one is left out.
    varying: Vec<(HeaderName, Vec<Name>, Pieces)>,
    body: Pieces,
    sign: Sign,
    size: Size,
    callback: String,
    /// References say where the message stands, before the last `/`.
    placed: bool,
}

impl Request {
    /// `callback` is where receipts of this channel go, as far as `delivery=`.
    pub fn new(
        platform: &Platform,
        setting: &dyn Fn(&str) -> Option<String>,
        callback: String,
    ) -> Result<Request, String> {
        let send = platform.send.as_ref().ok_or("the platform has no [send]")?;
        Request::of(platform, send, setting, callback)
    }

    /// As another section of the file has it.
    pub fn of(
        platform: &Platform,
        send: &Send,
        setting: &dyn Fn(&str) -> Option<String>,
        callback: String,
    ) -> Result<Request, String> {
        let need = |template: &Template| template.constant(setting).ok_or("a setting is missing".to_string());
        let mut headers = HeaderMap::new();
        let mut varying = Vec::new();
        headers.insert(USER_AGENT, USER);
        let (body, content_type) = body(send, setting)?;
        if let Some(content_type) = content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        let mut query: Vec<(&str, Template)> = send.query.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
        let mut sign = if platform.driver == "webhook" { Sign::Webhook } else { Sign::Nothing };
        match &platform.auth {
            // A token is put in once there is one.
            Auth::None | Auth::Token(_) => {}
            Auth::Basic { user, password } => {
                headers.insert(AUTHORIZATION, secret(&basic(&need(user)?, &need(password)?))?);
            }
            // An optional token that is not set leaves the header out.
            Auth::Bearer { token } => {
                if let Some(token) = token.constant(setting) {
                    headers.insert(AUTHORIZATION, secret(&format!("Bearer {token}"))?);
                }
            }
            Auth::Header { name, value } => {
                if let Some(value) = value.constant(setting) {
                    headers.insert(header(name)?, secret(&value)?);
                }
            }
            Auth::Query { name, value } => query.push((name, value.clone())),
            Auth::Hmac { alg, header: name, key, prefix, encoding } => {
                let key = Box::new(alg.key(need(key)?.as_bytes()));
                sign = Sign::Body { key, header: header(name)?, prefix: prefix.clone(), encoding: *encoding };
            }
            Auth::Oauth1 { consumer, consumer_secret, token, token_secret } => {
                let secrets = (need(consumer_secret)?, need(token_secret)?);
                let signer = Oauth1::new(need(consumer)?, &secrets.0, need(token)?, &secrets.1);
                sign = Sign::Oauth1(Box::new(signer));
            }
            Auth::Webpush { public, private, subject } => {
                let vapid = Vapid::new(&need(public)?, &need(private)?, &need(subject)?)?;
                sign = Sign::Webpush(Box::new(vapid));
            }
            Auth::Sigv4 { service, region, key_id, secret, session } => {
                let session = session.as_ref().and_then(|session| session.constant(setting));
                let signer = Sigv4::new(need(key_id)?, need(secret)?, session, need(region)?, service.clone());
                sign = Sign::Sigv4(Box::new(signer));
            }
        }
        let id = Template { parts: vec![Part::Slot { name: Name::Id, optional: false }] };
        let idempotent = send.idempotent.iter().map(|idempotent| (&idempotent.header, &id));
        for (name, template) in send.headers.iter().chain(idempotent) {
            let mut pieces = Pieces::default();
            if pieces.template(template, Position::Header, setting) {
                match pieces.constant() {
                    Some(value) => drop(headers.insert(header(name)?, header_value(value)?)),
                    None => varying.push((header(name)?, needs(template), pieces)),
                }
            }
        }
        let url = url(&send.url, &query, setting)?;
        let method = send.method.parse().map_err(|_| format!("{:?} is no method", send.method))?;
        let placed = platform.answers.iter().any(|rule| rule.reference.as_ref().is_some_and(|of| of.to.is_some()));
        Ok(Request { method, url, headers, varying, body, sign, size: platform.limits.size, callback, placed })
    }

    /// Whether each parcel's address names its own host.
    pub fn is_per_host(&self) -> bool {
        matches!(self.url, Url::OfParcel { .. })
    }

    /// Whether a parcel's unsubscribe link stands in it, beside the words.
    pub fn unsubscribes(&self) -> bool {
        let name = Name::UnsubscribeUrl;
        let url = match &self.url {
            Url::Fixed { path, .. } => path.as_ref(),
            Url::OfParcel { url, .. } => Some(url),
        };
        self.varying.iter().map(|(_, _, pieces)| pieces).chain([&self.body]).chain(url).any(|p| p.names(&name))
    }

    /// The request for one parcel. The error is an outcome: such a parcel can never be sent.
    pub fn build(&self, parcel: &Parcel, now: Time) -> Result<Built, Outcome> {
        let mut filled = parcel.filled();
        let reference = parcel.follows.as_ref().map(|follows| self.reference(follows.reference(), &parcel.to));
        let values = Values { parcel, filled: &filled, reference, callback: &self.callback };
        let missing = |name| message_fault(format!("the message has no {name}"));
        if self.size.chars.is_some_and(|most| longer_than(&filled.text, most)) {
            return Err(message_fault("the message is longer than the platform takes".into()));
        }
        // Beside these the host, three of a signature, and the length.
        let mut headers = HeaderMap::with_capacity(self.headers.len() + self.varying.len() + 5);
        headers.extend(self.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        for (name, needs, pieces) in &self.varying {
            if needs.iter().all(|name| values.has(name)) {
                let mut value = Vec::new();
                pieces.write(&values, &mut value).map_err(missing)?;
                headers.insert(name, header_value(value).map_err(message_fault)?);
            }
        }
        let Place { origin, authority, path } = self.place(&values).map_err(message_or_address)?;
        headers.insert(HOST, authority);
        let mut body = match self.body.is_text() {
            true => std::mem::take(&mut filled.text).into_bytes(),
            false => {
                let mut body = Vec::with_capacity(filled.text.len() + 256);
                self.body.write(&values, &mut body).map_err(missing)?;
                body
            }
        };
        if self.size.bytes.is_some_and(|most| body.len() > most) {
            return Err(message_fault("the message is larger than the platform takes".into()));
        }
        match &self.sign {
            Sign::Nothing => {}
            Sign::Body { key, header, prefix, encoding } => {
                let value = format!("{prefix}{}", encoding.write(hmac::sign(key, &body).as_ref()));
                headers.insert(header, header_value(value.into_bytes()).map_err(message_fault)?);
            }
            Sign::Webhook => webhook::sign(parcel, &body, now, &mut headers)?,
            Sign::Oauth1(signer) => {
                let value = signer.authorization(&self.method, &origin, &path, now).map_err(message_fault)?;
                headers.insert(AUTHORIZATION, value);
            }
            Sign::Webpush(vapid) => body = vapid.seal(&parcel.to, &body, &origin, now, &mut headers)?,
            Sign::Sigv4(signer) => {
                signer.sign(&self.method, &path, &body, now, &mut headers).map_err(message_fault)?;
            }
        }
        let mut request = hyper::Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = path;
        *request.headers_mut() = headers;
        Ok(Built { origin, request })
    }

    /// What a message is known by, and where it stands: where the answer said nothing of that, at the address.
    fn reference<'a>(&self, text: &'a str, to: &'a str) -> (&'a str, &'a str) {
        match text.rsplit_once('/').filter(|_| self.placed) {
            Some((place, id)) => (id, place),
            None => (text, to),
        }
    }

    fn place(&self, values: &Values<'_>) -> Result<Place, Wrong> {
        match &self.url {
            Url::Fixed { place, path: None } => Ok(place.clone()),
            Url::Fixed { place, path: Some(pieces) } => {
                let mut path = Vec::with_capacity(512);
                pieces.write(values, &mut path).map_err(|_| Wrong::Message)?;
                let path = PathAndQuery::from_maybe_shared(Bytes::from(path)).map_err(|_| Wrong::Message)?;
                Ok(Place { path: Uri::from(path), ..place.clone() })
            }
            Url::OfParcel { url, origins } => {
                let mut text = Vec::with_capacity(values.parcel.to.len());
                url.write(values, &mut text).map_err(|_| Wrong::Message)?;
                let text = std::str::from_utf8(&text).map_err(|_| Wrong::Address)?;
                origins.place(text).map_err(|_| Wrong::Address)
            }
        }
    }
}

enum Wrong {
    Message,
    Address,
}

fn message_or_address(wrong: Wrong) -> Outcome {
    match wrong {
        Wrong::Message => message_fault("the message does not fit into a URL".into()),
        Wrong::Address => Outcome::Rejected { fault: Fault::Address, detail: "the address is no usable URL".into() },
    }
}

fn message_fault(detail: String) -> Outcome {
    Outcome::Rejected { fault: Fault::Message, detail }
}

fn longer_than(text: &str, most: usize) -> bool {
    text.len() > most && text.chars().count() > most
}

fn url(
    template: &Template,
    query: &[(&str, Template)],
    setting: &dyn Fn(&str) -> Option<String>,
) -> Result<Url, String> {
    let mut pieces = Pieces::default();
    let mut rest = template.clone();
    // A placeholder at the very beginning is a URL or the beginning of one, and stands as it is.
    match template.parts.first() {
        Some(Part::Slot { name: Name::Setting(name), .. }) => {
            pieces.bytes(setting(name).ok_or("a setting is missing")?.trim_end_matches('/').as_bytes());
            rest.parts.remove(0);
        }
        Some(Part::Slot { name, .. }) => {
            pieces.slot(name.clone(), Position::Raw);
            rest.parts.remove(0);
        }
        _ => {}
    }
    if !pieces.template(&rest, Position::Path, setting) {
        return Err("a setting is missing".into());
    }
    if !query.is_empty() {
        pieces.bytes(b"?");
        pieces.append(members(query, setting));
    }
    if pieces.first_is(&Name::To) {
        if !query.is_empty() {
            return Err("an address that is the URL has its own query".into());
        }
        return Ok(Url::OfParcel { url: pieces, origins: Origins::default() });
    }
    let prefix = String::from_utf8_lossy(pieces.prefix()).into_owned();
    let whole = pieces.constant().is_some();
    let origin = prefix.find("://").and_then(|at| {
        let after = &prefix[at + 3..];
        let end = after.find(['/', '?']).or(whole.then_some(after.len()))?;
        Some(at + 3 + end)
    });
    let Some(origin) = origin else {
        return Err(format!("{prefix:?} does not begin with http:// or https:// and a host"));
    };
    if whole {
        return Ok(Url::Fixed { place: Place::parse(&prefix)?, path: None });
    }
    let place = Place::parse(&prefix[..origin])?;
    if !prefix[origin..].starts_with('/') {
        return Err(format!("{prefix:?} has no path"));
    }
    Ok(Url::Fixed { place, path: Some(pieces.without_first(origin)) })
}

fn header(name: &str) -> Result<HeaderName, String> {
    HeaderName::try_from(name).map_err(|_| format!("{name:?} is no name of a header"))
}

fn header_value(bytes: Vec<u8>) -> Result<HeaderValue, String> {
    HeaderValue::from_maybe_shared(Bytes::from(bytes)).map_err(|_| "a value does not fit into a header".into())
}

pub fn secret(text: &str) -> Result<HeaderValue, String> {
    let mut value = header_value(text.as_bytes().to_vec())?;
    value.set_sensitive(true);
    Ok(value)
}
