//! The one integration binary. `tests/run` starts what these tests talk to; see tests/peers/README.md.

mod api;
mod around;
mod aws;
mod bounces;
mod cap;
mod channel_command;
mod channels;
mod cli;
mod cli_bench;
mod compromised;
mod confirm;
mod console;
mod counterparties;
mod demo;
mod documents;
mod environment;
mod evidence;
mod explain;
mod failover;
mod faults;
mod follow;
mod fuzz;
mod harness;
mod heartbeat;
mod https;
mod import;
mod kafka;
mod kubernetes;
mod leaving;
mod licences;
mod limit;
mod log;
mod offer;
mod once;
mod peers;
mod press;
mod publish;
mod received;
mod relay;
mod signals;
mod simulation;
mod smtp;
mod sources;
mod store;
mod together;
mod tokens;
mod upgrade;
mod urgent;
mod waiting;
mod watchers;
mod webpush;

/// As in the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
