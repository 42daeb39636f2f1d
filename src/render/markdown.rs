//! Markdown into what a platform reads: plain text, the HTML of a mail, Telegram's HTML, Slack's mrkdwn, Markdown again.
//! HTML in the source is text, links go to http, https or mailto only.

use pulldown_cmark::{Event, HeadingLevel, Parser, Tag, TagEnd, TextMergeStream};

use super::message::{Escape, Markup, escape_into};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Mail,
    Chat(Markup),
}

/// For a chat, a post, the text part of a mail.
pub fn convert(markdown: &str, markup: Markup) -> String {
    write(markdown, Style::Chat(markup))
}

/// For the HTML part of a mail: paragraphs, lists, headings.
pub fn mail(markdown: &str) -> String {
    write(markdown, Style::Mail)
}

fn write(markdown: &str, style: Style) -> String {
    let mut writer = Writer { style, out: String::new(), lists: Vec::new(), links: Vec::new(), gap: Gap::None };
    for event in TextMergeStream::new(Parser::new(&tidy(markdown))) {
        writer.event(event);
    }
    writer.out.trim().to_string()
}

/// What a dropped `if` leaves behind: runs of spaces (four at a line's start would be code), and a `\\` that breaks a line
/// with nothing after it.
fn tidy(markdown: &str) -> String {
    let lines: Vec<&str> = markdown.lines().collect();
    let mut out = String::with_capacity(markdown.len());
    for (at, line) in lines.iter().enumerate() {
        let content = line.trim();
        let item = content.starts_with(['-', '*', '+']) || content.starts_with(|c: char| c.is_ascii_digit());
        let indent = line.len() - line.trim_start().len();
        if item || indent < 4 {
            out.push_str(&line[..indent]);
        }
        let last = lines.get(at + 1).is_none_or(|next| next.trim().is_empty());
        let broken = content.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1;
        let content = if last && broken { content[..content.len() - 1].trim_end() } else { content };
        let mut space = false;
        for c in content.chars() {
            if c != ' ' || !space {
                out.push(c);
            }
            space = c == ' ';
        }
        out.push('\n');
    }
    out
}

/// What must stand before the next words.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Gap {
    None,
    Line,
    Blank,
}

struct Writer {
    style: Style,
    out: String,
    /// Open lists, each with the number of its next item.
    lists: Vec<Option<u64>>,
    /// Open links: where they lead and where their words begin.
    links: Vec<(String, usize)>,
    gap: Gap,
}

impl Writer {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) | Event::Code(text) => self.text(&text),
            Event::SoftBreak => self.text(" "),
            Event::HardBreak => match self.style {
                Style::Mail => self.raw("<br>\n"),
                Style::Chat(Markup::Markdown) => self.raw("  \n"),
                Style::Chat(_) => self.raw("\n"),
            },
            _ => {}
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Paragraph => self.block("<p style=\"margin: 0 0 12px 0\">"),
            Tag::Heading { level, .. } => {
                self.block(if level == HeadingLevel::H1 { "<h2>" } else { "<h3>" });
                self.strong(true);
            }
            Tag::List(first) => {
                if self.lists.is_empty() {
                    self.block("");
                }
                let open = if first.is_some() {
                    "<ol style=\"margin: 0 0 12px 0\">"
                } else {
                    "<ul style=\"margin: 0 0 12px 0\">"
                };
                self.mail_only(open);
                self.lists.push(first);
            }
            Tag::Item => self.item(),
            Tag::Strong => self.strong(true),
            Tag::Emphasis => self.emphasis(true),
            Tag::Link { dest_url, .. } => {
                self.close_gap();
                self.links.push((dest_url.to_string(), self.out.len()));
            }
            Tag::CodeBlock(_) | Tag::BlockQuote(_) | Tag::HtmlBlock => self.block(""),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph => {
                self.mail_only("</p>\n");
                self.gap = if self.lists.is_empty() { Gap::Blank } else { Gap::Line };
            }
            TagEnd::Heading(level) => {
                self.strong(false);
                self.mail_only(if level == HeadingLevel::H1 { "</h2>\n" } else { "</h3>\n" });
                self.gap = Gap::Blank;
            }
            TagEnd::List(ordered) => {
                self.lists.pop();
                self.mail_only(if ordered { "</ol>\n" } else { "</ul>\n" });
                self.gap = if self.lists.is_empty() { Gap::Blank } else { Gap::Line };
            }
            TagEnd::Item => {
                self.mail_only("</li>\n");
                self.gap = Gap::Line;
            }
            TagEnd::Strong => self.strong(false),
            TagEnd::Emphasis => self.emphasis(false),
            TagEnd::Link => self.link(),
            TagEnd::CodeBlock | TagEnd::BlockQuote(_) | TagEnd::HtmlBlock => self.gap = Gap::Blank,
            _ => {}
        }
    }

    fn block(&mut self, mail: &str) {
        if self.lists.is_empty() {
            self.gap = if self.out.is_empty() { Gap::None } else { Gap::Blank };
        }
        self.mail_only(mail);
    }

    fn item(&mut self) {
        let depth = self.lists.len().saturating_sub(1);
        let marker = match self.lists.last_mut() {
            Some(Some(number)) => {
                *number += 1;
                format!("{}. ", *number - 1)
            }
            _ if matches!(self.style, Style::Chat(Markup::Mrkdwn | Markup::Html)) => "• ".into(),
            _ => "- ".into(),
        };
        if self.style == Style::Mail {
            return self.out.push_str("<li>");
        }
        if !self.out.is_empty() && self.gap == Gap::None {
            self.gap = Gap::Line;
        }
        self.raw(&format!("{}{marker}", "   ".repeat(depth)));
    }

    fn mail_only(&mut self, html: &str) {
        if self.style == Style::Mail {
            self.out.push_str(html);
        }
    }

    fn strong(&mut self, open: bool) {
        self.mark(match (self.style, open) {
            (Style::Mail | Style::Chat(Markup::Html), true) => "<b>",
            (Style::Mail | Style::Chat(Markup::Html), false) => "</b>",
            (Style::Chat(Markup::Mrkdwn), _) => "*",
            (Style::Chat(Markup::Markdown), _) => "**",
            (Style::Chat(Markup::Plain), _) => "",
        });
    }

    fn emphasis(&mut self, open: bool) {
        self.mark(match (self.style, open) {
            (Style::Mail | Style::Chat(Markup::Html), true) => "<i>",
            (Style::Mail | Style::Chat(Markup::Html), false) => "</i>",
            (Style::Chat(Markup::Mrkdwn | Markup::Markdown), _) => "_",
            (Style::Chat(Markup::Plain), _) => "",
        });
    }

    fn mark(&mut self, mark: &str) {
        if !mark.is_empty() {
            self.raw(mark);
        }
    }

    fn text(&mut self, text: &str) {
        self.close_gap();
        let text = self.at_line_start(text);
        let in_link = !self.links.is_empty();
        // Word by word, so that a bare address becomes a link where the reader's program makes none, and is not escaped
        // where escapes would break it.
        for piece in text.split_inclusive([' ', '\n']) {
            let word = piece.trim_end();
            let url = word.trim_end_matches(['.', ',', ';', ':', '!', '?', ')']);
            if !in_link && is_plain_url(url) {
                match self.style {
                    Style::Mail => {
                        let mut escaped = String::new();
                        escape_into(url, Escape::Html, &mut escaped);
                        self.out.push_str(&format!("<a href=\"{escaped}\">{escaped}</a>"));
                    }
                    Style::Chat(Markup::Markdown) => self.out.push_str(&format!("<{url}>")),
                    Style::Chat(_) => escape_into(url, self.escape(), &mut self.out),
                }
                escape_into(&piece[url.len()..], self.escape(), &mut self.out);
            } else {
                escape_into(piece, self.escape(), &mut self.out);
            }
        }
    }

    /// Where Markdown goes out as Markdown, what would begin a list there is made plain.
    fn at_line_start<'t>(&mut self, text: &'t str) -> &'t str {
        let line = self.out.rsplit('\n').next().unwrap_or("");
        let begins = line.chars().all(|c| c.is_whitespace() || c.is_ascii_digit() || matches!(c, '-' | '.'));
        if self.style != Style::Chat(Markup::Markdown) || !begins || text.starts_with(' ') {
            return text;
        }
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if digits > 0 && text[digits..].starts_with(['.', ')']) {
            self.out.push_str(&text[..digits]);
            self.out.push('\\');
            return &text[digits..];
        }
        if text.starts_with(['-', '+', '=']) {
            self.out.push('\\');
        }
        text
    }

    fn escape(&self) -> Escape {
        match self.style {
            Style::Mail => Escape::Html,
            Style::Chat(markup) => escape_of(markup),
        }
    }

    fn link(&mut self) {
        let Some((url, start)) = self.links.pop() else { return };
        if !["https://", "http://", "mailto:"].iter().any(|scheme| url.starts_with(scheme)) {
            return;
        }
        let words = self.out.split_off(start.min(self.out.len()));
        let mut address = String::new();
        match self.style {
            Style::Mail | Style::Chat(Markup::Html) => {
                escape_into(&url, Escape::Html, &mut address);
                self.out.push_str(&format!("<a href=\"{address}\">{words}</a>"));
            }
            Style::Chat(Markup::Mrkdwn) => {
                escape_into(&url.replace('|', "%7C"), Escape::Mrkdwn, &mut address);
                self.out.push_str(&format!("<{address}|{}>", words.replace('|', "/")));
            }
            Style::Chat(Markup::Markdown) => {
                let address = url.replace('(', "%28").replace(')', "%29").replace(['<', '>', ' '], "");
                self.out.push_str(&format!("[{words}]({address})"));
            }
            Style::Chat(Markup::Plain) if words == url => self.out.push_str(&words),
            Style::Chat(Markup::Plain) => self.out.push_str(&format!("{words} ({url})")),
        }
    }

    fn raw(&mut self, text: &str) {
        self.close_gap();
        self.out.push_str(text);
    }

    fn close_gap(&mut self) {
        if self.style != Style::Mail && !self.out.is_empty() {
            self.out.push_str(match self.gap {
                Gap::None => "",
                Gap::Line => "\n",
                Gap::Blank => "\n\n",
            });
        }
        self.gap = Gap::None;
    }
}

pub fn escape_of(markup: Markup) -> Escape {
    match markup {
        Markup::Plain => Escape::None,
        Markup::Html => Escape::Html,
        Markup::Mrkdwn => Escape::Mrkdwn,
        Markup::Markdown => Escape::Markdown,
    }
}

fn is_plain_url(word: &str) -> bool {
    let rest = word.strip_prefix("https://").or_else(|| word.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        rest.len() > 3 && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"/?&=%._~+#@:;,-".contains(&b))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "## Now\n\nWe are *sorry* for **this** outage.\n\n1. Call <us>.\n2. See [the page](https://status.example/a_b).\n\n- one\n- two & three\n\nMore: https://help.example/a_b\\\nlast";

    #[test]
    fn each_markup_says_the_same() {
        assert_eq!(
            convert(BODY, Markup::Plain),
            "Now\n\nWe are sorry for this outage.\n\n1. Call <us>.\n2. See the page (https://status.example/a_b).\n\n- one\n- two & three\n\nMore: https://help.example/a_b\nlast"
        );
        assert_eq!(
            convert(BODY, Markup::Mrkdwn),
            "*Now*\n\nWe are _sorry_ for *this* outage.\n\n1. Call &lt;us&gt;.\n2. See <https://status.example/a_b|the page>.\n\n• one\n• two &amp; three\n\nMore: https://help.example/a_b\nlast"
        );
        assert_eq!(
            convert(BODY, Markup::Html),
            "<b>Now</b>\n\nWe are <i>sorry</i> for <b>this</b> outage.\n\n1. Call &lt;us&gt;.\n2. See <a href=\"https://status.example/a_b\">the page</a>.\n\n• one\n• two &amp; three\n\nMore: https://help.example/a_b\nlast"
        );
        assert_eq!(
            convert(BODY, Markup::Markdown),
            "**Now**\n\nWe are _sorry_ for **this** outage.\n\n1. Call \\<us\\>.\n2. See [the page](https://status.example/a_b).\n\n- one\n- two & three\n\nMore: <https://help.example/a_b>  \nlast"
        );
        let html = mail(BODY);
        assert!(html.contains("<h3><b>Now</b></h3>") && html.contains("<li>two &amp; three</li>"), "{html}");
        assert!(html.contains("<a href=\"https://help.example/a_b\">https://help.example/a_b</a><br>"), "{html}");
    }

    #[test]
    fn what_a_dropped_sentence_leaves_behind_is_not_seen() {
        let text = "    a   b\\\n  \n**c**\\\n**d**\\\n\n1. e\n   - f\n";
        assert_eq!(convert(text, Markup::Plain), "a b\n\nc\nd\n\n1. e\n   - f");
    }

    #[test]
    fn a_link_that_is_no_web_address_is_only_its_words() {
        for markup in Markup::ALL {
            assert_eq!(convert("[press](javascript:alert%281%29)", *markup), "press");
        }
        assert!(!mail("[press](javascript:alert%281%29)").contains("href"));
    }
}
