//! What leaves the house: the webhook's shape, and that no fact breaks out of its format.

use super::*;

#[test]
fn a_webhook_has_the_shape_of_its_schema_and_only_what_its_audience_may_read() {
    let mut world = world();
    world.facts.cause.text = Some(Text::Plain("secret guess".into()));
    world.facts.internal_notes = Some(Text::Plain("secret notes".into()));
    world.facts.compensation = Some(Text::Plain("A month is free.".into()));
    let schema: serde_json::Value =
        serde_json::from_str(include_str!("../../../docs/schemas/incident.update.v1.json")).expect("schema");
    for clearance in Clearance::ALL {
        let wording = Wording { clearance: *clearance, ..wording(Format::Webhook, Markup::Plain) };
        let rendered = render(&set(), &world.scene(), &wording).expect("renders");
        let text = rendered.message.fill(&Fields { delivery: "dlv_\"1", ..Fields::default() }).text;
        let event: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        conforms(&event, &schema, &schema, "event");
        assert_eq!(event["id"], "dlv_\"1");
        assert_eq!(event["type"], "incident.update");
        let data = &event["data"];
        assert_eq!(
            (&data["update"], &data["components"][2]["title"]),
            (&serde_json::json!(3), &serde_json::json!("WhatsApp"))
        );
        assert_eq!(data["times"]["next_update_at"], "2021-10-04T16:30:00Z");
        assert!(!text.contains("secret guess"));
        assert_eq!(text.contains("secret notes"), *clearance == Clearance::Internal);
        assert_eq!(text.contains("A month is free"), *clearance >= Clearance::Partner);
        assert_eq!(data.get("severity").is_some(), *clearance >= Clearance::Partner);
        assert_eq!(data.get("owner").is_some(), *clearance == Clearance::Internal);
    }
}

/// As much of JSON Schema as the file uses; unlike a reader's, it refuses names that the schema doesn't have.
fn conforms(value: &serde_json::Value, schema: &serde_json::Value, root: &serde_json::Value, place: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let found = root.pointer(reference.trim_start_matches('#')).expect("reference");
        return conforms(value, found, root, place);
    }
    if let Some(expected) = schema.get("const") {
        assert_eq!(value, expected, "{place}");
    }
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{place}: {value}");
    }
    let right = match schema["type"].as_str() {
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => true,
    };
    assert!(right, "{place}: {value}");
    if schema["format"] == "date-time" {
        assert!(value.as_str().is_some_and(|text| Time::parse(text).is_ok()), "{place}: {value}");
    }
    for needed in schema["required"].as_array().into_iter().flatten() {
        assert!(value.get(needed.as_str().expect("name")).is_some(), "{place} has no {needed}");
    }
    for (name, inner) in value.as_object().into_iter().flatten() {
        let known = schema["properties"].get(name).unwrap_or_else(|| panic!("{place}: the schema has no {name}"));
        conforms(inner, known, root, &format!("{place}.{name}"));
    }
    for inner in value.as_array().into_iter().flatten() {
        conforms(inner, &schema["items"], root, place);
    }
}

/// Whatever the facts say, they stay text.
#[test]
fn no_fact_breaks_out_of_the_format_it_stands_in() {
    let pieces = [
        "<script>alert(1)</script>",
        "\"",
        "'",
        "</p>",
        "<!channel>",
        "<https://evil.example|click>",
        "&",
        "\\",
        "\n",
        "\r\n",
        "\n\n# heading\n",
        "[x](https://evil.example)",
        "![x](https://evil.example/x.png)",
        "**",
        "_",
        "`",
        "```\n",
        "\u{0}",
        "\u{1b}",
        "\u{202e}",
        "\u{e000}",
        "\u{e001}",
        "\u{f8ff}",
        "{{owner}}",
        "{{field \"name\" \"x\"}}",
        "\u{2028}",
        "</body>",
        "- a\n- b",
        "1. x",
        "<a href=\"javascript:x\">",
        "|",
        "\r\nBcc: all@example.org\r\n",
        "    code",
        "अ",
        "😀",
        "---\n",
        "> quote",
        "<b",
        "&lt;",
        "&#x3c;b&#x3e;",
        "~~~\n",
        "\t",
    ];
    let set = set();
    let mut random = fastrand::Rng::with_seed(21);
    for round in 0..300 {
        let mut text =
            || (0..random.usize(1..12)).map(|_| pieces[random.usize(0..pieces.len())]).collect::<Vec<_>>().concat();
        let mut world = world();
        for fact in
            [&mut world.facts.title, &mut world.facts.summary, &mut world.facts.action, &mut world.facts.compensation]
        {
            *fact = Some(Text::Plain(text()));
        }
        world.facts.support_url = Some(format!("https://help.example/{}", text()));
        world.facts.owner = Some(text());
        world.facts.components = vec![text(), "whatsapp".into()];
        world.facts.regions = vec![text()];
        world.sender.name = text();
        world.components.insert("whatsapp".into(), config::Component { title: Text::Plain(text()), platforms: vec![] });
        let fields = Fields { delivery: "dlv_1", name: Some("\"<i>\r\nX: y"), unsubscribe_url: None };
        let made = |format, markup, template: &str| {
            let wording =
                Wording { template: template.into(), clearance: Clearance::Internal, ..wording(format, markup) };
            let rendered = render(&set, &world.scene(), &wording).expect("renders");
            for segment in rendered
                .message
                .title
                .iter()
                .flatten()
                .chain(&rendered.message.text)
                .chain(rendered.message.html.iter().flatten())
            {
                if let Segment::Field { name, default, escape } = segment {
                    assert!(
                        name == "unsubscribe_url" || name == "delivery",
                        "a fact made a field: {name} {default} {escape:?}"
                    );
                }
            }
            rendered.message.fill(&fields)
        };
        for template in ["customers", "staff"] {
            let mail = made(Format::Email, Markup::Plain, template);
            let title = mail.title.expect("subject");
            assert!(!title.chars().any(char::is_control), "round {round}: {title:?}");
            let html = mail.html.expect("html");
            for bad in ["<script>", "<img", "<i>\r", "<a href=\"javascript"] {
                assert!(!html.contains(bad), "round {round}: {bad} in {html}");
            }
            assert_eq!(html.matches("</body>").count(), 1, "round {round}");
            assert!(!html.contains("href=\"https://evil.example\"") || text_links_only(&html), "round {round}: {html}");

            let slack = made(Format::Chat, Markup::Mrkdwn, template).text;
            assert!(
                !slack.contains("<!") && !slack.contains("|click>") && !slack.contains("<b"),
                "round {round}: {slack}"
            );

            let telegram = made(Format::Chat, Markup::Html, template).text;
            only_tags(&telegram, &["b", "i", "a"], round);

            let markdown = made(Format::Chat, Markup::Markdown, template).text;
            // Read again, it is nothing but paragraphs, bold words and breaks; a list or a link would be a fact's.
            for event in pulldown_cmark::Parser::new(&markdown) {
                let structure = matches!(
                    &event,
                    pulldown_cmark::Event::Start(tag) if !matches!(tag, pulldown_cmark::Tag::Paragraph | pulldown_cmark::Tag::Strong
                        | pulldown_cmark::Tag::Link { link_type: pulldown_cmark::LinkType::Autolink, .. })
                );
                assert!(
                    !structure
                        && !matches!(event, pulldown_cmark::Event::InlineHtml(_) | pulldown_cmark::Event::Html(_)),
                    "round {round}: {event:?} {markdown}"
                );
            }

            let webhook = made(Format::Webhook, Markup::Plain, template).text;
            let event: serde_json::Value = serde_json::from_str(&webhook).expect("JSON whatever the facts say");
            assert_eq!(event["id"], "dlv_1");
            let sms = made(Format::Sms, Markup::Plain, template).text;
            assert!(!sms.chars().any(|c| c.is_control()), "round {round}: {sms:?}");
            assert!(!sms.contains("{{o") || !sms.contains("network"));
        }
    }
}

/// Every `<` begins one of these tags or ends one.
fn only_tags(html: &str, tags: &[&str], round: usize) {
    for (at, _) in html.match_indices('<') {
        let rest = html[at + 1..].trim_start_matches('/');
        assert!(
            tags.iter()
                .any(|tag| rest.starts_with(&format!("{tag}>")) || rest.starts_with(&format!("{tag} href=\"http"))),
            "round {round}: {html}"
        );
    }
    assert_eq!(html.matches("<b>").count(), html.matches("</b>").count());
    assert_eq!(html.matches("<a ").count(), html.matches("</a>").count());
}

/// A bare address in a fact becomes a link that shows where it leads; never one with other words.
fn text_links_only(html: &str) -> bool {
    html.match_indices("<a href=\"").all(|(at, _)| {
        let rest = &html[at + 9..];
        let (Some(end), Some(close), Some(shown)) = (rest.find('"'), rest.find("</a>"), rest.find('>')) else {
            return false;
        };
        rest[..end] == rest[shown + 1..close]
    })
}
