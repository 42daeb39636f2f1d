//! What the operator set, as the PDUs need it. Errors name the setting.

use rusmpp_core::types::borrowed::COctetString;

use super::super::{Settings, setting};

/// A text with the NUL that ends it, of less than `MAX` octets with it.
#[derive(Clone)]
pub struct Text<const MAX: usize>(Vec<u8>);

impl<const MAX: usize> Default for Text<MAX> {
    fn default() -> Self {
        Text(vec![0])
    }
}

impl<const MAX: usize> Text<MAX> {
    pub fn of(text: &str) -> Result<Text<MAX>, String> {
        if text.len() >= MAX || !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Err(format!("has more than {} characters, or one that is not of ASCII", MAX - 1));
        }
        Ok(Text(text.bytes().chain([0]).collect()))
    }

    fn read(settings: &Settings, name: &str) -> Result<Text<MAX>, String> {
        Text::of(setting(settings, name).unwrap_or_default()).map_err(|error| format!("{name}: {error}"))
    }

    pub fn get(&self) -> COctetString<'_, 1, MAX> {
        COctetString::new(&self.0).unwrap_or_default()
    }
}

/// How a longer text travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Long {
    /// As parts with a header whose reference has one octet, or two (3GPP TS 23.040, 9.2.3.24.1 and 9.2.3.24.8).
    #[default]
    Udh,
    WideUdh,
    /// As one message, for the centre to split (section 5.3.2.32).
    Payload,
}

/// How the id of a message is written in the answer to it, and in its receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ids {
    #[default]
    Same,
    HexDecimal,
    DecimalHex,
}

#[derive(Default)]
pub struct Own {
    pub system_id: Text<16>,
    pub password: Text<9>,
    pub system_type: Text<13>,
    pub service_type: Text<6>,
    pub from: Text<21>,
    pub source_ton: u8,
    pub source_npi: u8,
    /// How long the centre may try, as 000000HHMM00000R; nothing: as long as it does by itself.
    pub validity: Text<17>,
    pub long: Long,
    pub ids: Ids,
}

impl Own {
    pub fn read(settings: &Settings) -> Result<Own, String> {
        let from = setting(settings, "from").unwrap_or_default();
        let (ton, npi) = kind_of(from);
        let number = |name: &str, default: u8| match setting(settings, name) {
            Some(text) => text.parse().map_err(|_| format!("{name}: expected a number below 256")),
            None => Ok(default),
        };
        Ok(Own {
            system_id: Text::read(settings, "system_id")?,
            password: Text::read(settings, "password")?,
            system_type: Text::read(settings, "system_type")?,
            service_type: Text::read(settings, "service_type")?,
            from: Text::of(from.trim_start_matches('+')).map_err(|error| format!("from: {error}"))?,
            source_ton: number("source_ton", ton)?,
            source_npi: number("source_npi", npi)?,
            validity: Text::of(&validity(settings)?).map_err(|error| format!("validity: {error}"))?,
            long: match setting(settings, "long").unwrap_or("udh") {
                "udh" => Long::Udh,
                "udh16" => Long::WideUdh,
                "payload" => Long::Payload,
                _ => return Err("long: expected udh, udh16 or payload".into()),
            },
            ids: match setting(settings, "ids").unwrap_or("same") {
                "same" => Ids::Same,
                "hex-decimal" => Ids::HexDecimal,
                "decimal-hex" => Ids::DecimalHex,
                _ => return Err("ids: expected same, hex-decimal or decimal-hex".into()),
            },
        })
    }
}

/// Type of number and numbering plan (sections 5.2.5 and 5.2.6) of who sends: +number is international, another number is of
/// no known type, anything else alphanumeric.
fn kind_of(from: &str) -> (u8, u8) {
    match from.strip_prefix('+') {
        Some(_) => (1, 1),
        None if from.bytes().all(|byte| byte.is_ascii_digit()) => (0, u8::from(!from.is_empty())),
        None => (5, 0),
    }
}

/// Relative time (section 7.1.1): days, hours and minutes, below a month.
fn validity(settings: &Settings) -> Result<String, String> {
    let Some(text) = setting(settings, "validity") else { return Ok(String::new()) };
    let span = text.parse::<crate::quantity::Span>().map_err(|error| format!("validity: {error}"))?;
    let minutes = span.0.as_secs() / 60;
    if !(1..30 * 24 * 60).contains(&minutes) {
        return Err("validity: expected 1m to 29d".into());
    }
    let (days, hours, minutes) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
    Ok(format!("0000{days:02}{hours:02}{minutes:02}00000R"))
}
