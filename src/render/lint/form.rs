//! Checks of a message's form: length, ease of reading, links.

use super::Spoken;
use super::said::{self, URL};
use crate::incident::CauseCategory;
use crate::render::message::Format;
use crate::render::sms::{self, Alphabet};

impl Spoken<'_> {
    pub(super) fn length(&mut self) {
        let signs = self.own.chars().count();
        let words = said::words(&self.own).len();
        let title = self.title.as_deref().map_or(0, |title| title.chars().count());
        match self.wording.format {
            Format::Sms => self.sms_length(),
            Format::Push => {
                if signs > 140 {
                    self.block("length", format!("{signs} characters; a push has 140"));
                }
                if title > 60 {
                    self.block("length", format!("a title of {title} characters; 60 at most"));
                }
            }
            Format::Chat if signs > 600 => self.block("length", format!("{signs} characters; a chat message has 600")),
            Format::Post => {
                if signs > 500 {
                    self.block("length", format!("{signs} characters; a post has 500"));
                }
                if title > 70 {
                    self.block("length", format!("a title of {title} characters; 70 at most"));
                }
            }
            Format::Email => {
                if title > 60 {
                    self.block("length", format!("a subject of {title} characters; 60 at most"));
                }
                if words > 250 {
                    self.block("length", format!("{words} words; a mail has 250"));
                }
            }
            Format::Voice if words > 75 => self.block("length", format!("{words} words; a call has 75")),
            _ => {}
        }
    }

    fn sms_length(&mut self) {
        let count = sms::count(&self.text);
        // The label of a drill stands twice and is no part of the words.
        let most = if self.locale.gsm7 && !self.is_drill() { 1 } else { 2 };
        if count.segments > most {
            let message = format!("{} units in {} segments; {most} at most", count.units, count.segments);
            self.block("length", message);
        }
        if self.locale.gsm7 && count.alphabet == Alphabet::Ucs2 {
            let mut strange: Vec<char> = self.text.chars().filter(|c| sms::septets(*c).is_none()).collect();
            strange.dedup();
            let shown: String = strange.into_iter().take(8).collect();
            self.warn("length", format!("{shown:?} cuts a segment from 160 characters to 70"));
        }
    }

    pub(super) fn reading(&mut self) {
        for sentence in said::sentences(&self.own) {
            let count = said::words(&sentence).len();
            let begin: String = sentence.chars().take(40).collect();
            if count > 35 {
                self.block("reading", format!("a sentence of {count} words: {begin:?}…"));
            } else if count > 25 {
                self.warn("reading", format!("a sentence of {count} words: {begin:?}…"));
            }
        }
        let most = match self.wording.template.as_str() {
            "regulators" => 12.0,
            "businesses" | "press" | "executives" => 10.0,
            _ => 8.0,
        };
        if self.locale.tag == "en"
            && let Some(grade) = said::grade(&self.own).filter(|grade| *grade > most)
        {
            self.warn("reading", format!("reads at grade {grade:.1}; {most} at most"));
        }
    }

    pub(super) fn link(&mut self) {
        let mut allowed = vec![self.view.status_page()];
        let support = self.scene.facts.support_url.as_deref().and_then(|url| url::Url::parse(url).ok());
        allowed.extend(support.and_then(|url| url.host_str().map(str::to_string)));
        let all = format!("{} {}", self.title.as_deref().unwrap_or(""), self.text);
        let links: Vec<String> = URL
            .find_iter(&all)
            .map(|found| found.as_str().trim_end_matches(['.', ',', ';', ')', ':']).to_string())
            .collect();
        for link in &links {
            if let Some(why) = wrong_link(link, &allowed) {
                self.block("link", format!("{link}: {why}"));
            }
        }
        let attack = self.scene.facts.cause.category == Some(CauseCategory::Cyberattack);
        if attack && self.wording.format == Format::Sms && !links.is_empty() {
            self.block("link", "a link in an SMS during an attack");
        }
    }
}

fn wrong_link(link: &str, allowed: &[String]) -> Option<String> {
    let Ok(url) = url::Url::parse(link) else { return Some("is no address".into()) };
    let host = url.host_str().unwrap_or("");
    let path = url.path().to_lowercase();
    let reason = match &url {
        url if url.scheme() != "https" => "is not https",
        url if matches!(url.host(), Some(url::Host::Ipv4(_) | url::Host::Ipv6(_))) => "is an IP address",
        url if url.port().is_some() => "has a port",
        url if !url.username().is_empty() || url.password().is_some() => "has a user part",
        _ if host.split('.').any(|label| label.starts_with("xn--")) => "has a host in punycode",
        url if url.query().is_some() => "has a query",
        _ if ["login", "verify", "pay"].iter().any(|word| path.contains(word)) => {
            "asks for login or payment in its path"
        }
        _ if !allowed.iter().any(|allowed| allowed == host) => "leads to a host that we do not name",
        _ => return None,
    };
    Some(reason.into())
}

#[cfg(test)]
mod tests {
    use super::wrong_link;

    #[test]
    fn only_plain_links_to_our_own_hosts_pass() {
        let allowed = ["status.example".to_string()];
        assert_eq!(wrong_link("https://status.example/outage", &allowed), None);
        for bad in [
            "http://status.example/",
            "https://evil.status.example/",
            "https://status.example.evil.example/",
            "https://192.0.2.1/",
            "https://[2001:db8::1]/",
            "https://status.example:8443/",
            "https://me@status.example/",
            "https://status.example/?id=1",
            "https://status.example/login",
            "https://xn--sttus-hra.example/",
        ] {
            assert!(wrong_link(bad, &allowed).is_some(), "{bad}");
        }
    }
}
