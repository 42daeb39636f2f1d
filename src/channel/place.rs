//! Where a request goes: a URL, parsed once.

use std::sync::Arc;

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
#[derive(Debug)]
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
