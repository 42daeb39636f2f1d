//! What comes from outside (facts, titles, settings) before it stands among words: enters any text, leaves one without
//! control characters, without marks that turn the reading direction, and without the private-use characters that stand
//! for fields while a message is made.

/// Stands for the field with this number until the message is cut.
pub(super) fn sentinel(number: usize) -> Option<char> {
    u32::try_from(number).ok().and_then(|n| char::from_u32(0xE000 + n)).filter(|c| field_number(*c).is_some())
}

pub(super) fn field_number(c: char) -> Option<usize> {
    ('\u{e000}'..='\u{f8ff}').contains(&c).then(|| c as usize - 0xE000)
}

pub(super) fn is_private(c: char) -> bool {
    matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}')
}

/// Keeps line breaks; everything else that is not for reading goes.
pub fn clean(text: &str) -> String {
    let unbroken = text.replace("\r\n", "\n");
    let kept = unbroken.chars().filter_map(|c| match c {
        '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => Some('\n'),
        c if c.is_control() && c != '\t' => None,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{feff}' => None,
        c if is_private(c) => None,
        '\t' => Some(' '),
        c => Some(c),
    });
    kept.collect::<String>().trim().to_string()
}

/// One line, every run of white space one space.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

/// Escapes for Markdown: every sign that could mean something is made plain, line breaks become breaks within the
/// paragraph.
pub fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if !out.is_empty() {
            out.push_str("\\\n");
        }
        for c in line.chars() {
            if c.is_ascii_punctuation() {
                out.push('\\');
            }
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_stands_for_a_field_or_turns_the_text_comes_in_by_a_fact() {
        assert_eq!(clean("a\u{e001}b\u{202e}c\r\nd\u{0}\u{2028}e\u{f8ff}\u{10ffff}"), "abc\nd\ne");
        assert_eq!(clean(" सेवाएँ \u{200d}\u{200c} "), "सेवाएँ \u{200d}\u{200c}");
        assert!((0..6000).all(|n| sentinel(n).is_some_and(is_private)));
        assert_eq!(sentinel(6400), None);
    }
}
