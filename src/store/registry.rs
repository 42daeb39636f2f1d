//! What the nodes of a store share: who is there, who owns which shard, and what they say to each other. PostgreSQL keeps it, or in
//! simulation a store in memory; `node.rs` decides by it.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::Result;
use super::announced::Payload;

#[async_trait]
pub trait Registry: Send + Sync {
    /// A connection by which everything is heard that is said from now on.
    async fn open(&self) -> Result<Box<dyn Line>>;
}

/// A node's own connection: its lease is extended by the one by which it hears, so that no lease lasts where nothing is heard.
#[async_trait]
pub trait Line: Send + Sync {
    /// The lease of a node lasts anew; false where the node is none any more.
    async fn extend(&self, node: i64, leaving: bool) -> Result<bool>;
    /// Answers the number of a new node, which nobody had before.
    async fn register(&self) -> Result<i64>;
    /// Ends the nodes whose leases have ended by the store's clock, and answers which.
    async fn bury(&self) -> Result<Vec<i64>>;
    /// The shards of a node with their epochs.
    async fn owned(&self, node: i64) -> Result<BTreeMap<u8, i64>>;
    /// How many nodes there are to own shards.
    async fn nodes(&self) -> Result<usize>;
    /// Takes up to so many of those that nobody owns, under an epoch that nobody had before.
    async fn acquire(&self, node: i64, most: usize) -> Result<Vec<(u8, i64)>>;
    /// These are nobody's now.
    async fn release(&self, node: i64, shards: &[u8]) -> Result<()>;
    /// The node is none any more.
    async fn leave(&self, node: i64) -> Result<()>;
    /// To all nodes; what is said so need not outlive the store's fall.
    async fn say(&self, payload: &Payload) -> Result<()>;
    /// What is said next; `None`: the connection has ended.
    async fn next(&mut self) -> Option<Payload>;
}
