//! Values of `ce-` headers (CloudEvents HTTP binding 1.0.2, section 3.1.3.2). Enters: the bytes of a header. Leaves: the text
//! they stand for: double quotes are taken off first, then one round of percent-decoding; bad UTF-8 is refused.

pub(super) fn decode(raw: &[u8]) -> Result<String, &'static str> {
    let text = std::str::from_utf8(raw).map_err(|_| "is not UTF-8")?.trim_matches([' ', '\t']);
    let decoded = percent(&unquote(text)?)?;
    match decoded.contains(char::is_control) {
        true => Err("has a control character"),
        false => Ok(decoded),
    }
}

/// RFC 7230, section 3.2.6.
fn unquote(text: &str) -> Result<String, &'static str> {
    let Some(inner) = text.strip_prefix('"') else { return Ok(text.into()) };
    let mut plain = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => plain.push(chars.next().ok_or("ends in an open quote")?),
            '"' if chars.as_str().is_empty() => return Ok(plain),
            '"' => return Err("goes on after its closing quote"),
            c => plain.push(c),
        }
    }
    Err("ends in an open quote")
}

fn percent(text: &str) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else { return Err("has a % that no two hex digits follow") };
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 once decoded")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_values_are_unquoted_then_decoded_once() {
        for (raw, text) in [
            ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
            ("Euro%20%e2%82%ac%20%f0%9f%98%80", "Euro € 😀"),
            ("%41bc", "Abc"),
            ("%2541", "%41"),
            ("\"say \\\"hi\\\" \\\\ now\"", "say \"hi\" \\ now"),
            ("\"100%25\"", "100%"),
            ("\"%22\"", "\""),
            ("  plain\t", "plain"),
            ("1+1", "1+1"),
            ("", ""),
        ] {
            assert_eq!(decode(raw.as_bytes()).as_deref(), Ok(text), "{raw}");
        }
    }

    #[test]
    fn what_stands_for_no_text_is_refused() {
        let table: [&[u8]; 11] = [
            b"%C0%A0",
            b"%ED%A0%80",
            b"%F0%9F",
            b"\xff",
            b"%",
            b"%4",
            b"%zz",
            b"%+1",
            b"\"open",
            b"\"a\"b",
            b"a%0D%0Ab",
        ];
        for raw in table {
            assert!(decode(raw).is_err(), "{raw:?} was taken");
        }
    }
}
