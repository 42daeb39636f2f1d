//! Small packed forms for blobs: unsigned LEB128 numbers and length-prefixed texts. Reading never trusts a length.

#[derive(Debug, thiserror::Error)]
#[error("a packed value in the store is cut short or damaged")]
pub struct Damaged;

#[derive(Default)]
pub struct Packer(pub Vec<u8>);

impl Packer {
    pub fn number(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub fn texts<'a>(&mut self, texts: impl ExactSizeIterator<Item = &'a String>) {
        self.number(texts.len() as u64);
        texts.for_each(|text| self.text(text));
    }
}

pub struct Unpacker<'a>(pub &'a [u8]);

impl<'a> Unpacker<'a> {
    pub fn number(&mut self) -> Result<u64, Damaged> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(Damaged)?;
            self.0 = rest;
            n |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(n);
            }
        }
        Err(Damaged)
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], Damaged> {
        let length = usize::try_from(self.number()?).map_err(|_| Damaged)?;
        if length > self.0.len() {
            return Err(Damaged);
        }
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        Ok(bytes)
    }

    pub fn text(&mut self) -> Result<&'a str, Damaged> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Damaged)
    }

    pub fn texts<C: FromIterator<String>>(&mut self) -> Result<C, Damaged> {
        let count = self.number()?;
        (0..count).map(|_| self.text().map(str::to_string)).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_reads_back_and_what_is_cut_does_not() {
        let mut packer = Packer::default();
        for n in [0, 127, 128, 300, u64::MAX] {
            packer.number(n);
        }
        packer.text("Grüße");
        packer.texts([String::from("a"), String::new()].iter());
        let mut read = Unpacker(&packer.0);
        for n in [0, 127, 128, 300, u64::MAX] {
            assert_eq!(read.number().expect("number"), n);
        }
        assert_eq!(read.text().expect("text"), "Grüße");
        assert_eq!(read.texts::<Vec<String>>().expect("texts"), ["a", ""]);
        assert!(read.is_empty());
        let cut = packer.0.len() - 8;
        let mut read = Unpacker(&packer.0[..cut]);
        let all = (0..5).try_for_each(|_| read.number().map(drop)).and_then(|()| read.text().map(drop));
        assert!(all.is_err());
    }
}
