//! PDUs on the wire: their length first (section 3.2). What goes out is written by the codec; of what comes in the header is read
//! here, so that a body that the codec does not take costs that PDU alone.

use bytes::{Buf, Bytes, BytesMut};
use rusmpp_core::CommandStatus;
use rusmpp_core::command::borrowed::Command;
use rusmpp_core::encode::{Encode, Length};
use rusmpp_core::pdus::borrowed::Pdu;

use super::super::conversation::Lost;

/// A message of the longest payload, with what stands beside it, that the conversation has room for.
const LONGEST: usize = 48 * 1024;
const HEADER: usize = 16;

/// Command ids (section 5.1.2.1).
pub struct ID;

impl ID {
    pub const NACK: u32 = 0x8000_0000;
    pub const BIND_TRANSMITTER_RESP: u32 = 0x8000_0002;
    pub const SUBMIT_SM_RESP: u32 = 0x8000_0004;
    pub const DELIVER_SM: u32 = 0x0000_0005;
    pub const UNBIND: u32 = 0x0000_0006;
    pub const BIND_TRANSCEIVER_RESP: u32 = 0x8000_0009;
    pub const ENQUIRE_LINK: u32 = 0x0000_0015;
    /// Set in every answer.
    pub const ANSWER: u32 = 0x8000_0000;
}

/// A PDU as it came.
pub struct Frame {
    pub id: u32,
    pub status: CommandStatus,
    pub number: u32,
    /// Header and all, without the length.
    pub bytes: Bytes,
}

impl Frame {
    /// The first, once it is there whole.
    pub fn take(incoming: &mut BytesMut) -> Result<Option<Frame>, Lost> {
        let Some(length) = incoming.first_chunk::<4>().map(|length| u32::from_be_bytes(*length) as usize) else {
            return Ok(None);
        };
        if !(HEADER..=LONGEST).contains(&length) {
            return Err(Lost::Garbled);
        }
        if incoming.len() < length {
            return Ok(None);
        }
        let mut bytes = incoming.split_to(length).freeze();
        bytes.advance(4);
        let mut header = bytes.clone();
        let (id, status, number) = (header.get_u32(), header.get_u32(), header.get_u32());
        Ok(Some(Frame { id, status: CommandStatus::from(status), number, bytes }))
    }

    /// The text that the body begins with, as `submit_sm_resp` does with the message's id; it may be missing (section 4.4.2).
    pub fn text(&self) -> &[u8] {
        let body = &self.bytes[HEADER - 4..];
        &body[..body.iter().position(|byte| *byte == 0).unwrap_or(body.len())]
    }
}

pub fn write<'a, const N: usize>(out: &mut BytesMut, status: CommandStatus, number: u32, pdu: impl Into<Pdu<'a, N>>) {
    let command = Command::new(status, number, pdu);
    let (begins, length) = (out.len(), command.length() + 4);
    out.resize(begins + length, 0);
    out[begins..begins + 4].copy_from_slice(&(length as u32).to_be_bytes());
    command.encode(&mut out[begins + 4..]);
}
