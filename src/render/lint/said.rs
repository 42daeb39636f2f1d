//! How the lint reads: sentences, words, times.

use std::sync::LazyLock;

use regex::Regex;

pub static CLOCK: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b([01]?\d|2[0-3])[:.][0-5]\d\b"));
pub static URL: LazyLock<Regex> = LazyLock::new(|| pattern(r"https?://\S+"));
/// What stands for a zone after a time.
pub static ZONE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(?:UTC(?:[+-]\d+(?::\d\d)?)?|GMT|WET|WEST|CET|CEST|MEZ|MESZ|EET|EEST|OEZ|OESZ|WEZ|WESZ|MSK|[ECMP][SD]T|AK[SD]T|HST|BRT|ART|IST|BST|JST|KST|SGT|HKT|AE[SD]T|AC[SD]T|AWST|NZ[SD]T|SAST|WAT|EAT|Pacific|Eastern|Central|Mountain)\b",
    )
});
/// The rest of a range whose first time has no zone of its own.
pub static RANGE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^\s*(?:[-–—]|to|until|and|bis|und|a|y|hasta|até|e|से)\s*(?:las\s+|às\s+)?(?:[01]?\d|2[0-3])[:.][0-5]\d")
});
pub static SLASHED: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b\d{1,2}/\d{1,2}\b"));
pub static PLACEHOLDER: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\{\{|\}\}|\{%|\$\{|<%|\[\[|\{[\w.]+\}|\b(?:TBD|TODO|null|undefined|NaN)\b"));
pub static SHARE: LazyLock<Regex> = LazyLock::new(|| pattern(r"\d\s*%|\d[\d.,]*\s+(?:of|in|von|de|em|out of)\s+\d"));

/// A pattern of this file; one that is wrong matches nothing and its test fails.
fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap_or_else(|_| Regex::new("$^").unwrap_or_else(|_| unreachable!("a constant pattern")))
}

/// Whether the text has the word; with `*` at the word's end, whether anything begins with it.
pub fn has(text: &str, word: &str) -> bool {
    position(&text.to_lowercase(), word).is_some()
}

/// The first word of a list that the text has.
pub fn first<'a>(text: &str, words: &'a [String]) -> Option<&'a str> {
    let text = text.to_lowercase();
    words.iter().map(String::as_str).find(|word| position(&text, word).is_some())
}

/// Where in a text in lower case the word stands.
fn position(text: &str, word: &str) -> Option<usize> {
    let (stem, open) = word.strip_suffix('*').map_or((word, false), |stem| (stem, true));
    let stem = stem.to_lowercase();
    let bound = |c: Option<char>| !c.is_some_and(is_letter);
    text.match_indices(&stem)
        .map(|(at, _)| at)
        .find(|at| bound(text[..*at].chars().next_back()) && (open || bound(text[*at + stem.len()..].chars().next())))
}

/// Signs of Devanagari that complete a letter count as part of the word.
fn is_letter(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '\u{900}'..='\u{963}')
}

pub fn words(text: &str) -> Vec<&str> {
    text.split(|c: char| !is_letter(c) && c != '\'' && c != '-' && c != '’')
        .filter(|word| word.chars().any(is_letter))
        .collect()
}

/// Sentences: ended by a stop before a space, or by a line's end. A stop after a number or a short word (1., Okt.) ends none.
pub fn sentences(text: &str) -> Vec<String> {
    let mut sentences = Vec::new();
    for line in text.lines() {
        let mut sentence = String::new();
        for piece in line.split_inclusive(' ') {
            sentence.push_str(piece);
            let word = piece.trim_end();
            let bare = word.trim_end_matches('.');
            let short = word.ends_with('.')
                && (bare.len() <= 2 && bare.bytes().all(|b| b.is_ascii_digit()) || is_abbreviated_month(bare));
            if word.ends_with(['.', '!', '?', '।']) && !short {
                sentences.push(std::mem::take(&mut sentence));
            }
        }
        sentences.push(sentence);
    }
    sentences.iter().map(|s| s.trim().to_string()).filter(|s| s.chars().any(is_letter)).collect()
}

fn is_abbreviated_month(word: &str) -> bool {
    ["Jan", "Feb", "Apr", "Aug", "Sept", "Okt", "Nov", "Dez"].contains(&word)
}

/// Flesch-Kincaid grade of English. Syllables are groups of vowels, without a mute e at the end.
pub fn grade(text: &str) -> Option<f64> {
    let sentences = sentences(text);
    let all: Vec<&str> = sentences
        .iter()
        .flat_map(|sentence| words(sentence))
        .filter(|w| w.chars().all(|c| c.is_ascii_alphabetic() || c == '\'' || c == '-'))
        .collect();
    if all.len() < 30 {
        return None;
    }
    let syllables: usize = all.iter().map(|word| syllables(word)).sum();
    let (count, sentences) = (all.len() as f64, sentences.len().max(1) as f64);
    Some(0.39 * count / sentences + 11.8 * syllables as f64 / count - 15.59)
}

fn syllables(word: &str) -> usize {
    let word = word.to_ascii_lowercase();
    let vowel = |b: u8| b"aeiouy".contains(&b);
    let bytes = word.as_bytes();
    let groups = (0..bytes.len()).filter(|at| vowel(bytes[*at]) && (*at == 0 || !vowel(bytes[*at - 1]))).count();
    let mute = word.ends_with('e') && !word.ends_with("le") && groups > 1
        || word.ends_with("ed") && !word.ends_with("ted") && !word.ends_with("ded") && groups > 1;
    (groups - usize::from(mute)).max(1)
}

pub fn is_emoji(c: char) -> bool {
    matches!(c, '\u{1f000}'..='\u{1faff}' | '\u{2600}'..='\u{27bf}' | '\u{2b00}'..='\u{2bff}' | '\u{fe0f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_alone_unless_a_star_opens_them() {
        assert!(has("No hack today", "hack") && !has("A hackathon", "hack") && has("A hackathon", "hack*"));
        assert!(has("यह हमला है", "हमला") && !has("हमलावर", "हमला"));
        assert!(!has("We will.", "ill"));
    }

    #[test]
    fn sentences_end_at_stops_and_lines() {
        assert_eq!(
            sentences("1. Call us.\nSeit 17:39 MESZ, 4. Okt. 2021. Warum? Unklar"),
            ["1. Call us.", "Seit 17:39 MESZ, 4. Okt. 2021.", "Warum?", "Unklar"]
        );
        assert_eq!(sentences("हमें खेद है। कारण ज्ञात नहीं है।").len(), 2);
    }

    #[test]
    fn plain_words_are_graded_lower_than_grand_ones() {
        let plain = "Our apps do not work. We know this and we are on it. If you need to reach someone now, call or text. We will tell you more at noon. Do not reset your phone. ";
        let grand = "Notwithstanding the organisational ramifications of the aforementioned infrastructural deterioration, comprehensive remediation initiatives are currently undergoing implementation across geographically distributed operational facilities, necessitating considerable consideration by interdependent stakeholders everywhere and unprecedented organisational transformation. ";
        let (plain, grand) = (grade(plain).expect("long enough"), grade(grand).expect("long enough"));
        assert!(plain < 4.0 && grand > 15.0, "{plain} {grand}");
        assert_eq!(grade("Too short."), None);
    }
}
