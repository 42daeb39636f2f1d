//! Every kind of problem that an answer may name, in one list: what it is called, what it means and what to do. `Problem` can be
//! made of nothing else, and the page at `/docs/problems` and the document at `/openapi.json` are written from it.

use actix_web::http::StatusCode;

#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    pub status: StatusCode,
    /// The last part of `type`: `/docs/problems#<word>`.
    pub word: &'static str,
    pub title: &'static str,
    /// What has happened.
    pub means: &'static str,
    /// Private, so that only this file makes kinds: what is not listed here, and so explained nowhere, doesn't compile.
    remedy: &'static str,
}

impl Kind {
    /// What whoever asked does now.
    pub fn remedy(&self) -> &'static str {
        self.remedy
    }
}

macro_rules! kinds {
    ($($name:ident = $status:ident $word:literal, $title:literal, $means:literal, $remedy:literal;)+) => {
        $(pub static $name: Kind = Kind {
            status: StatusCode::$status, word: $word, title: $title, means: $means, remedy: $remedy,
        };)+
        pub static ALL: &[&Kind] = &[$(&$name),+];
    };
}

kinds! {
    BAD_REQUEST = BAD_REQUEST "bad-request", "What was sent can't be read",
        "The body, a header or a parameter is not what this place takes. Nothing was done.",
        "Change what pointer names as detail says: it has the reason and, for a name that is not known, the nearest one that is. \
         Sent again unchanged it is refused again.";
    UNAUTHORIZED = UNAUTHORIZED "unauthorized", "A token is needed",
        "No token came with the request, or none that is known here; it may have been revoked.",
        "Send Authorization: Bearer … with a token that loudhailer token create made.";
    FORBIDDEN = FORBIDDEN "forbidden", "Not allowed",
        "The token lacks the scope that this place needs, or the signature of a platform's report is wrong. Without tokens, only \
         programs and pages of the same machine are served.",
        "Use a token with the scope that the operation names; for a report, check the secret that the channel is set up with.";
    NOT_FOUND = NOT_FOUND "not-found", "Not found",
        "Nothing is at this path, or nothing has this id: it never was there, was deleted by age, or the link is forged or has expired.",
        "Check the path and the id. A confirmation link lasts 7 days; after that, have the address asked again.";
    METHOD = METHOD_NOT_ALLOWED "method", "Not this method",
        "The path is right and the method is not.",
        "Use a method that the list of operations has for this path.";
    TOO_SLOW = REQUEST_TIMEOUT "too-slow", "Too slow",
        "The body did not come in time: a whole one has 30 seconds, each piece of an import 60. Of an import, the rows before are there.",
        "Send it again. An import that is sent again leaves alone what it wrote.";
    CONFLICT = CONFLICT "conflict", "It contradicts what is there",
        "The same source and id came before with other content, an incident is of the other mode, an address belongs to another \
         subscriber, or what is asked for is not possible in the state that it is in; detail says which. Nothing was done.",
        "Look at what is there and decide anew. For an event with other content take another id.";
    TOO_LARGE = PAYLOAD_TOO_LARGE "too-large", "Too large",
        "The body is longer than server.body_limit.",
        "Send it in several requests, or raise the limit. An import is not bounded by it.";
    TOO_MANY_REQUESTS = TOO_MANY_REQUESTS "too-many-requests", "Too many requests",
        "More requests than server.rate allows came with this token, or from this client. Nothing was done.",
        "Wait as many seconds as Retry-After says, then send the same again.";
    UNAVAILABLE = SERVICE_UNAVAILABLE "unavailable", "Not now",
        "The store does not answer, the queue is full, or too much of this kind is under way. Unless detail says otherwise, nothing was taken.",
        "Wait as many seconds as Retry-After says, then send the same again: an event that was taken after all is answered as a duplicate.";
}

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn each_word_stands_once_and_can_be_an_anchor() {
        for kind in ALL {
            assert!(kind.word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{kind:?}");
            assert_eq!(ALL.iter().filter(|other| other.word == kind.word).count(), 1, "{kind:?}");
            assert!(kind.means.ends_with('.') && kind.remedy.ends_with('.'), "{kind:?}");
        }
    }
}
