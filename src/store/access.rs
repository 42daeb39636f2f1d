//! Who may: tokens by their digests, and the sessions of browsers, each of which stands for one.

use async_trait::async_trait;

use super::Result;
use crate::clock::Time;

/// Past so many sessions the oldest ends.
pub const SESSIONS: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TokenRow {
    pub name: String,
    /// A person may confirm a cause; a machine may not.
    pub person: bool,
    pub scopes: Vec<String>,
}

#[async_trait]
pub trait Access: Send + Sync {
    /// `false`: there is one of that name.
    async fn add_token(&self, hash: [u8; 32], row: TokenRow, now: Time) -> Result<bool>;
    async fn tokens(&self) -> Result<Vec<([u8; 32], TokenRow)>>;
    async fn remove_token(&self, name: &str) -> Result<bool>;
    /// A browser has signed in: the digest of its word stands for a token until then. Of too many the oldest end.
    async fn begin_session(&self, word: [u8; 32], token: [u8; 32], ends: Time, now: Time) -> Result<()>;
    /// The token that it stands for.
    async fn session(&self, word: [u8; 32], now: Time) -> Result<Option<[u8; 32]>>;
    async fn end_session(&self, word: [u8; 32]) -> Result<()>;
}
