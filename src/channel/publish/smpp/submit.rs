//! From a text to `submit_sm` (section 4.4.1): in the 7-bit alphabet where it holds the text, else in UCS-2, in as many parts as that
//! takes. The same delivery has the same reference at every try, so that a phone puts parts together whichever try brought them.

use bytes::BytesMut;
use rusmpp_core::CommandStatus;
use rusmpp_core::pdus::borrowed::SubmitSm;
use rusmpp_core::tlvs::borrowed::MessageSubmissionRequestTlvValue as Extra;
use rusmpp_core::types::borrowed::{AnyOctetString, EmptyOrFullCOctetString, OctetString};
use rusmpp_core::values::borrowed::{MessagePayload, ServiceType};
use rusmpp_core::values::{DataCoding, EsmClass, Npi, RegisteredDelivery, Ton};

use super::super::Letter;
use super::pdu;
use super::settings::{Long, Own, Text};
use crate::channel::{Fault, Outcome, gsm7};
use crate::render::sms::{SHORT_HEADER, segments_under};

/// What the parts' number fits into.
const MOST_PARTS: usize = 255;
/// The most that a length of two octets says, and an SMS centre is likely to take.
const LONGEST_PAYLOAD: usize = 32 * 1024;

/// One `submit_sm`: its octets, and whether they begin with a header.
pub struct Part {
    octets: Vec<u8>,
    header: bool,
    payload: bool,
}

/// A message in as many parts as it takes.
pub struct Draft {
    to: Text<21>,
    coding: DataCoding,
    pub parts: Vec<Part>,
}

impl Draft {
    pub fn of(letter: &Letter, long: Long) -> Result<Draft, Outcome> {
        let rejected = |fault, detail: &str| Outcome::Rejected { fault, detail: detail.into() };
        let text = std::str::from_utf8(&letter.body).map_err(|_| rejected(Fault::Message, "not a text"))?;
        let to = Text::of(letter.to.trim_start_matches('+'))
            .map_err(|_| rejected(Fault::Address, "longer than an address of SMPP can be"))?;
        let encode = |text: &str| match gsm7::septets(text) {
            Some(septets) => septets,
            None => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        };
        let coding = if gsm7::holds(text) { DataCoding::McSpecific } else { DataCoding::Ucs2 };
        // A part of another alphabet than the rest would be put together wrongly.
        let encode = |part: &str| match coding {
            DataCoding::Ucs2 => part.encode_utf16().flat_map(u16::to_be_bytes).collect(),
            _ => encode(part),
        };
        let header = if long == Long::WideUdh { SHORT_HEADER + 1 } else { SHORT_HEADER };
        let texts = segments_under(text, header);
        let total = texts.len();
        if total == 1 {
            let part = Part { octets: encode(text), header: false, payload: false };
            return Ok(Draft { to, coding, parts: vec![part] });
        }
        if long == Long::Payload {
            let octets: Vec<u8> = encode(text);
            if octets.len() > LONGEST_PAYLOAD {
                return Err(rejected(Fault::Message, "longer than a payload may be"));
            }
            return Ok(Draft { to, coding, parts: vec![Part { octets, header: false, payload: true }] });
        }
        if total > MOST_PARTS {
            return Err(rejected(Fault::Message, "more than 255 parts"));
        }
        let [high, low] = reference(letter).to_be_bytes();
        let parts = texts.iter().enumerate().map(|(at, part)| {
            let (total, number) = (total as u8, at as u8 + 1);
            let mut octets = match long {
                Long::WideUdh => vec![6, 8, 4, high, low, total, number],
                _ => vec![5, 0, 3, low, total, number],
            };
            octets.extend::<Vec<u8>>(encode(part));
            Part { octets, header: true, payload: false }
        });
        Ok(Draft { to, coding, parts: parts.collect() })
    }

    /// Of the last part success and failure are to be reported, of the others failure alone (section 5.2.17).
    pub fn write(&self, out: &mut BytesMut, number: u32, at: usize, own: &Own) {
        let part = &self.parts[at];
        let validity = own.validity.get();
        let pdu = SubmitSm::<1>::builder()
            .service_type(ServiceType::new(own.service_type.get()))
            .source_addr_ton(Ton::from(own.source_ton))
            .source_addr_npi(Npi::from(own.source_npi))
            .source_addr(own.from.get())
            .dest_addr_ton(Ton::International)
            .dest_addr_npi(Npi::Isdn)
            .destination_addr(self.to.get())
            .esm_class(EsmClass::from(if part.header { 0x40 } else { 0 }))
            .validity_period(EmptyOrFullCOctetString::new(validity.bytes()).unwrap_or_default())
            .registered_delivery(RegisteredDelivery::from(if at + 1 == self.parts.len() { 1 } else { 2 }))
            .data_coding(self.coding);
        let pdu = match part.payload {
            // One place for one TLV is enough.
            true => pdu.push_tlv(Extra::MessagePayload(MessagePayload::new(AnyOctetString::new(&part.octets)))),
            false => Ok(pdu.short_message(OctetString::new(&part.octets).unwrap_or_default())),
        };
        if let Ok(pdu) = pdu {
            pdu::write(out, CommandStatus::EsmeRok, number, pdu.build());
        }
    }
}

/// Of a broadcast: its number, so that the next one to a phone has another. Else of the delivery.
fn reference(letter: &Letter) -> u16 {
    match letter.broadcast {
        Some(broadcast) => broadcast.0 as u16,
        None => {
            let digest = ring::digest::digest(&ring::digest::SHA256, letter.id.as_bytes());
            u16::from_be_bytes([digest.as_ref()[0], digest.as_ref()[1]])
        }
    }
}
