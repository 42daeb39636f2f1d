//! Deliberate faults, so that the simulation can be seen to notice them: `FAULT=name` switches one on, in a build with the feature
//! `faults`. Without the feature none is ever on, and nothing of this is left in the program. `tests/faults` runs them all.

use crate::incident::words;

words!(
    /// Each where the code keeps the promise that it breaks.
    Fault {
        CursorBeforeManifest = "cursor-before-manifest", RecoverySkipped = "recovery-skipped",
        AnsweredBeforeWritten = "answered-before-written", EpochNotCompared = "epoch-not-compared",
        StaleOwnersOutcomeDropped = "stale-owners-outcome-dropped", RecoveredPlatformUnnoticed = "recovered-platform-unnoticed",
        HalfReadShardEnded = "half-read-shard-ended",
        ClaimsIgnored = "claims-ignored",
        RetryUnderNewId = "retry-under-new-id", RetryWithOtherBytes = "retry-with-other-bytes",
        ToldByTwoSteps = "told-by-two-steps", AlsoIgnored = "also-ignored",
        ChoiceBeforePermit = "choice-before-permit", BulkFirst = "bulk-first", NoSlotKept = "no-slot-kept",
        BurstTooLarge = "burst-one-too-large", LimiterStartsFull = "limiter-starts-full",
        LongLimitForgotten = "long-limit-forgotten",
        SupersessionIgnored = "supersession-ignored", SupersessionAcrossAudiences = "supersession-across-audiences",
        TwoTriesAtOneAddress = "two-tries-at-one-address",
        PlatformDownIgnored = "platform-down-ignored", BreakerIgnored = "breaker-ignored",
        ChangeIgnored = "change-in-mid-broadcast-ignored", UnverifiedWrittenTo = "unverified-written-to",
        StopIgnored = "stop-ignored", LeaversTold = "leavers-told", PauseIgnored = "pause-ignored",
        NotEnrolledExercised = "not-enrolled-exercised", UnconfirmedCauseTold = "unconfirmed-cause-told",
        InternalFactsTold = "internal-facts-told",
        UnknownRepeated = "unknown-repeated-where-unsafe", UnknownAsDeferred = "unknown-recorded-as-deferred",
        FormerOwnersFactFirst = "former-owners-fact-taken-for-the-first", GivenWithAttempts = "shard-given-with-attempts-on-the-wire",
        LeaseNotAsked = "sent-on-a-lease-that-has-ended", TakeoverWithoutManifests = "takeover-without-manifests",
        AnsweredUnobeyed = "stop-answered-before-all-obey",
        SendTimesUsedTwice = "send-times-used-twice",
    }
);

impl Fault {
    /// The number of the promise that it breaks, as docs/PROMISES.md count them.
    pub fn promise(self) -> usize {
        match self {
            Fault::CursorBeforeManifest
            | Fault::RecoverySkipped
            | Fault::AnsweredBeforeWritten
            | Fault::RecoveredPlatformUnnoticed
            | Fault::EpochNotCompared
            | Fault::HalfReadShardEnded
            | Fault::FormerOwnersFactFirst
            | Fault::TakeoverWithoutManifests => 1,
            Fault::StaleOwnersOutcomeDropped
            | Fault::ClaimsIgnored
            | Fault::RetryUnderNewId
            | Fault::RetryWithOtherBytes
            | Fault::ToldByTwoSteps
            | Fault::AlsoIgnored
            | Fault::GivenWithAttempts
            | Fault::LeaseNotAsked => 2,
            Fault::ChoiceBeforePermit | Fault::BulkFirst | Fault::NoSlotKept => 3,
            Fault::BurstTooLarge | Fault::LimiterStartsFull | Fault::LongLimitForgotten | Fault::SendTimesUsedTwice => {
                4
            }
            Fault::SupersessionIgnored | Fault::SupersessionAcrossAudiences | Fault::TwoTriesAtOneAddress => 5,
            Fault::PlatformDownIgnored | Fault::BreakerIgnored => 6,
            Fault::ChangeIgnored
            | Fault::UnverifiedWrittenTo
            | Fault::StopIgnored
            | Fault::LeaversTold
            | Fault::PauseIgnored
            | Fault::AnsweredUnobeyed => 7,
            Fault::NotEnrolledExercised | Fault::UnconfirmedCauseTold | Fault::InternalFactsTold => 8,
            Fault::UnknownRepeated | Fault::UnknownAsDeferred => 9,
        }
    }
}

impl Fault {
    /// Whether it takes several nodes to see it.
    pub fn of_nodes(self) -> bool {
        matches!(
            self,
            Fault::FormerOwnersFactFirst
                | Fault::GivenWithAttempts
                | Fault::LeaseNotAsked
                | Fault::TakeoverWithoutManifests
                | Fault::AnsweredUnobeyed
                | Fault::SendTimesUsedTwice
        )
    }
}

/// By how many milliseconds this process's clock is ahead of its machine's: `CLOCK_AHEAD`, so that nodes whose clocks are apart can be
/// seen to agree all the same.
#[cfg(feature = "faults")]
pub fn clock_ahead() -> i64 {
    let text = std::env::var("CLOCK_AHEAD").unwrap_or_default();
    if text.is_empty() { 0 } else { text.parse().unwrap_or_else(|error| panic!("CLOCK_AHEAD: {text:?}: {error}")) }
}

#[cfg(not(feature = "faults"))]
pub const fn clock_ahead() -> i64 {
    0
}

/// The fault that is switched on.
#[cfg(feature = "faults")]
pub fn chosen() -> Option<Fault> {
    static CHOSEN: std::sync::LazyLock<Option<Fault>> = std::sync::LazyLock::new(|| {
        let name = std::env::var("FAULT").ok().filter(|name| !name.is_empty())?;
        Some(name.parse().unwrap_or_else(|error| panic!("FAULT: {error}")))
    });
    *CHOSEN
}

#[cfg(feature = "faults")]
pub fn on(fault: Fault) -> bool {
    chosen() == Some(fault)
}

#[cfg(not(feature = "faults"))]
#[inline(always)]
pub const fn on(_: Fault) -> bool {
    false
}
