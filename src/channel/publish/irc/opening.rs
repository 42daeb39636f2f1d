//! From a connection to one that is welcome: password, SASL (<https://ircv3.net/specs/extensions/sasl-3.1>), nick and user. A nick that is
//! taken, by a connection of ours that the server has not missed yet for example, is taken with something after it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::line;
use super::session::{Speaking, USER, begun};
use super::{Irc, LONGEST_NICK};
use crate::channel::Outcome;
use crate::channel::publish::target::Line;
use crate::channel::publish::{Protocol, deferred, rejected};

/// So many nicks are tried.
const NICKS: usize = 4;
/// The specification's: what is longer goes in pieces, and one that is shorter ends it.
const PIECE: usize = 400;
/// No server has so much to say before the welcome.
const MOST_LINES: usize = 200;

impl Protocol for Irc {
    type Session = Speaking;

    async fn open(&self) -> Result<(Line, Speaking), Outcome> {
        let stream = self.target.connect().await?;
        let mut line = match self.target.secure {
            true => self.target.encrypt(stream).await?,
            false => Line::over(stream),
        };
        let mut hello = String::new();
        if let Some(password) = &self.server_password {
            hello.push_str(&format!("PASS :{password}\r\n"));
        }
        // It keeps the welcome back until CAP END.
        if self.account.is_some() {
            hello.push_str("CAP REQ :sasl\r\n");
        }
        hello.push_str(&format!("NICK {}\r\nUSER {USER} 0 * :{}\r\n", self.nick, self.real_name));
        line.write(hello.as_bytes()).await?;
        let mut nicks = 1;
        for _ in 0..MOST_LINES {
            let said = next(&mut line).await?;
            let answer = match said.command.as_str() {
                "001" => return Ok((line, begun(said.parameter(0).chars().take(LONGEST_NICK * 2).collect()))),
                "PING" => format!("PONG :{}\r\n", said.last()),
                "CAP" => match said.parameter(1) {
                    "ACK" => "AUTHENTICATE PLAIN\r\n".into(),
                    "NAK" => return Err(rejected("the server offers no SASL; leave account and password out")),
                    _ => continue,
                },
                "AUTHENTICATE" => self.authenticate(),
                "ERROR" => return Err(ended(said.last())),
                _ => match said.numeric() {
                    Some(433 | 436 | 437) if nicks < NICKS => {
                        nicks += 1;
                        format!("NICK {}\r\n", another(&self.nick, nicks))
                    }
                    Some(903) => "CAP END\r\n".into(),
                    Some(numeric) => match refused(numeric, said.parameter(1)) {
                        Some(outcome) => return Err(outcome),
                        None => continue,
                    },
                    None => continue,
                },
            };
            line.write(answer.as_bytes()).await?;
        }
        Err(deferred("the server says much and no welcome"))
    }
}

impl Irc {
    /// RFC 4616, for the account alone.
    fn authenticate(&self) -> String {
        let Some((account, password)) = &self.account else { return "AUTHENTICATE *\r\n".into() };
        let text = STANDARD.encode(format!("\0{account}\0{password}"));
        let mut said = String::new();
        for piece in text.as_bytes().chunks(PIECE) {
            said.push_str(&format!("AUTHENTICATE {}\r\n", String::from_utf8_lossy(piece)));
        }
        if text.len().is_multiple_of(PIECE) {
            said.push_str("AUTHENTICATE +\r\n");
        }
        said
    }
}

async fn next(line: &mut Line) -> Result<line::Line, Outcome> {
    loop {
        match line::next(&mut line.incoming) {
            Ok(Some(said)) => return Ok(said),
            Ok(None) if line.incoming.len() <= 64 * 1024 => line.read().await?,
            _ => return Err(deferred("what the server says is not IRC")),
        }
    }
}

/// Servers cut what is too long for them, so what differs stands where a short nick still has it.
fn another(nick: &str, number: usize) -> String {
    let number = number.to_string();
    let kept: String = nick.chars().take(9 - number.len() - 1).collect();
    format!("{kept}_{number}")
}

fn refused(numeric: u16, about: &str) -> Option<Outcome> {
    Some(match numeric {
        432 => rejected("432: the server takes no such nick"),
        433 | 436 | 437 => deferred(format!("{numeric}: the nick and what is like it are taken")),
        463 => rejected("463: the server takes nobody from here"),
        464 => rejected("464: the server's password is wrong; see server_password"),
        465 => rejected("465: the server has banned us"),
        421 if about.eq_ignore_ascii_case("CAP") => {
            rejected("421: the server knows no SASL; leave account and password out")
        }
        902 | 904 | 905 | 906 => rejected(format!("{numeric}: SASL failed; see account and password")),
        908 => rejected("908: the server does not take SASL PLAIN"),
        _ => return None,
    })
}

/// What its last words say decides; they are not repeated.
fn ended(words: &str) -> Outcome {
    let words = words.to_ascii_lowercase();
    match () {
        () if words.contains("password") => rejected("ERROR: the server's password is wrong; see server_password"),
        () if words.contains("banned") || words.contains("-line") => rejected("ERROR: the server has banned us"),
        () if words.contains("denied") || words.contains("not authorized") => rejected("ERROR: the server refuses us"),
        () => deferred("ERROR: the server ended the connection"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_nick_differs_where_a_short_one_still_has_it() {
        assert_eq!([another("loudhailer", 2), another("al", 3)], ["loudhai_2", "al_3"]);
    }

    #[test]
    fn last_words_say_whether_somebody_has_to_mend_it() {
        for (words, mended) in [
            ("Closing Link: us (Bad Password)", true),
            ("Closing Link: us (K-Lined)", true),
            ("Access denied: bad password?", true),
            ("Closing Link: (Throttled: Reconnecting too fast)", false),
            ("Server going down", false),
        ] {
            assert_eq!(matches!(ended(words), Outcome::Rejected { .. }), mended, "{words}");
        }
    }
}
