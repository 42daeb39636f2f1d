//! Limits and spans written as people say them: `30/s`, `100/5min`, `200000/day`, and `250ms`, `90s`, `15m`, `24h`, `7d`.
//! Both are printed back the same way.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadQuantity {
    #[error("{0:?} is not a limit; write N/[n](s|min|h|day), for example 30/s or 100/5min")]
    Limit(String),
    #[error("{0:?} is not a span of time; write a number and ms, s, m, h or d, for example 90s or 15m")]
    Span(String),
    #[error("{0:?} is not a size; write a number and B, KiB, MiB or GiB, for example 1MiB")]
    Size(String),
}

/// At most `count` in any half-open interval of length `window`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limit {
    pub count: u32,
    pub window: Duration,
}

const WINDOWS: [(&str, u64); 4] = [("s", 1), ("min", 60), ("h", 3600), ("day", 86400)];

impl FromStr for Limit {
    type Err = BadQuantity;

    fn from_str(text: &str) -> Result<Limit, BadQuantity> {
        let parse = || {
            let (count, window) = text.trim().split_once('/')?;
            let count: u32 = count.trim().parse().ok().filter(|n| *n > 0)?;
            let window = window.trim();
            let digits = window.bytes().take_while(u8::is_ascii_digit).count();
            let times: u64 = if digits == 0 { 1 } else { window[..digits].parse().ok().filter(|n| *n > 0)? };
            let (_, seconds) = WINDOWS.iter().find(|(unit, _)| *unit == window[digits..].trim_start())?;
            Some(Limit { count, window: Duration::from_secs(times.checked_mul(*seconds)?) })
        };
        parse().ok_or_else(|| BadQuantity::Limit(text.into()))
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.window.as_secs();
        let (unit, size) = WINDOWS.iter().rev().find(|(_, size)| seconds.is_multiple_of(*size)).unwrap_or(&WINDOWS[0]);
        match seconds / size {
            1 => write!(f, "{}/{unit}", self.count),
            n => write!(f, "{}/{n}{unit}", self.count),
        }
    }
}

/// A span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Span(pub Duration);

const SPANS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl FromStr for Span {
    type Err = BadQuantity;

    fn from_str(text: &str) -> Result<Span, BadQuantity> {
        let parse = || {
            let text = text.trim();
            let digits = text.bytes().take_while(u8::is_ascii_digit).count();
            let count: u64 = text[..digits].parse().ok()?;
            let (_, size) = SPANS.iter().find(|(unit, _)| *unit == text[digits..].trim_start())?;
            Some(Span(Duration::from_millis(count.checked_mul(*size)?)))
        };
        parse().ok_or_else(|| BadQuantity::Span(text.into()))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis() as u64;
        let (unit, size) = SPANS.iter().rev().find(|(_, size)| millis.is_multiple_of(*size)).unwrap_or(&SPANS[0]);
        match millis {
            0 => f.write_str("0s"),
            _ => write!(f, "{}{unit}", millis / size),
        }
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Size(pub u64);

const SIZES: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

impl FromStr for Size {
    type Err = BadQuantity;

    fn from_str(text: &str) -> Result<Size, BadQuantity> {
        let parse = || {
            let text = text.trim();
            let digits = text.bytes().take_while(u8::is_ascii_digit).count();
            let count: u64 = text[..digits].parse().ok()?;
            let (_, size) = SIZES.iter().find(|(unit, _)| *unit == text[digits..].trim_start())?;
            count.checked_mul(*size).map(Size)
        };
        parse().ok_or_else(|| BadQuantity::Size(text.into()))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, size) = SIZES.iter().rev().find(|(_, size)| self.0.is_multiple_of(*size)).unwrap_or(&SIZES[0]);
        match self.0 {
            0 => f.write_str("0B"),
            n => write!(f, "{}{unit}", n / size),
        }
    }
}

macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

as_text!(Limit, Span, Size);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_printed_as_they_were_written() {
        for text in ["30/s", "100/5min", "1/15min", "200000/day", "7/h", "1001/s"] {
            assert_eq!(text.parse::<Limit>().expect(text).to_string(), text);
        }
        for text in ["250ms", "90s", "15m", "24h", "7d", "0s"] {
            assert_eq!(
                text.parse::<Span>().map(|s| if text == "24h" {
                    assert_eq!(s.to_string(), "1d");
                    text.into()
                } else {
                    s.to_string()
                }),
                Ok(text.to_string())
            );
        }
        assert_eq!("1536KiB".parse::<Size>().map(|s| s.to_string()), Ok("1536KiB".into()));
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "30", "0/s", "30/", "30/0s", "30/fortnight", "-1/s", "9999999999/s", "1/99999999999999999999s"]
        {
            assert!(text.parse::<Limit>().is_err(), "{text}");
        }
        for text in ["", "m", "5", "5 weeks", "-5m", "99999999999999999999h"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
