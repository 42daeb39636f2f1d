//! What the operator sets for an SMTP channel, checked. Errors name the setting.

#[cfg(test)]
pub(super) mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lettre::Address;
use lettre::message::Mailbox;
use lettre::transport::smtp::extension::ClientId;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, crypto::CryptoProvider};
use url::{Host, Url};

use super::dkim::Signer;
use super::token;
use crate::config::{Secret, Sender};
use crate::quantity::Span;

const NAMES: [&str; 17] = [
    "url",
    "tls",
    "ca_file",
    "auth",
    "username",
    "password",
    "token_file",
    "from",
    "return_path",
    "dsn",
    "maildir",
    "dkim_domain",
    "dkim_selector",
    "dkim_key_file",
    "list_id",
    "ehlo",
    "timeout",
];

/// What `return_path` may have in it.
const DELIVERY: &str = "{delivery}";
/// As long as the id of a delivery gets: what stands around it has 16 of the 64 characters of RFC 5321 section 4.5.3.1.1.
const LONGEST_ID: &str = "dlv_00000000_00000000000_00000_0123456789abcdef0";

/// When TLS begins, and whether mail goes without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tls {
    /// `tls = "none"`: for a relay on the same machine.
    None,
    /// `tls = "starttls"`: where the server offers it.
    Offered,
    /// `tls = "required"`: STARTTLS, or no mail.
    Required,
    /// `smtps://`: from the first byte.
    Implicit,
}

/// How we say who we are.
pub(super) enum Login {
    Password {
        user: String,
        password: Secret,
    },
    /// Whoever renews the token writes the file.
    Token {
        user: String,
        file: PathBuf,
    },
}

/// What relays that know DSN (RFC 3461) are asked to report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dsn {
    Failure,
    Success,
}

/// Where bounces go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReturnPath {
    /// Without angle brackets; empty is the null sender.
    Same(String),
    /// What stands before and after a delivery's id.
    Each(String, String),
}

impl ReturnPath {
    fn read(text: &str) -> Option<ReturnPath> {
        // A brace may stand in an address, but hardly does: it is a name that was mistyped.
        let address = |text: &str| address(text).filter(|_| !text.contains(['{', '}']));
        match text.split_once(DELIVERY) {
            None => Some(ReturnPath::Same(address(text)?.to_string())),
            Some((before, after)) => {
                let longest = address(&format!("{before}{LONGEST_ID}{after}"))?;
                let fits = longest.user().len() <= 64 && !longest.domain().contains(LONGEST_ID);
                fits.then(|| ReturnPath::Each(before.into(), after.into()))
            }
        }
    }
}

pub(super) struct Settings {
    pub host: String,
    pub port: u16,
    pub tls: Tls,
    pub loopback: bool,
    pub server_name: ServerName<'static>,
    /// Present unless `tls` is `None`.
    pub tls_client: Option<Arc<ClientConfig>>,
    pub login: Option<Login>,
    pub ehlo: String,
    pub from: Mailbox,
    pub return_path: ReturnPath,
    pub dsn: Option<Dsn>,
    pub maildir: Option<PathBuf>,
    pub dkim: Option<Arc<Signer>>,
    pub list_id: Option<String>,
    /// How long an answer to one command may take; to the final dot five times as long.
    pub timeout: Duration,
}

impl Settings {
    pub fn read(given: &BTreeMap<String, Secret>, sender: &Sender) -> Result<Settings, String> {
        if let Some(unknown) = given.keys().find(|name| !NAMES.contains(&name.as_str())) {
            return Err(match NAMES.iter().min_by_key(|name| strsim::levenshtein(unknown, name)) {
                Some(nearest) if strsim::levenshtein(unknown, nearest) <= 3 => {
                    format!("{unknown}: no such setting; did you mean {nearest}?")
                }
                _ => format!("{unknown}: no such setting; there are {}", NAMES.join(", ")),
            });
        }
        let get = |name: &str| given.get(name).map(Secret::expose).filter(|value| !value.is_empty());
        let url = Url::parse(get("url").ok_or("url: missing; write smtp://host:25 or smtps://host")?)
            .map_err(|error| format!("url: {error}"))?;
        let (host, server_name, loopback) = host(&url)?;
        let tls = match (url.scheme(), get("tls")) {
            ("smtps", None) => Tls::Implicit,
            ("smtps", Some(_)) => return Err("tls: smtps:// is TLS from the first byte; leave it out".into()),
            ("smtp", None) if loopback => Tls::None,
            ("smtp", None | Some("required")) => Tls::Required,
            ("smtp", Some("starttls")) => Tls::Offered,
            ("smtp", Some("none")) => Tls::None,
            ("smtp", Some(_)) => return Err("tls: expected none, starttls or required".into()),
            _ => return Err("url: expected smtp:// or smtps://".into()),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("url: write the user into username and password".into());
        }
        let login = login(get)?;
        if login.is_some() && tls == Tls::None && !loopback {
            return Err("password: would travel in clear text; set tls = \"required\"".into());
        }
        let from = match get("from") {
            Some(from) => mailbox(from).ok_or("from: expected name@host or Name <name@host>")?,
            None => {
                let address = address(&sender.email).ok_or("sender.email: expected name@host")?;
                Mailbox::new(Some(sender.name.clone()).filter(|name| !name.is_empty()), address)
            }
        };
        if from.name.as_deref().is_some_and(|name| name.chars().any(char::is_control)) {
            return Err("from: control characters in the name".into());
        }
        let return_path = match get("return_path") {
            Some("<>") => ReturnPath::Same(String::new()),
            Some(path) => ReturnPath::read(path).ok_or(
                "return_path: expected name@host, name+{delivery}@host with at most 16 characters around {delivery}, or <> for none",
            )?,
            None => ReturnPath::Same(from.email.to_string()),
        };
        let dsn = match get("dsn") {
            None => None,
            Some("failure") => Some(Dsn::Failure),
            Some("success") => Some(Dsn::Success),
            Some(_) => return Err("dsn: expected failure or success".into()),
        };
        let maildir = match get("maildir").map(PathBuf::from) {
            Some(folder) => {
                if let Some(missing) = ["new", "cur"].into_iter().find(|name| !folder.join(name).is_dir()) {
                    return Err(format!("maildir: {} is no Maildir: it has no folder {missing}", folder.display()));
                }
                Some(folder)
            }
            None => None,
        };
        let dkim = match (get("dkim_selector"), get("dkim_key_file")) {
            (None, None) if get("dkim_domain").is_some() => {
                return Err("dkim_selector: missing beside dkim_domain".into());
            }
            (None, None) => None,
            (None, Some(_)) => return Err("dkim_selector: missing beside dkim_key_file".into()),
            (Some(_), None) => return Err("dkim_key_file: missing beside dkim_selector".into()),
            (Some(selector), Some(file)) => {
                let name = |text: &str| domain(text) && !text.contains([':', '_']);
                if !name(selector) {
                    return Err("dkim_selector: expected a name such as 2021a".into());
                }
                let of = match get("dkim_domain") {
                    Some(of) if name(of) => of,
                    Some(_) => return Err("dkim_domain: expected a name such as example.org".into()),
                    None => from.email.domain(),
                };
                let signer = Signer::new(of, selector, file).map_err(|error| format!("dkim_key_file: {error}"))?;
                Some(Arc::new(signer))
            }
        };
        let list_id = match get("list_id") {
            Some(id) if domain(id) => Some(id.to_string()),
            Some(_) => return Err("list_id: expected a name such as status.example.org".into()),
            None => None,
        };
        let ehlo = match get("ehlo") {
            Some(name) if domain(name.trim_matches(['[', ']'])) => name.to_string(),
            Some(_) => return Err("ehlo: expected a host name".into()),
            None => ClientId::default().to_string(),
        };
        let timeout = match get("timeout") {
            Some(span) => span.parse::<Span>().map_err(|error| format!("timeout: {error}"))?.0,
            None => Duration::from_secs(60),
        };
        let tls_client = match tls {
            Tls::None => None,
            _ => Some(tls_client(get("ca_file"))?),
        };
        Ok(Settings {
            host,
            port: url.port().unwrap_or(if tls == Tls::Implicit { 465 } else { 25 }),
            tls,
            loopback,
            server_name,
            tls_client,
            login,
            ehlo,
            from,
            return_path,
            dsn,
            maildir,
            dkim,
            list_id,
            timeout,
        })
    }
}

fn login<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Result<Option<Login>, String> {
    let (user, password, file) = (get("username"), get("password"), get("token_file"));
    match (get("auth"), user, password, file) {
        (None, None, None, None) => Ok(None),
        (None, Some(user), Some(password), None) => {
            Ok(Some(Login::Password { user: user.into(), password: Secret::new(password) }))
        }
        (None, _, _, Some(_)) => Err("token_file: goes with auth = \"xoauth2\"".into()),
        (None, None, Some(_), None) => Err("username: missing beside password".into()),
        (None, Some(_), None, None) => Err("password: missing beside username".into()),
        (Some("xoauth2"), Some(user), None, Some(file)) => {
            let file = PathBuf::from(file);
            token::read(&file).map_err(|error| format!("token_file: {}: {error}", file.display()))?;
            Ok(Some(Login::Token { user: user.into(), file }))
        }
        (Some("xoauth2"), _, Some(_), _) => Err("password: the token is in token_file, with auth = \"xoauth2\"".into()),
        (Some("xoauth2"), None, ..) => Err("username: missing beside auth = \"xoauth2\"".into()),
        (Some("xoauth2"), _, None, None) => Err("token_file: missing beside auth = \"xoauth2\"".into()),
        (Some(_), ..) => Err("auth: expected xoauth2; without it PLAIN or LOGIN, as the server has it".into()),
    }
}

/// An address as it may stand in an envelope: ASCII, its domain in ASCII form, without control characters.
pub(super) fn address(text: &str) -> Option<Address> {
    text.parse().ok().filter(|_| text.is_ascii() && text.len() <= 254 && !text.chars().any(char::is_control))
}

fn mailbox(text: &str) -> Option<Mailbox> {
    text.parse().ok().filter(|mailbox: &Mailbox| address(mailbox.email.as_ref()).is_some())
}

fn domain(text: &str) -> bool {
    !text.is_empty() && text.len() <= 253 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b))
}

fn host(url: &Url) -> Result<(String, ServerName<'static>, bool), String> {
    // Of schemes unknown to it, the url crate keeps hosts as they are: IP addresses are recognized here.
    let text = url.host_str().filter(|host| !host.is_empty()).ok_or("url: names no host")?;
    let host = Host::parse(text).map_err(|error| format!("url: {error}"))?;
    let (text, loopback) = match &host {
        Host::Domain(name) => (name.clone(), name == "localhost"),
        Host::Ipv4(ip) => (ip.to_string(), ip.is_loopback()),
        Host::Ipv6(ip) => (ip.to_string(), ip.is_loopback()),
    };
    let name =
        ServerName::try_from(text.clone()).map_err(|_| "url: no name that a certificate can have".to_string())?;
    Ok((text, name, loopback))
}

/// Certificates are verified against `ca_file` alone where it is set, else as the operating system does.
fn tls_client(ca_file: Option<&str>) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let wrong = |error: &dyn std::fmt::Display| match ca_file {
        Some(path) => format!("ca_file: {path}: {error}"),
        None => format!("ca_file: not set, and the system has no certificates to verify by: {error}"),
    };
    let builder = ClientConfig::builder_with_provider(Arc::<CryptoProvider>::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&error))?;
    let config = match ca_file {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            let certificates = rustls::pki_types::CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))?;
            for certificate in certificates {
                roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
            }
            if roots.is_empty() {
                return Err(wrong(&"holds no certificate"));
            }
            builder.with_root_certificates(roots)
        }
        None => {
            let verifier = rustls_platform_verifier::Verifier::new(provider).map_err(|error| wrong(&error))?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    Ok(Arc::new(config.with_no_client_auth()))
}
