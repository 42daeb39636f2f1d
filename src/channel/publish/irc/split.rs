//! From a text to lines of so many bytes: at its own ends of lines, then between words, and within a word that is longer than a line
//! between what a reader takes for one character. A link is never cut.

use unicode_segmentation::UnicodeSegmentation;

/// A link of so many bytes, in which no line could hold it.
#[derive(Debug, PartialEq)]
pub(super) struct LongLink(pub usize);

pub(super) fn lines(text: &str, room: usize) -> Result<Vec<String>, LongLink> {
    let mut lines = Vec::new();
    for line in text.lines() {
        // A client would take them for colours, or for a request of its own protocol.
        let line: String = line.chars().map(|c| if c == '\t' { ' ' } else { c }).filter(|c| !c.is_control()).collect();
        fill(line.trim(), room, &mut lines)?;
    }
    Ok(lines)
}

fn fill(line: &str, room: usize, lines: &mut Vec<String>) -> Result<(), LongLink> {
    let mut open = String::new();
    for word in line.split(' ').filter(|word| !word.is_empty()) {
        let blank = usize::from(!open.is_empty());
        if open.len() + blank + word.len() <= room {
            if blank == 1 {
                open.push(' ');
            }
            open.push_str(word);
            continue;
        }
        close(&mut open, lines);
        if word.len() <= room {
            open.push_str(word);
        } else if word.contains("://") {
            return Err(LongLink(word.len()));
        } else {
            for grapheme in word.graphemes(true) {
                if open.len() + grapheme.len() > room {
                    close(&mut open, lines);
                }
                // One that fills more than a line is somebody's joke.
                if grapheme.len() <= room {
                    open.push_str(grapheme);
                }
            }
        }
    }
    close(&mut open, lines);
    Ok(())
}

fn close(open: &mut String, lines: &mut Vec<String>) {
    if !open.is_empty() {
        lines.push(std::mem::take(open));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_its_lines_between_words_and_never_within_a_character_or_a_link() {
        let cut = |text: &str| lines(text, 20).expect("lines");
        assert_eq!(cut("Down: web\n\n  since\t15:39  UTC \r\n"), ["Down: web", "since 15:39 UTC"]);
        assert_eq!(cut("one two three four five"), ["one two three four", "five"]);
        assert_eq!(cut("see https://a.example/1 now"), ["see", "https://a.example/1", "now"]);
        assert_eq!(cut("\u{1}VERSION\u{1} \u{3}4red\0"), ["VERSION 4red"]);
        // A family is 25 bytes and one character, each flag 8.
        assert_eq!(cut("🇸🇪🇩🇪🇮🇳"), ["🇸🇪🇩🇪", "🇮🇳"]);
        assert_eq!(cut("aaaaaaaaaaaaaaaaaaae\u{301}b"), ["aaaaaaaaaaaaaaaaaaa", "e\u{301}b"]);
        assert_eq!(cut("\n \n"), Vec::<String>::new());
        assert_eq!(lines("see https://a.example/longer", 20), Err(LongLink(24)));
    }

    #[test]
    fn nothing_is_lost_and_no_line_is_longer_than_it_may_be() {
        let text = "बंद है। web 🇸🇪👩‍👩‍👧‍👦 größer ".repeat(40);
        for room in 26..80 {
            let cut = lines(&text, room).expect("lines");
            assert!(cut.iter().all(|line| line.len() <= room && !line.is_empty()), "{room}: {cut:?}");
            let solid = |text: &str| text.chars().filter(|c| *c != ' ').collect::<String>();
            assert_eq!(solid(&cut.concat()), solid(&text));
        }
    }
}
