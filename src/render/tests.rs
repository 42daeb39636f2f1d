//! Messages from templates of the tests' own, so that a change of the shipped words changes nothing here.

mod loading;
mod outside;

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
fn what_is_said_of_one_service_agrees_with_it() {
    let own = UPDATE.replace("{{services}} down since", "{{services}} {{agree \"has\" \"have\"}} been down since");
    let set = load(&[("public/update.hbs", &own)]).expect("loads");
    let mut world = world();
    let title = |world: &World| {
        let rendered = render(&set, &world.scene(), &wording(Format::Email, Markup::Plain)).expect("renders");
        rendered.message.fill(&Fields::default()).title.unwrap_or_default()
    };
    assert!(title(&world).contains(" have been down since"), "{}", title(&world));
    world.facts.components.truncate(1);
    assert!(title(&world).contains(" has been down since"), "{}", title(&world));
    world.facts.components.clear();
    assert!(title(&world).starts_with("Our services have") || title(&world).starts_with("our services have"));
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
