//! Our clock, as governor wants it.

use std::sync::Arc;
use std::time::Duration;

use governor::clock::Reference;
use governor::nanos::Nanos;

use crate::clock::Clock;

#[derive(Clone)]
pub struct Ticks(Arc<Clock>);

impl Ticks {
    pub fn of(clock: Arc<Clock>) -> Ticks {
        Ticks(clock)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(Duration);

impl std::ops::Add<Nanos> for Tick {
    type Output = Tick;
    fn add(self, span: Nanos) -> Tick {
        Tick(self.0 + Duration::from(span))
    }
}

impl Reference for Tick {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_sub(earlier.0).into()
    }

    fn saturating_sub(&self, span: Nanos) -> Self {
        Tick(self.0.saturating_sub(span.into()))
    }
}

impl governor::clock::Clock for Ticks {
    type Instant = Tick;
    fn now(&self) -> Tick {
        Tick(self.0.monotonic())
    }
}
