//! XMPP as a client (RFC 6120, RFC 6121): messages to people, and to rooms (XEP-0045) that are joined first. TLS always, by STARTTLS or
//! from the first byte, for the name behind the `@`. Servers do not acknowledge a message to somebody, but take what a client says in
//! order (RFC 6120, section 10.1), and have to answer a ping (XEP-0199): one follows each message, and its answer says that the message
//! was taken, or had been refused before. A room sends each message back to whom it is from, and that is its answer. Spoken here, with
//! the XML reader that is there already: the crate that does it brings some thirty others and its own idea of when to connect again.

mod condition;

mod framing;

mod opening;

mod scram;

mod session;

mod stanza;

use std::sync::Arc;

use url::Host;

use super::target::{Schemes, Target};
use super::{Publisher, Settings, patience, setting};
use crate::channel::Driver;

pub(super) use self::session::begun;

const SCHEMES: Schemes = Schemes { plain: ("xmpp", 5222), secure: ("xmpps", 5223) };

/// `concurrency` is the number of messages that wait for their answer at one time.
pub fn driver(settings: &Settings, concurrency: usize) -> Result<Arc<dyn Driver>, String> {
    let jid = setting(settings, "jid").ok_or("jid: missing; write user@domain")?;
    let (user, domain) = jid.split_once('@').filter(|_| is_jid(jid)).ok_or("jid: write user@domain")?;
    let host = Host::parse(domain).map_err(|_| "jid: what follows the @ is no domain")?;
    let password = setting(settings, "password").ok_or("password: missing")?.to_string();
    let nick = setting(settings, "nick").unwrap_or("Loudhailer").to_string();
    if nick.chars().count() > 64 {
        return Err("nick: has more than 64 characters".into());
    }
    // Nothing of it goes in clear text: without STARTTLS there is no login.
    let target = Target::read(settings, &SCHEMES, false)?;
    let secrets = vec![password.clone()];
    let xmpp = Xmpp { target, host, user: user.into(), domain: domain.into(), password, nick };
    Ok(Arc::new(Publisher::new(xmpp, patience(settings)?, concurrency, secrets)))
}

struct Xmpp {
    target: Target,
    /// That of its certificate.
    host: Host<String>,
    user: String,
    domain: String,
    password: String,
    /// In rooms.
    nick: String,
}

/// Somebody's address, or a room's or a server's, without a resource (RFC 7622, as far as it can matter here).
fn is_jid(text: &str) -> bool {
    let part = |part: &str| {
        (1..=1023).contains(&part.len())
            && !part.contains(|c: char| c.is_whitespace() || c.is_control() || "\"&'/:<>@?".contains(c))
    };
    match text.split_once('@') {
        Some((local, domain)) => part(local) && part(domain),
        None => part(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_be_are_refused_by_name() {
        let error = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| (name.to_string(), crate::config::Secret::new(*value)));
            driver(&pairs.collect(), 8).err().expect("refused")
        };
        let (url, jid, password) = (("url", "xmpp://x.example"), ("jid", "a@x.example"), ("password", "hunter2"));
        assert!(error(&[url, password]).starts_with("jid: missing"));
        for wrong in ["a", "a@", "@b", "a@b/c", "a b@c", "a@b@c", "<a>@b"] {
            assert!(error(&[url, ("jid", wrong), password]).starts_with("jid: "), "{wrong}");
        }
        assert!(error(&[url, jid]).starts_with("password: missing"));
        assert!(error(&[url, jid, password, ("nick", &"x".repeat(65))]).starts_with("nick: "));
        assert!(error(&[("url", "http://x.example"), jid, password]).starts_with("url: "));
    }
}
