//! What the operator sets for an SMTP channel, checked. Errors name the setting.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lettre::Address;
use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::extension::ClientId;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, crypto::CryptoProvider};
use url::{Host, Url};

use crate::config::{Secret, Sender};
use crate::quantity::Span;

const NAMES: [&str; 12] = [
    "url",
    "tls",
    "ca_file",
    "username",
    "password",
    "from",
    "return_path",
    "dsn",
    "maildir",
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
    pub credentials: Option<Credentials>,
    pub ehlo: String,
    pub from: Mailbox,
    pub return_path: ReturnPath,
    pub dsn: Option<Dsn>,
    pub maildir: Option<PathBuf>,
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
        let credentials = match (get("username"), get("password")) {
            (None, None) => None,
            (Some(_), Some(_)) if tls == Tls::None && !loopback => {
                return Err("password: would travel in clear text; set tls = \"required\"".into());
            }
            (Some(user), Some(password)) => Some(Credentials::new(user.into(), password.into())),
            (None, Some(_)) => return Err("username: missing beside password".into()),
            (Some(_), None) => return Err("password: missing beside username".into()),
        };
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
            credentials,
            ehlo,
            from,
            return_path,
            dsn,
            maildir,
            list_id,
            timeout,
        })
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn sender() -> Sender {
        Sender {
            name: "Acme".into(),
            email: "status@acme.example".into(),
            status_page: "status.acme.example".into(),
            locale: "en".into(),
            zone: "UTC".into(),
        }
    }

    pub fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, Secret> {
        pairs.iter().map(|(name, value)| (name.to_string(), Secret::new(*value))).collect()
    }

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, String> {
        Settings::read(&settings(pairs), &sender())
    }

    #[test]
    fn defaults_come_from_the_sender_and_the_scheme() {
        let read = read(&[("url", "smtp://127.0.0.1")]).expect("settings");
        assert_eq!((read.host.as_str(), read.port, read.tls), ("127.0.0.1", 25, Tls::None));
        assert_eq!(read.from.to_string(), "Acme <status@acme.example>");
        assert_eq!(read.return_path, ReturnPath::Same("status@acme.example".into()));
        assert!(!read.ehlo.is_empty());
    }

    #[test]
    fn an_error_names_the_setting() {
        let relay = ("url", "smtp://relay.example");
        for (pairs, error) in [
            (vec![], "url: missing"),
            (vec![("url", "http://relay.example")], "url: expected smtp://"),
            (vec![("url", "smtp://user:x@relay.example")], "url: write the user into"),
            (vec![("url", "smtp://")], "url: "),
            (vec![relay, ("pasword", "x")], "pasword: no such setting; did you mean password?"),
            (vec![relay, ("tls", "perhaps")], "tls: expected"),
            (vec![("url", "smtps://relay.example"), ("tls", "none")], "tls: smtps"),
            (vec![relay, ("tls", "none"), ("username", "u"), ("password", "p")], "password: would travel in clear"),
            (vec![relay, ("tls", "none"), ("username", "u")], "password: missing"),
            (vec![relay, ("tls", "none"), ("from", "nobody")], "from: "),
            (vec![relay, ("tls", "none"), ("return_path", "a@b\r\nRCPT TO:<x@y>")], "return_path: "),
            (vec![relay, ("tls", "none"), ("return_path", "a+{delivry}@example.org")], "return_path: "),
            (vec![relay, ("tls", "none"), ("return_path", "a@{delivery}.example.org")], "return_path: "),
            (
                vec![relay, ("tls", "none"), ("return_path", "much-too-long-bounces+{delivery}@example.org")],
                "return_path: ",
            ),
            (vec![relay, ("tls", "none"), ("return_path", "{delivery}+{delivery}@example.org")], "return_path: "),
            (vec![relay, ("tls", "none"), ("dsn", "always")], "dsn: expected failure or success"),
            (vec![relay, ("tls", "none"), ("maildir", "/nonexistent")], "maildir: /nonexistent is no Maildir"),
            (vec![relay, ("tls", "none"), ("list_id", "a>\r\nBcc: x")], "list_id: "),
            (vec![relay, ("tls", "none"), ("ehlo", "a b")], "ehlo: "),
            (vec![relay, ("tls", "none"), ("timeout", "soon")], "timeout: "),
            (vec![relay, ("ca_file", "/nonexistent/ca.pem")], "ca_file: /nonexistent/ca.pem"),
        ] {
            let got = read(&pairs).err().expect(error);
            assert!(got.starts_with(error), "{pairs:?} gave {got:?}, expected {error:?}");
        }
    }
}
