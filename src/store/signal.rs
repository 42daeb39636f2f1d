//! A signal as it is kept: the latest word of one origin about one component.

use serde::Serialize;

use crate::clock::Time;

/// Origins of one component that are listened to within a window. What more of them said would change nothing.
pub const ORIGINS: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Signal {
    pub component: String,
    /// Who says so; the same origin counts once, however often it speaks.
    pub origin: String,
    /// Somebody whom the operator has let in, by a token.
    pub trusted: bool,
    pub at: Time,
    /// How often it has said so.
    pub count: i64,
    pub text: String,
}
