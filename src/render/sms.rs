//! SMS: in which alphabet a text goes, how many units and segments it takes, and how to shorten it. Enters text, leaves
//! counts and slices. No character is ever replaced by another that means something else, and none is cut in two.
//!
//! Sources: 3GPP TS 23.038 (alphabet, extension table), TS 23.040 (concatenation, 153 and 67 units a part).

use std::borrow::Cow;

use unicode_segmentation::UnicodeSegmentation;

/// The basic table of GSM 03.38 without ESC. Of the cedillas only the capital one is in it.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// These take two units: ESC and another.
const EXTENDED: &str = "\u{c}^{}\\[~]|€";

/// Octets of the header that each part of a longer text begins with: its reference has one.
pub const SHORT_HEADER: usize = 6;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alphabet {
    Gsm7,
    Ucs2,
}

impl Alphabet {
    /// The one in which all of the text can be written.
    pub fn of(text: &str) -> Alphabet {
        if text.chars().all(|c| septets(c).is_some()) { Alphabet::Gsm7 } else { Alphabet::Ucs2 }
    }

    /// Units of a text that fits one segment, and of each part of a longer one.
    pub fn limits(self) -> (usize, usize) {
        (self.room(0), self.room(SHORT_HEADER))
    }

    /// Units beside a header of so many octets: a segment has 140.
    fn room(self, header: usize) -> usize {
        match self {
            Alphabet::Gsm7 => (140 - header) * 8 / 7,
            Alphabet::Ucs2 => (140 - header) / 2,
        }
    }

    fn units(self, c: char) -> usize {
        match self {
            Alphabet::Gsm7 => septets(c).unwrap_or(0),
            Alphabet::Ucs2 => c.len_utf16(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    pub alphabet: Alphabet,
    pub units: usize,
    pub segments: usize,
}

/// How many septets a character takes in GSM-7; `None` where it has no place there.
pub fn septets(c: char) -> Option<usize> {
    if c.is_ascii_alphanumeric() || c == ' ' || BASIC.contains(c) {
        Some(1)
    } else if EXTENDED.contains(c) {
        Some(2)
    } else {
        None
    }
}

pub fn count(text: &str) -> Count {
    let alphabet = Alphabet::of(text);
    Count { alphabet, units: text.chars().map(|c| alphabet.units(c)).sum(), segments: segments(text).len() }
}

/// The parts as they go out, filled greedily; neither an ESC pair nor a surrogate pair is split.
pub fn segments(text: &str) -> Vec<&str> {
    segments_under(text, SHORT_HEADER)
}

/// As `segments`, with a header of so many octets in each part.
pub fn segments_under(text: &str, header: usize) -> Vec<&str> {
    let alphabet = Alphabet::of(text);
    let (whole, part) = (alphabet.room(0), alphabet.room(header));
    if text.chars().map(|c| alphabet.units(c)).sum::<usize>() <= whole {
        return vec![text];
    }
    let (mut parts, mut start, mut used) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        let units = alphabet.units(c);
        if used + units > part {
            parts.push(&text[start..at]);
            (start, used) = (at, 0);
        }
        used += units;
    }
    parts.push(&text[start..]);
    parts
}

/// Writes typographic punctuation plainly where that is all that keeps the text out of GSM-7: one curly quote would cut a
/// segment from 160 to 70. Letters are never touched.
pub fn simplify(text: &str) -> Cow<'_, str> {
    if Alphabet::of(text) == Alphabet::Gsm7 {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{2032}' => plain.push('\''),
            '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{00ab}' | '\u{00bb}' | '\u{2033}' => plain.push('"'),
            '\u{2010}'..='\u{2015}' | '\u{2212}' => plain.push('-'),
            '\u{2026}' => plain.push_str("..."),
            '\u{00a0}' | '\u{2009}' | '\u{202f}' => plain.push(' '),
            c => plain.push(c),
        }
    }
    if Alphabet::of(&plain) == Alphabet::Gsm7 { Cow::Owned(plain) } else { Cow::Borrowed(text) }
}

/// At most so many segments, cut between whole characters as people see them and, if one is near, between words.
pub fn shorten(text: &str, most: usize) -> Cow<'_, str> {
    if count(text).segments <= most.max(1) {
        return Cow::Borrowed(text);
    }
    let ends: Vec<usize> = text.grapheme_indices(true).map(|(at, _)| at).collect();
    // A longer beginning never takes fewer segments.
    let fits = ends.partition_point(|end| count(&format!("{}...", &text[..*end])).segments <= most.max(1));
    let end = ends.get(fits.saturating_sub(1)).copied().unwrap_or(0);
    let word = text[..end].rfind(' ').filter(|at| end - at <= 24).unwrap_or(end);
    Cow::Owned(format!("{}...", text[..word].trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(text: &str) -> (Alphabet, usize, usize) {
        let count = count(text);
        (count.alphabet, count.units, count.segments)
    }

    #[test]
    fn units_and_segments_are_counted_as_networks_do() {
        for (text, expected) in [
            (String::new(), (Alphabet::Gsm7, 0, 1)),
            ("a".repeat(160), (Alphabet::Gsm7, 160, 1)),
            ("a".repeat(161), (Alphabet::Gsm7, 161, 2)),
            ("a".repeat(306), (Alphabet::Gsm7, 306, 2)),
            ("a".repeat(307), (Alphabet::Gsm7, 307, 3)),
            ("]".repeat(80), (Alphabet::Gsm7, 160, 1)),
            // 153 pairs would fit two parts of 153 only if a pair were split.
            ("]".repeat(153), (Alphabet::Gsm7, 306, 3)),
            ("Übung ß ñ ¿ é €".into(), (Alphabet::Gsm7, 16, 1)),
            ("ç".into(), (Alphabet::Ucs2, 1, 1)),
            ("Ç".into(), (Alphabet::Gsm7, 1, 1)),
            ("ó".repeat(70), (Alphabet::Ucs2, 70, 1)),
            ("ó".repeat(71), (Alphabet::Ucs2, 71, 2)),
            // 67 units hold 33 surrogate pairs and one unit that stays empty.
            ("\u{1f4f1}".repeat(35), (Alphabet::Ucs2, 70, 1)),
            ("\u{1f4f1}".repeat(66), (Alphabet::Ucs2, 132, 2)),
            ("\u{1f4f1}".repeat(67), (Alphabet::Ucs2, 134, 3)),
        ] {
            assert_eq!(counted(&text), expected, "{text}");
        }
        assert_eq!(BASIC.chars().count(), 127);
    }

    #[test]
    fn the_worked_examples_take_one_segment() {
        for (text, units) in [
            (
                "Facebook: Facebook, Instagram and WhatsApp went down worldwide at 11:39 EDT, 4 Oct. If urgent, call or text. Next update 12:30 EDT: status.example Check 7KQ4",
                157,
            ),
            (
                "Facebook: Facebook, Instagram, WhatsApp seit 17:39 MESZ (4. Okt.) weltweit ausgefallen. Dringend? Rufen Sie an. Neues 18:30 MESZ: status.example Prüfcode 7KQ4",
                158,
            ),
            (
                "Facebook: desde las 17:39 CEST (4 oct) no funcionan Facebook, Instagram ni WhatsApp en ninguna parte. ¿Urgente? Llame. Aviso 18:30 CEST: status.example Ref 7KQ4",
                160,
            ),
        ] {
            assert_eq!(counted(text), (Alphabet::Gsm7, units, 1));
        }
    }

    /// Any mixture of letters, pairs and clusters: the parts are the text again, and each keeps its limit.
    #[test]
    fn segments_lose_and_split_nothing_whatever_the_text() {
        let pieces = ["a", "]", "€", "ó", "सेवाएँ", "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}", " ", "e\u{301}", "\n"];
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..500 {
            let ascii = round % 2 == 0;
            let text: String = (0..random.usize(0..400))
                .map(|_| if ascii { pieces[random.usize(0..3)] } else { *random.choice(&pieces).expect("some") })
                .collect();
            let alphabet = Alphabet::of(&text);
            let parts = segments(&text);
            assert_eq!(parts.concat(), text);
            let (whole, part) = alphabet.limits();
            let most = if parts.len() == 1 { whole } else { part };
            for piece in &parts {
                assert!(piece.chars().map(|c| alphabet.units(c)).sum::<usize>() <= most);
            }
            let wanted = random.usize(1..5);
            let short = shorten(&text, wanted);
            assert!(count(&short).segments <= wanted);
            if short != text {
                let kept = short.strip_suffix("...").expect("says that it is cut");
                let next = text[kept.len()..].trim_start();
                assert!(text.starts_with(kept));
                assert!(
                    text.grapheme_indices(true).any(|(at, _)| at == kept.len() || at == text.len() - next.len()),
                    "{kept:?}"
                );
            }
        }
    }

    #[test]
    fn typographic_punctuation_is_written_plainly_only_where_that_saves_the_alphabet() {
        assert_eq!(simplify("We don’t know – yet…"), "We don't know - yet...");
        assert_eq!(simplify("“ação”"), "“ação”");
    }
}
