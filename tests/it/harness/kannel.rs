//! An SMS channel by Kannel's protocol: its configuration, what Kannel answers, and the reports that a test sends in its place.

use super::{Answer, Broker, Reply, Request, Sink};

/// The configuration of an SMS channel that asks the Kannel at `port`; `more` are lines of its own.
pub fn kannel(name: &str, port: u16, more: &str) -> String {
    format!(
        "[channels.{name}]\nplatform = \"kannel\"\n{more}\n[channels.{name}.settings]\n\
         url = \"http://127.0.0.1:{port}\"\nusername = \"u\"\npassword = \"p\"\nfrom = \"ALERT\"\n"
    )
}

/// A Kannel that accepts everything.
pub async fn accepting() -> Sink {
    Sink::answering(|_, _| Reply::accepted()).await
}

impl Reply {
    /// What Kannel answers when it has taken a message.
    pub fn accepted() -> Reply {
        Reply::Full(202, String::new(), "0: Accepted for delivery".into())
    }

    /// The same, once the sink is told to release it.
    pub fn accepted_late() -> Reply {
        Reply::Late(202, "0: Accepted for delivery".into())
    }
}

impl Request {
    /// A value in the query of its path.
    pub fn query(&self, name: &str) -> Option<String> {
        let asked = url::Url::parse(&format!("http://kannel{}", self.path)).expect("a url");
        asked.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    /// The path by which Kannel reports what became of this message. `kind`: 1 is delivered, 2 is not.
    pub fn report_path(&self, kind: &str) -> String {
        let callback = self.query("dlr-url").expect("a callback");
        // Whatever port the broker had that sent it.
        callback[callback.find("/v1/receipts/").expect("ours")..].replace("%d", kind)
    }
}

/// Kannel's report about a message.
pub async fn report(broker: &Broker, sent: &Request, kind: &str) -> Answer {
    broker.get(&sent.report_path(kind)).await
}
