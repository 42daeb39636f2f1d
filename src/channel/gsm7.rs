//! The alphabet of GSM 03.38 (3GPP TS 23.038): whether it holds a text, and the text in it.

/// The 127 basic characters without the escape; the extension table's ten.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
const EXTENSION: &str = "\u{c}^{}\\[~]|€";

pub fn holds(text: &str) -> bool {
    text.chars().all(|c| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' => true,
        c => BASIC.contains(c) || EXTENSION.contains(c),
    })
}

/// Where the extension table has its ten.
const EXTENDED: [u8; 10] = [0x0a, 0x14, 0x28, 0x29, 0x2f, 0x3c, 0x3d, 0x3e, 0x40, 0x65];
const ESCAPE: u8 = 0x1b;

/// A septet in each octet, as SMPP carries them; `None` if it does not hold the text.
pub fn septets(text: &str) -> Option<Vec<u8>> {
    let mut septets = Vec::with_capacity(text.len());
    for c in text.chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' => septets.push(c as u8),
            c => match (BASIC.chars().position(|known| known == c), EXTENSION.chars().position(|known| known == c)) {
                // The escape has a place of its own among the basic ones.
                (Some(at), _) => septets.push(at as u8 + u8::from(at >= usize::from(ESCAPE))),
                (None, Some(at)) => septets.extend([ESCAPE, EXTENDED[at]]),
                (None, None) => return None,
            },
        }
    }
    Some(septets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_letter_has_the_place_that_the_table_gives_it() {
        let septets = |text: &str| septets(text).expect(text);
        assert_eq!(
            septets("@Δ_ΞÆ É!¤?¡AZÄ§¿azà"),
            [
                0x00, 0x10, 0x11, 0x1a, 0x1c, 0x20, 0x1f, 0x21, 0x24, 0x3f, 0x40, 0x41, 0x5a, 0x5b, 0x5f, 0x60, 0x61,
                0x7a, 0x7f
            ]
        );
        assert_eq!(septets("a€[|"), [0x61, 0x1b, 0x65, 0x1b, 0x3c, 0x1b, 0x40]);
        assert_eq!(super::septets("ç"), None);
    }

    #[test]
    fn the_alphabet_is_gsm_03_38() {
        assert_eq!(BASIC.chars().count(), 127);
        assert_eq!(EXTENSION.chars().count(), 10);
        assert!(holds("Prüfcode 7KQ4 – no".replace('–', "-").as_str()));
        for text in ["á", "ç", "–", "“", "क", "\t", "😀"] {
            assert!(!holds(text), "{text}");
        }
    }
}
