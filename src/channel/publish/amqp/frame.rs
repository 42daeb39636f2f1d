//! The bytes of AMQP 0-9-1: frames, and the few types that our methods have (sections 2.3 and 4.2 of the specification).

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::channel::publish::conversation::Lost;

pub const METHOD: u8 = 1;
pub const HEADER: u8 = 2;
pub const BODY: u8 = 3;
pub const HEARTBEAT: u8 = 8;
/// What each frame ends with.
const END: u8 = 0xce;
/// Bytes of a frame beside its payload.
pub const AROUND: usize = 8;
/// The longest frame that is read; we ask for shorter ones.
const LONGEST: usize = 48 * 1024;

#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub payload: Bytes,
}

/// The next whole frame.
pub fn take(incoming: &mut BytesMut) -> Result<Option<Frame>, Lost> {
    let Some(head) = incoming.get(..7) else { return Ok(None) };
    let (kind, size) = (head[0], u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize);
    if !matches!(kind, METHOD | HEADER | BODY | HEARTBEAT) || size > LONGEST {
        return Err(Lost::Garbled);
    }
    if incoming.len() < size + AROUND {
        return Ok(None);
    }
    let mut whole = incoming.split_to(size + AROUND).freeze();
    if whole[size + 7] != END {
        return Err(Lost::Garbled);
    }
    whole.advance(7);
    whole.truncate(size);
    Ok(Some(Frame { kind, payload: whole }))
}

pub fn put(out: &mut BytesMut, kind: u8, channel: u16, payload: &[u8]) {
    out.put_u8(kind);
    out.put_u16(channel);
    out.put_u32(payload.len() as u32);
    out.extend_from_slice(payload);
    out.put_u8(END);
}

/// Up to 255 bytes; settings and addresses are checked before.
pub fn short(out: &mut BytesMut, text: &str) {
    let text = &text.as_bytes()[..text.len().min(255)];
    out.put_u8(text.len() as u8);
    out.extend_from_slice(text);
}

/// A method's payload as it is written.
pub struct Method(BytesMut);

impl Method {
    pub fn new(class: u16, method: u16) -> Method {
        let mut payload = BytesMut::new();
        payload.put_u16(class);
        payload.put_u16(method);
        Method(payload)
    }

    pub fn octet(mut self, value: u8) -> Method {
        self.0.put_u8(value);
        self
    }

    pub fn number(mut self, value: u16) -> Method {
        self.0.put_u16(value);
        self
    }

    pub fn long(mut self, value: u32) -> Method {
        self.0.put_u32(value);
        self
    }

    pub fn short(mut self, text: &str) -> Method {
        short(&mut self.0, text);
        self
    }

    pub fn bytes(mut self, bytes: &[u8]) -> Method {
        self.0.put_u32(bytes.len() as u32);
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn write(self, out: &mut BytesMut, channel: u16) {
        put(out, METHOD, channel, &self.0);
    }
}

/// A payload as it is read; nothing is beyond its end.
pub struct Reader(pub Bytes);

impl Reader {
    pub fn octet(&mut self) -> Option<u8> {
        self.0.try_get_u8().ok()
    }

    pub fn number(&mut self) -> Option<u16> {
        self.0.try_get_u16().ok()
    }

    pub fn long(&mut self) -> Option<u32> {
        self.0.try_get_u32().ok()
    }

    pub fn longlong(&mut self) -> Option<u64> {
        self.0.try_get_u64().ok()
    }

    pub fn short(&mut self) -> Option<Bytes> {
        let length = self.octet()?;
        self.skip(length.into())
    }

    pub fn bytes(&mut self) -> Option<Bytes> {
        let length = self.long()?;
        self.skip(length as usize)
    }

    fn skip(&mut self, length: usize) -> Option<Bytes> {
        (self.0.len() >= length).then(|| self.0.split_to(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_when_it_is_whole_and_what_is_none_is_refused() {
        let mut out = BytesMut::new();
        Method::new(10, 50).octet(1).number(403).short("a").bytes(b"bc").write(&mut out, 7);
        let expected = [1, 0, 7, 0, 0, 0, 15, 0, 10, 0, 50, 1, 1, 147, 1, b'a', 0, 0, 0, 2, b'b', b'c', 0xce];
        assert_eq!(out[..], expected);
        for end in 0..expected.len() {
            assert!(take(&mut BytesMut::from(&expected[..end])).expect("no fault").is_none(), "{end}");
        }
        let frame = take(&mut out).expect("no fault").expect("whole");
        let mut reader = Reader(frame.payload);
        assert_eq!((reader.number(), reader.number(), reader.octet()), (Some(10), Some(50), Some(1)));
        assert_eq!((reader.number(), reader.short()), (Some(403), Some(Bytes::from_static(b"a"))));
        assert_eq!((reader.bytes(), reader.octet(), reader.short()), (Some(Bytes::from_static(b"bc")), None, None));

        for wrong in [&b"AMQP\0\0\x09\x01"[..], &[1, 0, 0, 0, 1, 0, 0], &[8, 0, 0, 0, 0, 0, 0, 0xcd]] {
            assert_eq!(take(&mut BytesMut::from(wrong)).err(), Some(Lost::Garbled), "{wrong:?}");
        }
    }
}
