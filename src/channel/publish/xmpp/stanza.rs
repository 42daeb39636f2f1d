//! A stanza as a tree, names without their prefixes; and texts as they stand in one.

use quick_xml::Reader;
use quick_xml::escape::{escape, resolve_predefined_entity, unescape};
use quick_xml::events::{BytesStart, Event};

use crate::channel::publish::conversation::Lost;

const ELEMENTS: usize = 2000;

#[derive(Debug, Default, PartialEq)]
pub(super) struct Element {
    pub name: String,
    pub attributes: Vec<(String, String)>,
    pub text: String,
    pub children: Vec<Element>,
}

impl Element {
    /// A stanza that the framing took for one.
    pub fn read(text: &str) -> Result<Element, Lost> {
        let mut reader = Reader::from_str(text);
        let (mut open, mut elements): (Vec<Element>, usize) = (Vec::new(), 0);
        loop {
            let ended = match reader.read_event().map_err(|_| Lost::Garbled)? {
                Event::Start(start) => {
                    open.push(Element::begin(&start)?);
                    None
                }
                Event::Empty(start) => Some(Element::begin(&start)?),
                Event::End(_) => Some(open.pop().ok_or(Lost::Garbled)?),
                Event::Text(text) => {
                    says(&mut open, &text.xml10_content());
                    None
                }
                Event::CData(text) => {
                    says(&mut open, &text.xml10_content());
                    None
                }
                Event::GeneralRef(reference) => {
                    let name: &str = &reference;
                    let by_number = reference.resolve_char_ref().ok().flatten().map(String::from);
                    let text = resolve_predefined_entity(name).map(String::from).or(by_number).ok_or(Lost::Garbled)?;
                    says(&mut open, &text);
                    None
                }
                _ => return Err(Lost::Garbled),
            };
            if let Some(element) = ended {
                elements += 1;
                match open.last_mut() {
                    _ if elements > ELEMENTS => return Err(Lost::Garbled),
                    Some(outer) => outer.children.push(element),
                    None => return Ok(element),
                }
            }
        }
    }

    fn begin(start: &BytesStart<'_>) -> Result<Element, Lost> {
        let mut element = Element { name: start.local_name().into_inner().into(), ..Element::default() };
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|_| Lost::Garbled)?;
            let value = unescape(&attribute.value).map_err(|_| Lost::Garbled)?;
            element.attributes.push((attribute.key.into_inner().into(), value.into_owned()));
        }
        Ok(element)
    }

    /// Empty where it is missing.
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.iter().find(|(given, _)| given == name).map_or("", |(_, value)| value)
    }

    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The sender without its resource, in small letters, and the resource.
    pub fn from(&self) -> (String, &str) {
        let from = self.attribute("from");
        let (bare, resource) = from.split_once('/').unwrap_or((from, ""));
        (bare.to_lowercase(), resource)
    }
}

fn says(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

/// As a text or an attribute's value; characters that no document may have are left out.
pub(super) fn written(text: &str) -> String {
    let fits = |c: &char| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}') || matches!(c, '\n' | '\t');
    escape(text.chars().filter(fits).collect::<String>()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stanza_is_a_tree_and_what_is_none_is_refused() {
        let text = "<stream:features a='1 &amp; 2'><m:x xml:lang=\"en\"/>t&lt;&#x41;<![CDATA[<]]></stream:features>";
        let element = Element::read(text).expect("a stanza");
        assert_eq!(
            (element.name.as_str(), element.attribute("a"), element.text.as_str()),
            ("features", "1 & 2", "t<A<")
        );
        assert_eq!(element.child("x").map(|x| x.attribute("xml:lang")), Some("en"));
        for wrong in ["<a></b>", "<a b=c/>", "<a>&x;</a>", "<a b='&x;'/>", "<a>", "", "x"] {
            assert_eq!(Element::read(wrong), Err(Lost::Garbled), "{wrong}");
        }
    }

    #[test]
    fn a_text_is_written_so_that_it_is_read_as_it_was_and_nothing_else() {
        let text = "a < b & c > \"d\" 'e' ]]> é\u{1f600}\nx";
        let element = Element::read(&format!("<a b='{0}'>{0}</a>", written(text))).expect("a stanza");
        assert_eq!((element.text.as_str(), element.children.len()), (text, 0));
        assert_eq!(written("a\u{0}\u{b}b\u{ffff}"), "ab");
    }
}
