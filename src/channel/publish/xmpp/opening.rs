//! From a connection to a stream that is bound: STARTTLS, the login, a resource (RFC 6120, sections 5 to 7).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use ring::rand::SecureRandom;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::framing::{Framer, Item};
use super::scram::{HASHES, Scram};
use super::session::{Bound, begun};
use super::stanza::{Element, written};
use super::{Xmpp, condition};
use crate::channel::Outcome;
use crate::channel::auth::Encoding;
use crate::channel::publish::conversation::Lost;
use crate::channel::publish::target::Line;
use crate::channel::publish::{Protocol, deferred, rejected};

const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const LONGEST: usize = 64 * 1024;
/// No server has so much to say between two steps.
const MOST: usize = 64;

impl Protocol for Xmpp {
    type Session = Bound;

    async fn open(&self) -> Result<(Line, Bound), Outcome> {
        let mut tcp = self.target.connect().await?;
        if !self.target.secure {
            let mut talk = Talk::new(&mut tcp);
            let features = talk.begin(&self.domain).await?;
            features.child("starttls").ok_or_else(|| rejected("the server does not offer TLS"))?;
            talk.say("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await?;
            let answer = talk.hear().await?;
            // Whoever sits between may have sent something before TLS that would then pass for the server's.
            if answer.name != "proceed" || !talk.incoming.is_empty() {
                return Err(deferred("the server does not go on with TLS"));
            }
        }
        let mut line = self.target.encrypt_as(&self.host, tcp).await?;
        let mut talk = Talk::new(&mut line.stream);
        let features = talk.begin(&self.domain).await?;
        self.log_in(&mut talk, &features).await?;
        let mut talk = Talk::new(&mut line.stream);
        let features = talk.begin(&self.domain).await?;
        features.child("bind").ok_or_else(|| rejected("the server lets nobody bind a resource"))?;
        talk.say("<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>").await?;
        for _ in 0..MOST {
            let answer = talk.hear().await?;
            match (answer.attribute("id"), answer.attribute("type")) {
                ("bind", "result") => {
                    line.incoming = std::mem::take(&mut talk.incoming);
                    return Ok((line, begun(self.domain.clone(), self.nick.clone())));
                }
                ("bind", _) => return Err(deferred(format!("bind: {}", condition::condition(&answer)))),
                _ => {}
            }
        }
        Err(deferred("the server says much and does not bind"))
    }
}

impl Xmpp {
    async fn log_in<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        talk: &mut Talk<S>,
        features: &Element,
    ) -> Result<(), Outcome> {
        let offered = features.child("mechanisms").map_or(&[][..], |mechanisms| &mechanisms.children);
        let offers = |name: &str| offered.iter().any(|mechanism| mechanism.text.trim() == name);
        if let Some(hash) = HASHES.iter().find(|hash| offers(hash.name)) {
            let scram = Scram::new(hash, &self.user, nonce()?);
            talk.authenticate(hash.name, &scram.first()).await?;
            let first = challenge(&talk.hear().await?)?;
            // Some thousand rounds, which nobody else has to wait for.
            let password = self.password.clone();
            let worked = tokio::task::spawn_blocking(move || scram.last(&first, &password)).await;
            let (ours, theirs) =
                worked.ok().flatten().ok_or_else(|| deferred("the server's challenge is not SCRAM"))?;
            talk.say(&format!("<response xmlns='{SASL}'>{}</response>", STANDARD.encode(ours))).await?;
            let mut last = talk.hear().await?;
            // The proof may come before the end of it, to which there is nothing to say.
            if last.name == "challenge" && decoded(&last) == theirs {
                talk.say(&format!("<response xmlns='{SASL}'/>")).await?;
                last = talk.hear().await?;
                return success(&last);
            }
            success(&last)?;
            return match decoded(&last) == theirs {
                true => Ok(()),
                false => Err(rejected("the server does not know the password itself: it is not the one it says")),
            };
        }
        if offers("PLAIN") {
            talk.authenticate("PLAIN", &format!("\0{}\0{}", self.user, self.password)).await?;
            return success(&talk.hear().await?);
        }
        Err(rejected("the server offers no login by SCRAM-SHA-256, SCRAM-SHA-1 or PLAIN"))
    }
}

fn nonce() -> Result<String, Outcome> {
    let mut bytes = [0; 18];
    let random = ring::rand::SystemRandom::new().fill(&mut bytes);
    random.map_err(|_| deferred("the system gave no random number"))?;
    Ok(Encoding::Hex.write(&bytes))
}

fn decoded(element: &Element) -> String {
    let bytes = STANDARD.decode(element.text.trim()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn challenge(answer: &Element) -> Result<String, Outcome> {
    match answer.name.as_str() {
        "challenge" => Ok(decoded(answer)),
        _ => success(answer).and(Err(deferred("the server lets us in without a challenge"))),
    }
}

/// RFC 6120, section 6.5.
fn success(answer: &Element) -> Result<(), Outcome> {
    match answer.name.as_str() {
        "success" => Ok(()),
        "failure" if answer.child("temporary-auth-failure").is_some() => Err(deferred("the login fails for now")),
        "failure" if answer.child("account-disabled").is_some() => Err(rejected("the account is disabled")),
        "failure" => Err(rejected("the login failed; see jid and password")),
        _ => Err(deferred("the answer to the login is none")),
    }
}

/// One stream over a connection.
struct Talk<S> {
    stream: S,
    incoming: BytesMut,
    framer: Framer,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    fn new(stream: S) -> Talk<S> {
        Talk { stream, incoming: BytesMut::new(), framer: Framer::default() }
    }

    async fn say(&mut self, text: &str) -> Result<(), Outcome> {
        let written = async {
            self.stream.write_all(text.as_bytes()).await?;
            self.stream.flush().await
        };
        written.await.map_err(|error| deferred(Lost::Failed(error.kind()).to_string()))
    }

    async fn authenticate(&mut self, mechanism: &str, first: &str) -> Result<(), Outcome> {
        let first = STANDARD.encode(first);
        self.say(&format!("<auth xmlns='{SASL}' mechanism='{mechanism}'>{first}</auth>")).await
    }

    async fn next(&mut self) -> Result<Item, Outcome> {
        loop {
            match self.framer.next(&mut self.incoming).map_err(|lost| deferred(lost.to_string()))? {
                Some(item) => return Ok(item),
                None if self.incoming.len() > LONGEST => return Err(deferred(Lost::Garbled.to_string())),
                None => {}
            }
            match self.stream.read_buf(&mut self.incoming).await {
                Ok(0) => return Err(deferred(Lost::Closed.to_string())),
                Ok(_) => {}
                Err(error) => return Err(deferred(Lost::Failed(error.kind()).to_string())),
            }
        }
    }

    async fn hear(&mut self) -> Result<Element, Outcome> {
        let Item::Stanza(text) = self.next().await? else { return Err(deferred(Lost::Closed.to_string())) };
        let element = Element::read(&text).map_err(|lost| deferred(lost.to_string()))?;
        match element.name.as_str() {
            "error" if element.child("host-unknown").is_some() => {
                Err(rejected("the server does not serve the domain of jid"))
            }
            "error" => Err(deferred("the server ended the stream")),
            _ => Ok(element),
        }
    }

    /// Opens it; what the server offers then.
    async fn begin(&mut self, domain: &str) -> Result<Element, Outcome> {
        let head = format!(
            "<?xml version='1.0'?><stream:stream to='{}' version='1.0' xml:lang='en' xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams'>",
            written(domain)
        );
        self.say(&head).await?;
        match self.next().await? {
            Item::Opened => {}
            _ => return Err(deferred(Lost::Garbled.to_string())),
        }
        match self.hear().await? {
            features if features.name == "features" => Ok(features),
            _ => Err(deferred(Lost::Garbled.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::publish::target::Target;
    use crate::channel::publish::xmpp::SCHEMES;
    use crate::config::Secret;

    fn xmpp() -> Xmpp {
        let settings = [("url".to_string(), Secret::new("xmpps://x.example"))].into();
        let target = Target::read(&settings, &SCHEMES, false).expect("a target");
        let host = url::Host::parse("x.example").expect("a host");
        let [user, domain, password, nick] = ["user", "x.example", "pencil", "us"].map(String::from);
        Xmpp { target, host, user, domain, password, nick }
    }

    /// A server that offers this, and what the login comes to if it then says that, given our first words.
    async fn login(mechanism: &str, says: impl Fn(&str) -> Vec<String>) -> Result<(), Outcome> {
        let (ours, theirs) = tokio::io::duplex(4096);
        let features = format!("<features><mechanisms><mechanism>{mechanism}</mechanism></mechanisms></features>");
        let features = Element::read(&features).expect("features");
        let server = async {
            let mut server = Talk { stream: theirs, incoming: BytesMut::new(), framer: Framer::within() };
            // Who is offered nothing of use goes without a word.
            if let Ok(first) = server.hear().await {
                for said in says(&decoded(&first)) {
                    server.say(&said).await.expect("said");
                }
            }
            server
        };
        let xmpp = xmpp();
        let client = async {
            let mut talk = Talk { stream: ours, incoming: BytesMut::new(), framer: Framer::within() };
            xmpp.log_in(&mut talk, &features).await
        };
        let (_server, came) = tokio::join!(server, client);
        came
    }

    fn element(name: &str, text: &str) -> String {
        format!("<{name} xmlns='{SASL}'>{}</{name}>", STANDARD.encode(text))
    }

    #[tokio::test]
    async fn a_server_that_does_not_know_the_password_itself_is_told_from_ours() {
        let challenge = |first: &str| {
            let nonce = first.split("r=").nth(1).expect("a nonce");
            element("challenge", &format!("r={nonce}more,s=QSXCR+Q6sek8bf92,i=4096"))
        };
        let forged = |first: &str| vec![challenge(first), element("success", "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=")];
        let Err(Outcome::Rejected { detail, .. }) = login("SCRAM-SHA-1", forged).await else { panic!("let in") };
        assert!(detail.contains("does not know the password"), "{detail}");
        let lets_in = |_: &str| vec!["<success/>".to_string()];
        assert!(matches!(login("SCRAM-SHA-256", lets_in).await, Err(Outcome::Deferred { .. })));
        assert_eq!(login("PLAIN", lets_in).await, Ok(()));
        let refuses = |_: &str| vec!["<failure><not-authorized/></failure>".to_string()];
        assert!(matches!(login("SCRAM-SHA-1", refuses).await, Err(Outcome::Rejected { .. })));
        assert!(matches!(login("ANONYMOUS", |_| vec![]).await, Err(Outcome::Rejected { .. })));
    }
}
