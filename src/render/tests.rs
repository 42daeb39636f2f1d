//! Messages from templates of the tests' own, so that a change of the shipped words changes nothing here.

use std::collections::BTreeMap;

use super::message::{Escape, Fields, Format, Markup, Segment};
use super::templates::embedded_texts;
use super::*;
use crate::incident::{Cause, CauseCategory, Impact, Severity, Status};

const UPDATE: &str = r#"{{!-- what all updates say --}}
{{#*inline "headline"}}{{services}} down since {{started.short}}, {{started.day}}{{/inline}}

{{#*inline "short"}}
{{sender}}: {{services}} went down{{#if where}} {{where}}{{/if}} at {{started.short}}, {{started.day}}.
{{#if (fits action 45)}}{{action}} {{/if}}{{#if next}}Next update {{next.when}}: {{/if}}{{check}}
{{/inline}}

{{#*inline "body"}}
{{Services}} have been unavailable{{#if where}} {{where}}{{/if}} since {{started.full}}. We are sorry.{{#if cause}}
The cause is {{cause.name}}.{{else}} The cause is not confirmed.{{/if}}

{{#if summary}}
{{summary}}

{{/if}}
{{#if action}}
**What you can do now:** {{action}}

{{/if}}
{{#if support_url}}More: {{support_url}}{{/if}}

{{#if next}}Next update: {{next.when}}.{{/if}}
{{/inline}}
"#;

const GERMAN: &str = r#"
{{#*inline "headline"}}{{services}} ausgefallen seit {{started.short}}{{/inline}}
{{#*inline "short"}}{{sender}}: {{services}} seit {{started.short}} ausgefallen. {{check}}{{/inline}}
{{#*inline "body"}}Guten Tag {{field "name" "und hallo"}},

{{Services}} sind seit {{started.full}} ausgefallen.{{#if summary}} {{summary}}{{/if}}{{#if action}} {{action}}{{/if}}{{/inline}}
"#;

const STAFF: &str = r#"
{{#*inline "headline"}}{{services}} down{{/inline}}
{{#*inline "short"}}{{sender}}: {{services}} down. {{check}}{{/inline}}
{{#*inline "body"}}Owner: {{#if owner}}{{owner}}{{/if}}. {{#if impact.users}}{{impact.users}} users.{{/if}}{{/inline}}
"#;

fn texts(own: &[(&str, &str)]) -> BTreeMap<String, String> {
    let shared =
        embedded_texts().into_iter().filter(|(path, _)| path.starts_with("layouts/") || path.starts_with("locales/"));
    shared.chain(own.iter().map(|(path, text)| (path.to_string(), text.to_string()))).collect()
}

fn load(own: &[(&str, &str)]) -> Result<Templates, Vec<Problem>> {
    Templates::from_files(texts(own), BTreeMap::new())
}

fn set() -> Templates {
    load(&[("public/update.hbs", UPDATE), ("customers/update.de.hbs", GERMAN), ("staff/update.hbs", STAFF)])
        .expect("loads")
}

fn time(text: &str) -> Time {
    Time::parse(text).expect("time")
}

fn facts() -> Facts {
    Facts {
        status: Some(Status::Investigating),
        severity: Some(Severity::Critical),
        owner: Some("network".into()),
        title: Some(Text::Plain("Apps unreachable".into())),
        summary: Some(Text::ByLocale([("en".into(), "Our apps cannot be reached.".into())].into())),
        action: Some(Text::Plain("If urgent, call or text.".into())),
        components: vec!["facebook".into(), "instagram".into(), "whatsapp".into()],
        regions: vec!["global".into()],
        impact: Impact { users: Some(3_500_000_000), ..Impact::default() },
        cause: Cause { category: Some(CauseCategory::TechnicalFailure), text: None, confirmed_by: None },
        started_at: Some(time("2021-10-04T15:39:00Z")),
        next_update_at: Some(time("2021-10-04T16:30:00Z")),
        ..Facts::default()
    }
}

struct World {
    facts: Facts,
    sender: config::Sender,
    components: BTreeMap<String, config::Component>,
    regions: BTreeMap<String, config::Region>,
    mode: Mode,
}

fn world() -> World {
    let titled = |id: &str, title: &str| {
        (id.to_string(), config::Component { title: Text::Plain(title.into()), platforms: vec![] })
    };
    World {
        facts: facts(),
        sender: config::Sender {
            name: "Facebook".into(),
            email: "status@status.example".into(),
            status_page: "status.example".into(),
            locale: "en".into(),
            zone: "UTC".into(),
        },
        components: [titled("facebook", "Facebook"), titled("instagram", "Instagram"), titled("whatsapp", "WhatsApp")]
            .into(),
        regions: BTreeMap::new(),
        mode: Mode::Real,
    }
}

impl World {
    fn scene(&self) -> Scene<'_> {
        Scene {
            facts: &self.facts,
            incident: "inc_1",
            update: 3,
            mode: self.mode,
            code: "7KQ4",
            sender: &self.sender,
            components: &self.components,
            regions: &self.regions,
            opened: time("2021-10-04T15:51:00Z"),
            now: time("2021-10-04T15:55:00Z"),
            wrong: None,
            window_before: None,
        }
    }
}

fn wording(format: Format, markup: Markup) -> Wording {
    Wording {
        template: "customers".into(),
        clearance: Clearance::Public,
        occasion: Occasion::Update,
        locale: "en".into(),
        zone: "America/New_York".into(),
        format,
        markup,
    }
}

fn say(world: &World, wording: &Wording) -> message::Filled {
    let rendered = render(&set(), &world.scene(), wording).expect("renders");
    rendered.message.fill(&Fields {
        delivery: "dlv_1",
        name: None,
        unsubscribe_url: Some("https://status.example/u/1"),
    })
}

#[test]
fn an_sms_says_what_the_worked_example_says() {
    let filled = say(&world(), &wording(Format::Sms, Markup::Plain));
    assert_eq!(
        filled.text,
        "Facebook: Facebook, Instagram and WhatsApp went down worldwide at 11:39 EDT, 4 Oct. If urgent, call or text. Next update 12:30 EDT: status.example Check 7KQ4"
    );
    assert_eq!(sms::count(&filled.text).segments, 1);
}

#[test]
fn a_mail_has_subject_text_and_html_and_the_recipients_own_link() {
    let filled = say(&world(), &wording(Format::Email, Markup::Plain));
    assert_eq!(filled.title.as_deref(), Some("Facebook, Instagram and WhatsApp down since 11:39 EDT, 4 Oct"));
    assert_eq!(
        filled.text,
        "Facebook, Instagram and WhatsApp have been unavailable worldwide since 11:39 EDT, 4 October 2021. We are sorry. The cause is not confirmed.\n\n\
         Our apps cannot be reached.\n\nWhat you can do now: If urgent, call or text.\n\nNext update: 12:30 EDT.\n\n\
         Facebook sent this. To check that it is genuine, type status.example and compare code 7KQ4.\n\n\
         To change or stop these messages: https://status.example/u/1"
    );
    let html = filled.html.expect("html");
    assert!(html.contains("<b>What you can do now:</b> If urgent, call or text."), "{html}");
    assert!(html.contains("href=\"https://status.example/u/1\""));
    assert!(html.contains("lang=\"en\""));
    // Nothing is loaded from elsewhere.
    assert!(!html.contains("fonts.googleapis") && !html.contains("<script") && !html.contains("{{"), "{html}");
}

#[test]
fn a_drill_says_so_first_and_last_in_every_format() {
    let world = World { mode: Mode::Exercise, ..world() };
    for (format, markup) in [
        (Format::Email, Markup::Plain),
        (Format::Sms, Markup::Plain),
        (Format::Chat, Markup::Mrkdwn),
        (Format::Push, Markup::Plain),
        (Format::Post, Markup::Html),
        (Format::Voice, Markup::Plain),
    ] {
        let filled = say(&world, &wording(format, markup));
        let texts = [Some(filled.text), filled.title];
        for text in texts.into_iter().flatten() {
            assert!(text.starts_with("EXERCISE") && text.ends_with("EXERCISE"), "{format}: {text}");
        }
        if let Some(html) = filled.html {
            let (first, last) = (html.find("EXERCISE"), html.rfind("EXERCISE"));
            assert!(first < html.find("unavailable") && html.find("unavailable") < last);
            assert!(!html.contains("7KQ4"), "a drill has no check code");
        }
    }
    let filled = say(&world, &Wording { locale: "de".into(), ..wording(Format::Sms, Markup::Plain) });
    assert!(filled.text.starts_with("ÜBUNG. ") && filled.text.ends_with(" ÜBUNG"), "{}", filled.text);
}

#[test]
fn a_reader_gets_her_language_zone_and_name_and_a_text_without_her_language_is_dropped_or_marked() {
    let german =
        Wording { locale: "de-AT".into(), zone: "Europe/Vienna".into(), ..wording(Format::Chat, Markup::Plain) };
    let rendered = render(&set(), &world().scene(), &german).expect("renders");
    assert!(rendered.fallbacks.is_empty());
    assert_eq!(rendered.message.locale, "de");
    let text = rendered.message.fill(&Fields { name: Some("Frau Weiß"), ..Fields::default() }).text;
    assert_eq!(
        text,
        "Guten Tag Frau Weiß,\n\nFacebook, Instagram und WhatsApp sind seit 17:39 MESZ, 4. Oktober 2021 ausgefallen. (Englisch) If urgent, call or text.\n\nDiese Nachricht kommt von Facebook. So prüfen Sie die Echtheit: Tippen Sie status.example ein und vergleichen Sie den Prüfcode 7KQ4."
    );
}

#[test]
fn what_stands_in_is_reported() {
    let fallbacks = |occasion, locale: &str| {
        let wording = Wording { occasion, locale: locale.into(), ..wording(Format::Sms, Markup::Plain) };
        let rendered = render(&set(), &world().scene(), &wording).expect("renders");
        rendered.fallbacks.iter().map(|f| f.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(fallbacks(Occasion::Identified, "de"), ["occasion identified: update was used"]);
    assert_eq!(
        fallbacks(Occasion::Identified, "fr"),
        ["audience customers: public was used", "occasion identified: update was used", "locale fr: en was used"]
    );
    let none = load(&[("staff/update.hbs", STAFF)]).expect("loads");
    let error = render(&none, &world().scene(), &wording(Format::Sms, Markup::Plain)).expect_err("none speaks");
    assert_eq!(error.to_string(), "no template speaks to customers on update in en");
}

#[test]
fn the_cause_is_not_there_before_a_named_person_has_confirmed_it() {
    let mut world = world();
    assert!(say(&world, &wording(Format::Chat, Markup::Plain)).text.contains("The cause is not confirmed."));
    world.facts.cause.confirmed_by = Some(" ".into());
    assert!(say(&world, &wording(Format::Chat, Markup::Plain)).text.contains("The cause is not confirmed."));
    world.facts.cause.confirmed_by = Some("Ada Lovelace".into());
    let text = say(&world, &wording(Format::Chat, Markup::Plain)).text;
    assert!(text.contains("The cause is a technical failure.") && !text.contains("Lovelace"), "{text}");
}

#[test]
fn what_a_template_may_not_do_is_refused_when_it_loads_with_file_line_and_the_nearest_name() {
    let part = |body: &str| {
        format!(
            "{{{{#*inline \"headline\"}}}}h{{{{/inline}}}}\n{{{{#*inline \"short\"}}}}s{{{{/inline}}}}\n{{{{#*inline \"body\"}}}}\n{body}\n{{{{/inline}}}}\n"
        )
    };
    for (body, expected) in [
        ("{{servces}}", "templates/press/update.hbs:4: nothing is called servces; did you mean services?"),
        ("{{next.wen}}", "templates/press/update.hbs:4: nothing is called next.wen; did you mean next.when?"),
        (
            "{{#if next}}{{next}}{{/if}}",
            "templates/press/update.hbs:4: next is a time: write next.short, next.when, next.full …",
        ),
        ("\n{{summary}}", "templates/press/update.hbs:5: summary may be absent: put it inside {{#if summary}}"),
        (
            "{{#if summary}}a{{else}}{{summary}}{{/if}}",
            "templates/press/update.hbs:4: summary may be absent: put it inside {{#if summary}}",
        ),
        (
            "{{#if (or summary title)}}{{title}}{{/if}}",
            "templates/press/update.hbs:4: title may be absent: put it inside {{#if title}}",
        ),
        (
            "{{#if cause}}{{cause.text}}{{/if}}",
            "templates/press/update.hbs:4: cause.text may be absent: put it inside {{#if cause.text}}",
        ),
        ("{{cause.name}}", "templates/press/update.hbs:4: cause.name may be absent: put it inside {{#if cause.name}}"),
        (
            "{{#if owner}}{{owner}}{{/if}}",
            "templates/press/update.hbs:4: owner is internal, above this audience's clearance, public",
        ),
        (
            "{{#if impact.users}}many{{/if}}",
            "templates/press/update.hbs:4: impact.users is partner, above this audience's clearance, public",
        ),
        (
            "{{#if (eq status \"monitring\")}}a{{/if}}",
            "templates/press/update.hbs:4: status is never \"monitring\"; did you mean \"monitoring\"?",
        ),
        (
            "{{#if next}}\n{{field \"name\" \"x\"}}{{/if}}",
            "templates/press/update.hbs:5: a recipient's field may not stand inside if, unless, each or with: words are the same for all",
        ),
        ("{{field \"nam\" \"x\"}}", "templates/press/update.hbs:4: no field is called \"nam\"; did you mean \"name\"?"),
        (
            "{{field \"name\" sender}}",
            "templates/press/update.hbs:4: write {{field \"name\" \"what stands there without one\"}}",
        ),
        (
            "{{#each services}}{{this}}{{/each}}",
            "templates/press/update.hbs:4: there is no block each, only if and unless",
        ),
        ("{{{services}}}", "templates/press/update.hbs:4: {{{…}}} and {{&…}} are not allowed: facts are escaped"),
        ("{{> shrt}}", "templates/press/update.hbs:4: there is no partial shrt; did you mean short?"),
        ("{{> body}}", "templates/press/update.hbs:4: partials include each other: body > body"),
        (
            "{{lookup facts \"owner\"}}",
            "templates/press/update.hbs:4: {{lookup …}} is not known here; only field takes words, conditions stand in if",
        ),
        ("{{../owner}}", "templates/press/update.hbs:4: nothing is called ../owner"),
        ("{{@root.owner}}", "templates/press/update.hbs:4: nothing is called @root.owner"),
        ("{{#if next}}", "templates/press/update.hbs:"),
        ("a\u{e000}", "templates/press/update.hbs:4: U+E000 is a private-use character"),
    ] {
        let problems =
            load(&[("press/update.hbs", &part(body))]).err().unwrap_or_else(|| panic!("{body} was not refused"));
        let shown: Vec<String> = problems.iter().map(|problem| problem.to_string()).collect();
        assert!(shown.iter().any(|problem| problem.starts_with(expected)), "{body}: {shown:?}");
    }
    for body in [
        "{{#if (and next where)}}{{next.when}} {{where}}{{/if}}",
        "{{#unless summary}}none{{else}}{{summary}}{{/unless}}",
        "{{#if (not summary)}}none{{else}}{{summary}}{{/if}}",
        "{{#if (or (not summary) (not next))}}none{{else}}{{summary}} {{next.when}}{{/if}}",
        "{{#if summary}}{{#if (fits summary 20)}}x{{else if next}}{{next.when}} {{summary}}{{/if}}{{/if}}",
        "{{#if cause.text}}{{cause.name}}{{/if}}",
        "{{> headline}} {{field \"name\" \"x\"}}",
    ] {
        let loaded = load(&[("press/update.hbs", &part(body))]);
        assert!(loaded.is_ok(), "{body}: {:?}", loaded.err());
    }
}

#[test]
fn what_would_overflow_the_stack_is_refused() {
    let whole = |body: &str| UPDATE.replace("{{summary}}", body);
    let deep = format!("{}{{{{summary}}}}{}", "{{#if summary}}".repeat(20_000), "{{/if}}".repeat(20_000));
    let nested = format!("{{{{#if {}summary{}}}}}x{{{{/if}}}}", "(not ".repeat(5_000), ")".repeat(5_000));
    let chain = format!("{{{{#if summary}}}}a{}{{{{/if}}}}", "{{else if summary}}b".repeat(3_000));
    let array = format!("{{{{#if {}{}}}}}x{{{{/if}}}}", "[".repeat(30_000), "]".repeat(30_000));
    for text in [deep, nested, chain, array].map(|body| whole(&body)) {
        let problems = load(&[("press/update.hbs", &text)]).err().expect("refused");
        assert!(problems.iter().any(|p| p.check == "nesting" || p.check == "size"), "{problems:?}");
    }
    let circle = [
        ("press/update.hbs", whole("{{> a}}")),
        ("partials/a.hbs", "{{#if next}}{{> b}}{{/if}}".into()),
        ("partials/b.hbs", "{{> a}}".into()),
    ];
    let circle: Vec<(&str, &str)> = circle.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let problems = load(&circle).err().expect("refused");
    assert!(problems.iter().any(|p| p.message == "partials include each other: body > a > b > a"), "{problems:?}");
    // Each includes the next one ten times.
    let mut bomb: Vec<(String, String)> =
        (0..9).map(|n| (format!("partials/p{n}.hbs"), format!("{{{{> p{}}}}}", n + 1).repeat(10))).collect();
    bomb.push(("partials/p9.hbs".into(), "boom".into()));
    bomb.push(("press/update.hbs".into(), whole("{{> p0}}")));
    let bomb: Vec<(&str, &str)> = bomb.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    assert!(load(&bomb).err().expect("refused").iter().any(|p| p.check == "nesting"));
}

#[test]
fn shared_partials_are_taken_in_the_readers_language() {
    let both = [
        ("public/update.hbs", UPDATE.replace("We are sorry.", "{{> sorry}}")),
        ("public/update.de.hbs", GERMAN.replace("ausgefallen.", "ausgefallen. {{> sorry}}")),
        ("partials/sorry.hbs", "We are very sorry.".into()),
        ("partials/sorry.de.hbs", "Es tut uns leid.".into()),
    ];
    let both: Vec<(&str, &str)> = both.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let set = load(&both).expect("loads");
    for (locale, expected) in [("en", "We are very sorry."), ("de", "Es tut uns leid.")] {
        let wording = Wording { locale: locale.into(), ..wording(Format::Chat, Markup::Plain) };
        let text = render(&set, &world().scene(), &wording).expect("renders").message.fill(&Fields::default()).text;
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_stored_set_says_the_same_and_has_the_same_digest() {
    let set = set();
    let again = Templates::from_bytes(&set.to_bytes()).expect("reads");
    assert_eq!(set.digest(), again.digest());
    let wording = wording(Format::Email, Markup::Plain);
    let world = world();
    assert_eq!(
        render(&set, &world.scene(), &wording).expect("renders").message.to_bytes(),
        render(&again, &world.scene(), &wording).expect("renders").message.to_bytes()
    );
    let other = load(&[("public/update.hbs", &UPDATE.replace("sorry", "very sorry"))]).expect("loads");
    assert_ne!(set.digest(), other.digest());
}

#[test]
fn an_operators_directory_adds_and_replaces_and_its_faults_are_refused() {
    let directory = tempfile::tempdir().expect("directory");
    std::fs::create_dir_all(directory.path().join("customers")).expect("folder");
    let file = directory.path().join("customers/update.de.hbs");
    std::fs::write(&file, GERMAN.replace("Guten Tag", "Grüß Gott")).expect("file");
    let set = Templates::load(Some(directory.path()), BTreeMap::new()).expect("loads");
    let german = Wording { locale: "de".into(), ..wording(Format::Chat, Markup::Plain) };
    let text = render(&set, &world().scene(), &german).expect("renders").message.fill(&Fields::default()).text;
    assert!(text.contains("Grüß Gott und hallo"), "{text}");
    std::fs::write(&file, GERMAN.replace("{{check}}", "{{chek}}")).expect("file");
    let problems = Templates::load(Some(directory.path()), BTreeMap::new()).err().expect("refused");
    assert_eq!(problems[0].message, "nothing is called chek; did you mean check?");
    std::fs::rename(&file, directory.path().join("customers/updte.hbs")).expect("renamed");
    let problems = Templates::load(Some(directory.path()), BTreeMap::new()).err().expect("refused");
    assert!(problems[0].message.contains("did you mean update?"), "{}", problems[0]);
}

#[test]
fn a_clearance_in_the_configuration_rules_what_a_folder_may_name() {
    let own = texts(&[("public/update.hbs", UPDATE), ("staff/update.hbs", STAFF)]);
    let lowered = BTreeMap::from([("staff".to_string(), Clearance::Partner)]);
    let problems = Templates::from_files(own, lowered).err().expect("refused");
    assert_eq!(problems[0].message, "owner is internal, above this audience's clearance, partner");
}

#[test]
fn a_webhook_has_the_shape_of_its_schema_and_only_what_its_audience_may_read() {
    let mut world = world();
    world.facts.cause.text = Some(Text::Plain("secret guess".into()));
    world.facts.internal_notes = Some(Text::Plain("secret notes".into()));
    world.facts.compensation = Some(Text::Plain("A month is free.".into()));
    let schema: serde_json::Value =
        serde_json::from_str(include_str!("../../docs/schemas/incident.update.v1.json")).expect("schema");
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

#[test]
fn segments_of_a_mail_subject_are_escaped_as_a_header() {
    let own = UPDATE.replace("{{services}} down since", "{{field \"name\" \"you\"}}: down since");
    let set = load(&[("public/update.hbs", &own)]).expect("loads");
    let rendered = render(&set, &world().scene(), &wording(Format::Email, Markup::Plain)).expect("renders");
    let title = rendered.message.title.as_deref().expect("title");
    assert_eq!(title[0], Segment::Field { name: "name".into(), default: "you".into(), escape: Escape::Header });
    let filled = rendered.message.fill(&Fields { name: Some("a\r\nBcc: b"), ..Fields::default() });
    assert_eq!(filled.title.as_deref(), Some("a  Bcc: b: down since 11:39 EDT, 4 Oct"));
}

#[test]
fn a_check_code_is_four_signs_that_begin_with_a_digit() {
    let codes: std::collections::BTreeSet<String> = (0..200u8).map(|seed| check_code(&[seed])).collect();
    assert!(codes.len() > 190);
    assert!(codes.iter().all(|code| code.len() == 4
        && code.as_bytes()[0].is_ascii_digit()
        && !code.contains(['O', 'I', '0', '1', 'L', 'U'])));
}
