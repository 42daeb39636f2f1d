//! IRC (RFC 2812, and what servers do today: <https://modern.ircdocs.horse/>). A message is its lines, each a PRIVMSG to a channel that
//! is joined first, or to a nick. Servers do not acknowledge a PRIVMSG, but take what a client says one after the other: so a PING
//! follows a few lines, and its PONG says that the server has taken them, or had refused them before. No further line is written until
//! then: a server that slows us down, as most do, is waited for, and none has reason to end the connection for a flood.

mod line;

mod numeric;

mod opening;

mod session;

mod split;

use std::sync::Arc;

use super::target::{Schemes, Target};
use super::{Publisher, Settings, patience, setting};
use crate::channel::Driver;

pub(super) use self::session::begun;

const SCHEMES: Schemes = Schemes { plain: ("irc", 6667), secure: ("ircs", 6697) };
/// The longest that servers take, with all that they add themselves fits into a line.
const LONGEST_NICK: usize = 30;

pub fn driver(settings: &Settings, concurrency: usize) -> Result<Arc<dyn Driver>, String> {
    let get = |name: &str| setting(settings, name).map(String::from);
    let nick = get("nick").ok_or("nick: missing")?;
    if !is_nick(&nick) {
        return Err(format!("nick: letters, digits and -[]\\`_^{{|}}, no digit or - first, at most {LONGEST_NICK}"));
    }
    let account = match (get("account"), get("password")) {
        (Some(account), Some(password)) => Some((account, password)),
        (None, None) => None,
        (Some(_), None) => return Err("password: missing beside account".into()),
        (None, Some(_)) => return Err("account: missing beside password".into()),
    };
    let server_password = get("server_password");
    if server_password.as_ref().is_some_and(|password| password.len() > 400) {
        return Err("server_password: has more than 400 bytes".into());
    }
    let secrets: Vec<String> =
        server_password.iter().chain(account.as_ref().map(|(_, password)| password)).cloned().collect();
    let target = Target::read(settings, &SCHEMES, !secrets.is_empty())?;
    let irc =
        Irc { target, nick, real_name: get("real_name").unwrap_or("Loudhailer".into()), account, server_password };
    Ok(Arc::new(Publisher::new(irc, patience(settings)?, concurrency, secrets)))
}

struct Irc {
    target: Target,
    nick: String,
    real_name: String,
    /// For SASL.
    account: Option<(String, String)>,
    server_password: Option<String>,
}

/// RFC 2812, section 2.3.1, but for its length, which every server sets itself.
fn is_nick(text: &str) -> bool {
    let special = |byte: u8| b"[]\\`_^{|}".contains(&byte);
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || special(byte));
    let rest = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || special(byte) || byte == b'-');
    first && rest && text.len() <= LONGEST_NICK
}

/// Section 1.3: what begins so is a channel.
fn is_channel(text: &str) -> bool {
    let rest = text.strip_prefix(['#', '&', '+', '!']);
    rest.is_some_and(|rest| {
        !rest.is_empty() && text.len() <= 64 && !rest.contains(|c: char| c.is_control() || matches!(c, ' ' | ',' | ':'))
    })
}

/// Section 2.2: of names, these are the same letters.
fn folded(name: &str) -> String {
    let fold = |c: char| match c {
        '[' => '{',
        ']' => '}',
        '\\' => '|',
        '^' => '~',
        c => c.to_ascii_lowercase(),
    };
    name.chars().map(fold).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_be_are_refused_by_name() {
        let error = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| (name.to_string(), crate::config::Secret::new(*value)));
            driver(&pairs.collect(), 1).err().expect("refused")
        };
        let (url, nick) = (("url", "ircs://irc.example"), ("nick", "alerts"));
        assert!(error(&[url]).starts_with("nick: missing"));
        for wrong in ["9lives", "-x", "two words", "a,b", "é", &"x".repeat(31)] {
            assert!(error(&[url, ("nick", wrong)]).starts_with("nick: letters"), "{wrong}");
        }
        assert!(error(&[url, nick, ("account", "a")]).starts_with("password: missing"));
        assert!(error(&[url, nick, ("password", "hunter2")]).starts_with("account: missing"));
        let plain = ("url", "irc://irc.example");
        assert!(error(&[plain, nick, ("server_password", "hunter2")]).starts_with("url: the password would travel"));
        assert!(error(&[plain, nick, ("server_password", &"x".repeat(401))]).starts_with("server_password: "));
    }

    #[test]
    fn a_name_is_that_of_a_channel_or_a_nick_and_nothing_that_ends_a_word_of_the_protocol() {
        for channel in ["#status", "&local", "+x", "!12345x", "#größe"] {
            assert!(is_channel(channel) && !is_nick(channel), "{channel}");
        }
        for neither in
            ["#", "", "#a b", "#a,#b", "#a\r\nQUIT", "#a:b", "*", "$*.net", "a@b", &format!("#{}", "x".repeat(64))]
        {
            assert!(!is_channel(neither) && !is_nick(neither), "{neither}");
        }
        assert_eq!(folded("#Ops[1]\\^"), folded("#oPS{1}|~"));
    }
}
