//! The alphabet of GSM 03.38 (3GPP TS 23.038): whether it holds a text.

/// The 127 basic characters without the escape; the extension table's ten.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
const EXTENSION: &str = "\u{c}^{}\\[~]|€";

pub fn holds(text: &str) -> bool {
    text.chars().all(|c| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' => true,
        c => BASIC.contains(c) || EXTENSION.contains(c),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
