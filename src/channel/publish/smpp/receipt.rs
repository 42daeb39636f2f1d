//! What the centre delivers (section 4.6.1): receipts, in the text form of appendix B or as TLVs, and what people write back. A receipt
//! becomes `{ "id", "stat", "err" }` for the platform's file to read.

use rusmpp_core::command::borrowed::Command;
use rusmpp_core::decode::borrowed::DecodeWithLength;
use rusmpp_core::pdus::borrowed::Pdu;
use rusmpp_core::tlvs::borrowed::TlvValue;
use rusmpp_core::values::MessageState as State;

use super::pdu::Frame;
use super::settings::Ids;

/// Optional parameters that a PDU may carry.
const TLVS: usize = 16;

#[derive(Debug, PartialEq, Eq)]
pub enum Delivered {
    Receipt(Receipt),
    /// Somebody's own words, or a report that says no more than that the message is on its way.
    Other,
    Unreadable,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Receipt {
    /// As in the answer to the message.
    pub id: String,
    pub stat: String,
    pub err: String,
}

impl Ids {
    /// An id of an answer, as the receipts of its message are known by.
    pub fn answered(self, id: &[u8]) -> Option<String> {
        let id = std::str::from_utf8(id).ok().filter(|id| is_id(id))?;
        Some(match self {
            Ids::Same => id.into(),
            Ids::HexDecimal => decimal(id, 16),
            Ids::DecimalHex => decimal(id, 10),
        })
    }

    fn reported(self, id: &str) -> Option<String> {
        is_id(id).then(|| match self {
            Ids::Same => id.into(),
            Ids::HexDecimal => decimal(id, 10),
            Ids::DecimalHex => decimal(id, 16),
        })
    }
}

fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Without leading zeros; what is no number stays what it is.
fn decimal(id: &str, base: u32) -> String {
    u128::from_str_radix(id, base).map_or(id.into(), |id| id.to_string())
}

pub fn read(frame: &Frame, ids: Ids) -> Delivered {
    let Ok((command, _)) = Command::<TLVS>::decode(&frame.bytes, frame.bytes.len()) else {
        return Delivered::Unreadable;
    };
    let Some(Pdu::DeliverSm(delivered)) = command.pdu() else { return Delivered::Unreadable };
    let (mut id, mut stat, mut err, mut text) = (None, None, None, delivered.short_message().bytes());
    for value in delivered.tlvs().iter().filter_map(|tlv| tlv.value()) {
        match value {
            // The same as in the answer, so of its form (section 5.3.2.12).
            TlvValue::ReceiptedMessageId(given) => id = ids.answered(given.as_str().as_bytes()),
            TlvValue::MessageState(state) => stat = word(*state),
            TlvValue::NetworkErrorCode(code) => err = Some(code.error_code.to_string()),
            TlvValue::MessagePayload(payload) => text = payload.value.bytes(),
            _ => {}
        }
    }
    // Bit 2: a receipt; bit 5: a notification on the way (section 5.2.12).
    if u8::from(delivered.esm_class) & 0b10_0100 == 0 && id.is_none() {
        return Delivered::Other;
    }
    let text = String::from_utf8_lossy(text);
    let field = |name: &str| field(&text, name);
    let id = id.or_else(|| ids.reported(field("id:")?));
    let stat = stat.map(String::from).or_else(|| Some(field("stat:")?.to_uppercase()));
    match (id, stat) {
        (Some(id), Some(stat)) => {
            let err = err.or_else(|| field("err:").map(String::from)).unwrap_or_default();
            Delivered::Receipt(Receipt { id, stat, err })
        }
        _ => Delivered::Unreadable,
    }
}

/// The value of a field of the text form; of what follows `text:`, which is the message's own, none.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let lower = text.to_ascii_lowercase();
    let end = lower.find("text:").unwrap_or(text.len());
    let starts = |at: &usize| *at == 0 || lower.as_bytes()[at - 1] == b' ';
    let at = lower[..end].match_indices(name).map(|(at, _)| at).find(starts)? + name.len();
    text[at..end].split(' ').next().filter(|value| !value.is_empty())
}

/// As the text form writes it (appendix B); of the two of SMPP 5.0 the one that ends a message.
fn word(state: State) -> Option<&'static str> {
    Some(match state {
        State::Enroute | State::Scheduled => "ENROUTE",
        State::Delivered => "DELIVRD",
        State::Expired => "EXPIRED",
        State::Deleted => "DELETED",
        State::Undeliverable => "UNDELIV",
        State::Accepted => "ACCEPTD",
        State::Unknown => "UNKNOWN",
        State::Rejected => "REJECTD",
        State::Skipped => "SKIPPED",
        State::Other(_) => return None,
    })
}
