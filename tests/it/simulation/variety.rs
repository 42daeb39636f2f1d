//! What a world may have beside what every world has. Each seldom, so that everything else still happens.

/// Such that the worlds of seeds that failed before there was any of this are as they were.
const SALT: u64 = 499;

/// How many worlds in a hundred have each.
const SHARE: u32 = 25;

#[derive(Debug, Clone, Copy, Default)]
pub struct Variety {
    /// Both SMS channels keep the limits of one account.
    pub account: bool,
    /// Some people want quiet hours, each in a zone of their own.
    pub quiet: bool,
    /// Earlier updates are corrected, or withdrawn.
    pub corrections: bool,
    /// Customers are told only when a person has released it.
    pub approval: bool,
    /// Steps wait for confirmations, by channels of which some report deliveries, and one never does.
    pub confirmations: bool,
    /// Few shards hold everyone, so that a page often ends in the midst of one.
    pub crowded: bool,
}

/// What the checks count of each, in this order.
pub const COUNTED: [&str; 6] = [
    "attempts under an account's limits",
    "attempts for who wants quiet hours",
    "corrections",
    "attempts that were approved",
    "confirmations that did not come",
    "recipients after the first page of their shard",
];

impl Variety {
    /// By a chance of its own: the others of a world do not change when one is added here, at the end.
    pub fn of(seed: u64) -> Variety {
        let mut chance = fastrand::Rng::with_seed(seed ^ SALT);
        let mut has = || chance.u32(..100) < SHARE;
        Variety {
            account: has(),
            quiet: has(),
            corrections: has(),
            approval: has(),
            confirmations: has(),
            crowded: has(),
        }
    }
}
