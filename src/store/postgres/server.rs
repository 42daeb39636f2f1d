//! Which database, and how it is reached: `postgres://user@host:port/database`, read from the configuration. What nobody would
//! notice to be wrong is refused: an option that is not known, a password that logs would show, a plain connection over a network
//! that nobody asked for.

use std::net::IpAddr;
use std::path::PathBuf;

use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, SslMode, TargetSessionAttrs};
use url::{Host, Url};

use crate::config::{Secret, suggest};

#[derive(Debug, Clone)]
pub struct Server {
    pub host: String,
    port: u16,
    user: String,
    database: String,
    password: Secret,
    pub tls: bool,
    /// Authorities beside the machine's.
    pub authorities: Option<PathBuf>,
}

const OPTIONS: &[&str] = &["host", "sslmode", "sslrootcert"];

impl Server {
    /// The message says what is wrong and what to write.
    pub fn parse(text: &str, password: Secret) -> Result<Server, String> {
        // As libpq writes a socket: no host, whose place the folder takes.
        let on_socket = text.contains("@/");
        let url = Url::parse(&text.replacen("@/", "@socket/", 1))
            .map_err(|error| format!("{error}; write postgres://user@host:5432/database"))?;
        if url.password().is_some() {
            return Err("has a password, which logs would show; write store.password = { file = \"…\" }".into());
        }
        let (mut socket, mut mode, mut authorities) = (None, None, None);
        for (name, value) in url.query_pairs() {
            match name.as_ref() {
                "host" => socket = Some(value.into_owned()),
                "sslmode" => mode = Some(value.into_owned()),
                "sslrootcert" => authorities = Some(PathBuf::from(value.into_owned())),
                other => {
                    return Err(format!("option {other:?} is not known{}", suggest(other, OPTIONS.iter().copied())));
                }
            }
        }
        let named = match url.host() {
            Some(Host::Ipv6(ip)) => ip.to_string(),
            Some(host) => decoded(&host.to_string()).map_err(|()| "the host does not read")?,
            None => String::new(),
        };
        let host = match (on_socket, socket) {
            (true, Some(folder)) if folder.starts_with('/') => folder,
            (true, _) => {
                return Err("names no folder of a socket: postgres://user@/database?host=/run/postgresql".into());
            }
            (false, Some(_)) => return Err("names a host twice".into()),
            (false, None) if named.is_empty() => {
                return Err("names no host; write postgres://user@host:5432/database".into());
            }
            (false, None) => named,
        };
        let local = on_socket || host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let tls = match mode.as_deref() {
            // libpq's default would take a plain connection wherever the server offers no other.
            None => !local,
            Some("disable") => false,
            Some("require" | "verify-ca" | "verify-full") => true,
            Some(other) => {
                let why = "TLS is verified or not spoken: write require or disable";
                return Err(format!("sslmode {other:?} is not known; {why}"));
            }
        };
        if tls && on_socket {
            return Err("a socket has no TLS; leave sslmode out".into());
        }
        let database = decoded(url.path().trim_start_matches('/')).map_err(|()| "the database does not read")?;
        let user = decoded(url.username()).map_err(|()| "the user does not read")?;
        if database.is_empty() || database.contains('/') {
            return Err("names no database; write postgres://user@host:5432/database".into());
        }
        if user.is_empty() {
            return Err("names no user; write postgres://user@host:5432/database".into());
        }
        Ok(Server { host, port: url.port().unwrap_or(5432), user, database, password, tls, authorities })
    }

    pub fn config(&self) -> Config {
        let mut config = Config::new();
        config
            .host(&self.host)
            .port(self.port)
            .user(&self.user)
            .dbname(&self.database)
            .application_name("loudhailer")
            .ssl_mode(if self.tls { SslMode::Require } else { SslMode::Disable })
            .channel_binding(ChannelBinding::Prefer)
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .connect_timeout(std::time::Duration::from_secs(5))
            .keepalives_idle(std::time::Duration::from_secs(10))
            // Whoever stands still in the middle of a transaction, or is gone without a word, holds locks that others wait for.
            .options(
                "-c statement_timeout=60s -c lock_timeout=10s -c idle_in_transaction_session_timeout=5s \
                 -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3",
            );
        if !self.password.expose().is_empty() {
            config.password(self.password.expose());
        }
        config
    }

    /// For messages: without user and password.
    pub fn name(&self) -> String {
        format!("{}:{}/{}", self.host, self.port, self.database)
    }
}

/// With what `%` stands for.
fn decoded(text: &str) -> Result<String, ()> {
    let pairs = format!("x={}", text.replace('+', "%2B"));
    let (_, value) = url::form_urlencoded::parse(pairs.as_bytes()).next().ok_or(())?;
    if value.contains('\u{fffd}') { Err(()) } else { Ok(value.into_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Server, String> {
        Server::parse(text, Secret::default())
    }

    #[test]
    fn tls_is_verified_wherever_the_server_is_not_this_machine() {
        for (text, tls) in [
            ("postgres://app@db.example/alerts", true),
            ("postgres://app@10.0.0.5:6432/alerts", true),
            ("postgres://app@db.example/alerts?sslmode=disable", false),
            ("postgres://app@db.example/alerts?sslmode=require", true),
            ("postgres://app@localhost/alerts", false),
            ("postgres://app@127.0.0.1/alerts?sslmode=verify-full", true),
            ("postgres://app@[::1]/alerts", false),
            ("postgres://app@/alerts?host=/run/postgresql", false),
        ] {
            match parse(text) {
                Ok(server) => assert_eq!(server.tls, tls, "{text}"),
                Err(error) => panic!("{text}: {error}"),
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_write() {
        for (text, says) in [
            ("postgres://app:secret@db/alerts", "store.password"),
            ("postgres://app@db", "names no database"),
            ("postgres://db/alerts", "names no user"),
            ("postgres://app@db/alerts?sslmod=require", "did you mean \"sslmode\"?"),
            ("postgres://app@db/alerts?sslmode=prefer", "write require or disable"),
            ("postgres://app@/alerts", "names no folder of a socket"),
            ("postgres://app@db/alerts?host=/run", "names a host twice"),
            ("postgres://app@/alerts?host=/run&sslmode=require", "a socket has no TLS"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(says), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let server = Server::parse("postgres://a%20b@db/alerts", Secret::new("hunter2")).expect("reads");
        assert_eq!(server.config().get_user(), Some("a b"));
        assert!(!format!("{server:?}").contains("hunter2"));
    }
}
