//! Loudhailer: a crisis-communication notification broker.
//!
//! The modules stand in the order of the flow; `pipeline` shows it as plain calls.

/// The commands of the binary.
pub mod cli;

/// Composition root: the only place that knows all parts.
pub mod app;

/// One typed configuration; the commented default file is the default.
pub mod config;

/// Time: a calendar and a monotonic clock, both in a test's hand.
pub mod clock;

/// Prefixed ids over integers.
pub mod id;

/// Logs and metrics.
pub mod telemetry;

/// The whole flow.
pub mod pipeline;

/// What an event would do, before it is taken.
pub mod preview;

/// Everything that makes an Event.
pub mod ingest;

/// Alerts of OASIS CAP 1.2, in and out.
pub mod cap;

/// Incidents: facts folded from events into numbered updates.
pub mod incident;

/// Signals: what others see before we know, until it is an incident.
pub mod signal;

/// Watchers: what others publish, as signals.
pub mod watch;

/// Plans: which step tells whom, how and when.
pub mod plan;

/// Subscribers, addresses, audiences, and the way chosen for each recipient.
pub mod audience;

/// Words: templates into messages.
pub mod render;

/// The engine: planner, lanes, permits, retry, failover.
pub mod dispatch;

/// Platforms and channels, and what they answer.
pub mod channel;

/// What a platform says later about a delivery.
pub mod receipt;

/// What happened, offered to others as CloudEvents.
pub mod offer;

/// Why somebody was told, or not.
pub mod explain;

/// Where everything is kept.
pub mod store;

/// The machine's door.
pub mod api;

/// The people's door.
pub mod web;

/// Deliberate faults that the simulation must notice; none in the program that ships.
pub mod fault;
/// What parses, as properties that fuzzers and tests attack.
pub mod fuzz;

/// `N/[n](s|min|h|day)` and `90m`, read and printed as people say them.
pub mod quantity;
