//! Where a request goes: a URL, parsed; and the origins met before, so that of most URLs only the path is new.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hyper::Uri;
use hyper::header::HeaderValue;
use hyper::http::uri::PathAndQuery;

/// Scheme, host and port: what connections are kept by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    pub secure: bool,
    pub host: url::Host<String>,
    pub port: u16,
}

/// A parsed URL.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    pub origin: Arc<Origin>,
    pub authority: HeaderValue,
    pub path: Uri,
}

impl Place {
    pub fn parse(text: &str) -> Result<Place, String> {
        let url = url::Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
        let secure = match url.scheme() {
            "https" => true,
            "http" => false,
            scheme => return Err(format!("{scheme:?} is neither http nor https")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a URL with a user's name or password in it is refused".into());
        }
        let host = url.host().ok_or("the URL has no host")?.to_owned();
        let port = url.port_or_known_default().ok_or("the URL has no port")?;
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_string(),
        };
        let path = PathAndQuery::try_from(path).map_err(|error| error.to_string())?;
        Ok(Place {
            origin: Arc::new(Origin { secure, host, port }),
            authority: HeaderValue::from_maybe_shared(Bytes::from(authority)).map_err(|error| error.to_string())?,
            path: Uri::from(path),
        })
    }
}

/// Origins that are remembered at one time.
const ORIGINS: usize = 4096;

/// What URLs begin with, as it was written, and what it means.
#[derive(Default)]
pub struct Origins(Mutex<HashMap<String, Place>>);

impl Origins {
    /// As `Place::parse`.
    pub fn place(&self, text: &str) -> Result<Place, String> {
        let Some((origin, path)) = normal(text) else { return Place::parse(text) };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = match known.get(origin) {
            Some(place) => place,
            None => {
                let place = Place::parse(origin)?;
                if known.len() >= ORIGINS {
                    known.clear();
                }
                known.entry(origin.into()).or_insert(place)
            }
        };
        let path = PathAndQuery::from_maybe_shared(Bytes::copy_from_slice(path.as_bytes()));
        Ok(Place { path: Uri::from(path.map_err(|error| error.to_string())?), ..place.clone() })
    }
}

/// Origin and path of a URL whose path a parser would leave as it stands: it has nothing to encode, no dots to resolve, no
/// fragment.
fn normal(text: &str) -> Option<(&str, &str)> {
    let after = text.find("://")? + 3;
    let path = after + text[after..].bytes().position(|b| matches!(b, b'/' | b'?' | b'#' | b'\\'))?;
    let stays = |b: u8| b.is_ascii_alphanumeric() || b"-_~!$&()*+,;=:@/?%.".contains(&b);
    let (origin, path) = text.split_at(path);
    let dots = || path.split(['/', '?']).any(|part| part.starts_with('.') || part.starts_with("%2"));
    (origin.len() > after && path.starts_with('/') && path.bytes().all(stays) && !dots()).then_some((origin, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remembered_origin_gives_what_the_parser_gives() {
        let origins = Origins::default();
        let texts = [
            "https://a.example/hook",
            "https://A.example:443/hook?a=b&c=%20",
            "http://a.example:8080/x/./y",
            "http://[::1]:80/%2e%2e/z",
            "https://a.example/../b",
            "https://a.example",
            "https://a.example?x",
            "https://a.example/x#y",
            "https://ü.example/x",
            "https://a.example/ü",
            "https://a.example/a'b",
            "https://a.example/a?b'c",
            "https://a.example\\x",
            "https://a.example/a b",
            "https://u:p@a.example/x",
            "ftp://a.example/x",
            "https:///x",
            "https://a.example/.well-known/x",
            "https://a.example/a..b/c.",
            "https://a.example/a/..",
            "https://a.example/{x}",
            "https://a.example/x?.",
            "https://127.1/x",
            "not a url",
            "http://a.example:x/",
        ];
        for text in texts.into_iter().chain(texts) {
            let (expected, found) = (Place::parse(text), origins.place(text));
            assert_eq!(found.ok(), expected.ok(), "{text}");
        }
    }
}
