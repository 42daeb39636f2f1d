//! One question to a page, politely: it says who asks and what is known already, takes no more than a page may hold, and follows a
//! few redirects, each past the guard of webhooks.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::HeaderMap;
use hyper::Request;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, ETAG, HOST, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED, LOCATION, USER_AGENT,
};
use serde::{Deserialize, Serialize};

use super::settings::{Reads, Settings};
use crate::channel::guard::{Guard, Network};
use crate::channel::place::Place;
use crate::channel::pool::{Failure, Pool};
use crate::channel::tls::Tls;

/// Of a page.
const BODY: usize = 2 << 20;
const REDIRECTS: usize = 5;
/// Of what a page says to know it again by.
const VALIDATOR: usize = 512;

const ACCEPTED: &str = "application/json, application/atom+xml, application/rss+xml, application/cap+xml, application/xml;q=0.9, \
                        text/xml;q=0.9, */*;q=0.1";

/// What a page said to know it again by.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Validators {
    pub etag: Option<String>,
    pub modified: Option<String>,
}

impl Validators {
    pub fn of(headers: &HeaderMap) -> Validators {
        let said = |name: HeaderName| {
            let value = headers.get(name)?.to_str().ok()?;
            (value.len() <= VALIDATOR).then(|| value.to_string())
        };
        Validators { etag: said(ETAG), modified: said(LAST_MODIFIED) }
    }
}

pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// Where it came from, after redirects.
    pub url: String,
}

#[derive(Debug)]
pub enum Unanswered {
    /// The page cannot be reached, or does not answer as it should.
    Away(&'static str),
    /// We may not go there, or it sends us around.
    Refused(String),
}

pub struct Asker {
    pool: Pool,
    agent: HeaderValue,
    /// With the one origin that it is for.
    token: Option<(String, HeaderValue)>,
    /// A status that is an answer, although it leads elsewhere.
    wanted: Option<u16>,
}

impl Asker {
    pub fn new(settings: &Settings, network: Arc<dyn Network>, public_url: &str) -> Result<Asker, String> {
        let tls = match &settings.ca_file {
            Some(file) => Tls::with_authorities(Path::new(file)).map_err(|error| format!("ca_file: {error}"))?,
            None => Tls::default(),
        };
        let guard = if settings.allow_private { Guard::Open } else { Guard::PublicOnly };
        let agent = match public_url {
            "" => format!("Loudhailer/{}", env!("CARGO_PKG_VERSION")),
            url => format!("Loudhailer/{} (+{url})", env!("CARGO_PKG_VERSION")),
        };
        let token = settings.token.as_ref().map(|token| {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose())).map_err(|e| e.to_string())?;
            value.set_sensitive(true);
            Ok::<_, String>((origin(settings.url.expose()), value))
        });
        Ok(Asker {
            pool: Pool::new(network, guard, tls, 1, settings.patience).reading(BODY),
            agent: HeaderValue::from_str(&agent).map_err(|error| format!("server.public_url: {error}"))?,
            token: token.transpose()?,
            wanted: match settings.reads {
                Reads::Url { status, .. } => Some(status),
                _ => None,
            },
        })
    }

    /// Asks for `url`, with what it is known by.
    pub async fn ask(&self, url: &str, known: &Validators) -> Result<Answer, Unanswered> {
        let mut url = url.to_string();
        for _ in 0..=REDIRECTS {
            let place = Place::parse(&url).map_err(Unanswered::Refused)?;
            let request = self.request(&url, &place, known);
            let received = self.pool.exchange(&place.origin, request).await.map_err(|failure| match failure {
                Failure::NotSent(why) | Failure::Lost(why) => Unanswered::Away(why),
                Failure::Forbidden(why) => {
                    Unanswered::Refused(format!("it leads to {why}, which is not asked unless allow_private = true"))
                }
            })?;
            let leads = matches!(received.status, 301 | 302 | 303 | 307 | 308) && self.wanted != Some(received.status);
            match received.headers.get(LOCATION).filter(|_| leads) {
                Some(to) => url = next(&url, to)?,
                None if !received.whole => {
                    return Err(Unanswered::Refused(format!("its answer is longer than {} MiB", BODY >> 20)));
                }
                None => {
                    return Ok(Answer { status: received.status, headers: received.headers, body: received.body, url });
                }
            }
        }
        Err(Unanswered::Refused(format!("it leads on and on: more than {REDIRECTS} redirects")))
    }

    fn request(&self, url: &str, place: &Place, known: &Validators) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = place.path.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, place.authority.clone());
        headers.insert(USER_AGENT, self.agent.clone());
        headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        for (name, value) in [(IF_NONE_MATCH, &known.etag), (IF_MODIFIED_SINCE, &known.modified)] {
            if let Some(value) = value.as_ref().and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(name, value);
            }
        }
        if let Some((of, token)) = &self.token
            && *of == origin(url)
        {
            headers.insert(AUTHORIZATION, token.clone());
        }
        request
    }
}

/// Scheme, host and port.
fn origin(url: &str) -> String {
    url::Url::parse(url).map(|url| url.origin().ascii_serialization()).unwrap_or_default()
}

/// Where a redirect leads. Nobody is to read along what was asked for in secret.
fn next(from: &str, to: &HeaderValue) -> Result<String, Unanswered> {
    let refuse = |why: &str| Unanswered::Refused(format!("it leads elsewhere, {why}"));
    let to = to.to_str().map_err(|_| refuse("and does not say where"))?;
    let from = url::Url::parse(from).map_err(|_| refuse("and does not say where"))?;
    let to = from.join(to).map_err(|_| refuse("and does not say where"))?;
    match (from.scheme(), to.scheme()) {
        ("https", "http") => Err(refuse("from https to http")),
        _ => Ok(to.into()),
    }
}
