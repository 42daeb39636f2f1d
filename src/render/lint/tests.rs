//! A good message passes; each fault put into it is found by the check that is meant for it.

use std::collections::BTreeMap;

use super::super::sample::{Sample, Stage, samples, zone};
use super::super::templates::{Templates, embedded_texts};
use super::super::{Level, Occasion, Wording, render};
use super::*;
use crate::clock::Time;
use crate::incident::{Clearance, Text};
use crate::render::message::Markup;

const BODY: &str = "{{Services}} are down{{#if where}} {{where}}{{/if}} since {{started.full}}. We are sorry. The cause is not confirmed. \
     Please wait, or call. {{#if next}}Next update: {{next.when}}.{{/if}}";
const SHORT: &str = "{{sender}}: {{services}} down since {{started.short}}. Please wait. {{#if next}}Next {{next.when}}: {{/if}}{{check}}";

struct Case<'a> {
    headline: &'a str,
    short: &'a str,
    body: &'a str,
    format: Format,
    occasion: Occasion,
    locale: &'a str,
    template: &'a str,
}

impl Default for Case<'_> {
    fn default() -> Self {
        Case {
            headline: "Our apps are down",
            short: SHORT,
            body: BODY,
            format: Format::Email,
            occasion: Occasion::Investigating,
            locale: "en",
            template: "customers",
        }
    }
}

impl Case<'_> {
    fn findings(&self, change: impl Fn(&mut Sample)) -> Vec<Finding> {
        let shared = embedded_texts()
            .into_iter()
            .filter(|(path, _)| ["layouts/", "locales/", "lint/"].iter().any(|folder| path.starts_with(folder)));
        let mut texts: BTreeMap<String, String> = shared.collect();
        let Case { headline, short, body, .. } = self;
        let text = format!(
            "{{{{#*inline \"headline\"}}}}{headline}{{{{/inline}}}}{{{{#*inline \"short\"}}}}{short}{{{{/inline}}}}{{{{#*inline \"body\"}}}}{body}{{{{/inline}}}}"
        );
        texts.insert(format!("{}/{}.{}.hbs", self.template, self.occasion, self.locale), text);
        let set = Templates::from_files(texts, BTreeMap::new()).expect("loads");
        let stage = Stage::set();
        let mut sample = samples(self.occasion).swap_remove(0);
        change(&mut sample);
        let scene = stage.scene(&sample, self.occasion);
        let wording = Wording {
            template: self.template.into(),
            clearance: Clearance::Public,
            occasion: self.occasion,
            locale: self.locale.into(),
            zone: zone(self.locale).into(),
            format: self.format,
            markup: Markup::Plain,
        };
        let rendered = render(&set, &scene, &wording).expect("renders");
        lint(&set, &rendered.message, &scene, &wording)
    }

    fn checks(&self) -> Vec<(&'static str, Level)> {
        self.findings(|_| ()).into_iter().map(|finding| (finding.check, finding.level)).collect()
    }
}

#[test]
fn a_good_message_passes() {
    for format in [Format::Email, Format::Sms, Format::Chat, Format::Push, Format::Post] {
        assert_eq!(Case { format, ..Case::default() }.findings(|_| ()), [], "{format}");
    }
}

#[test]
fn each_fault_is_found_by_its_check() {
    use Level::{Block, Warn};
    for (addition, check, level) in [
        ("It is {name}.", "placeholder", Block),
        ("TODO: say more.", "placeholder", Block),
        ("We met at 12:30.", "time-zone", Block),
        ("It is 10/4 now.", "time-zone", Block),
        ("It was 11:39 EST.", "time-zone", Block),
        ("From 12:00 IST on.", "time-zone", Warn),
        ("By midnight.", "time-zone", Warn),
        ("It was caused by a cable.", "cause", Block),
        ("Hackers did it.", "cause", Block),
        ("We apologise for any inconvenience.", "forbidden", Block),
        ("Some of our users are hit.", "minimising", Block),
        ("We will restore service.", "promise", Block),
        ("It works again soon.", "promise", Block),
        ("We are sorry if you were hit.", "apology", Block),
        ("See http://status.example/x for more.", "link", Block),
        ("See https://other.example/ for more.", "link", Block),
        ("Send us your password.", "secrets", Block),
        ("THIS MATTERS to us.", "shouting", Block),
        ("Oh! No!", "shouting", Block),
        ("We know 😀.", "shouting", Block),
        ("This is an EXERCISE of yours.", "exercise", Block),
        ("This is not a drill.", "exercise", Block),
        ("Your code is {{code}}.", "code", Block),
        ("Workplace works.", "same-facts", Block),
        (
            "This is a very long sentence that goes on and on, with one word after another, until nobody who reads it on a small screen in a hurry can still tell what it wanted to say at first.",
            "reading",
            Block,
        ),
    ] {
        let body = format!("{BODY}\n\n{addition}");
        let checks = Case { body: &body, ..Case::default() }.checks();
        assert!(checks.contains(&(check, level)), "{addition}: {checks:?}");
    }
}

#[test]
fn what_looks_like_a_fault_and_is_none_passes() {
    for addition in [
        "From 14:00 to 15:00 UTC.",
        "Never send anyone your password.",
        "A share of 12% of our users is hit.",
        "We expect service back by 18:00 EDT.",
        "It concerns 3.25 million people.",
        "We are here 24/7.",
    ] {
        let body = format!("{BODY}\n\n{addition}");
        assert_eq!(Case { body: &body, ..Case::default() }.checks(), [], "{addition}");
    }
}

#[test]
fn a_public_message_that_lacks_something_is_blocked() {
    for (left_out, check) in [
        ("{{Services}} are", "public"),
        (" since {{started.full}}", "public"),
        ("{{#if where}} {{where}}{{/if}}", "public"),
        ("Please wait, or call. ", "public"),
        ("{{#if next}}Next update: {{next.when}}.{{/if}}", "next-update"),
    ] {
        let body = BODY.replace(left_out, "");
        let checks = Case { body: &body, ..Case::default() }.checks();
        assert!(checks.contains(&(check, Level::Block)), "{left_out}: {checks:?}");
    }
}

#[test]
fn facts_that_do_not_bear_the_message_are_found() {
    let checks = |change: &dyn Fn(&mut Sample)| {
        let findings = Case::default().findings(change);
        findings.into_iter().map(|finding| finding.check).collect::<Vec<_>>()
    };
    assert_eq!(checks(&|s| s.facts.next_update_at = None), ["next-update"]);
    assert_eq!(checks(&|s| s.facts.next_update_at = s.facts.started_at), ["next-update"]);
    assert_eq!(checks(&|s| s.facts.next_update_at = Time::parse("2021-10-04T20:00:00Z").ok()), ["next-update"]);
    // The operator's own words repeat what outsiders may not know.
    let body = format!("{BODY} {{{{#if summary}}}}{{{{summary}}}}{{{{/if}}}}");
    let findings = Case { body: &body, ..Case::default() }.findings(|sample| {
        sample.facts.summary = Some(Text::Plain("Door badges fail.".into()));
        sample.facts.internal_notes = Some(Text::Plain("door badges fail".into()));
    });
    assert_eq!(findings[0].check, "clearance");
    let findings = Case { body: &body, ..Case::default() }.findings(|sample| {
        sample.facts.summary = Some(Text::Plain("It is an attack.".into()));
    });
    assert_eq!(findings[0].check, "cause");
}

#[test]
fn an_sms_is_judged_by_its_first_segment_and_its_units() {
    let sms = |short: &str| Case { short, format: Format::Sms, ..Case::default() }.checks();
    assert_eq!(sms(SHORT), []);
    assert!(sms(&SHORT.replace("{{sender}}: ", "")).is_empty(), "the sender is a service of the same name");
    assert!(sms("{{sender}} down. Please wait. {{check}}").iter().all(|(check, _)| *check != "first-segment"));
    assert!(sms(&SHORT.replace(" down", "")).contains(&("first-segment", Level::Block)));
    assert!(sms(&SHORT.replace("Please wait. ", "")).contains(&("first-segment", Level::Block)));
    assert!(sms(&format!("{SHORT} {}", "and more words ".repeat(5))).contains(&("length", Level::Block)));
    assert!(sms(&SHORT.replace("wait", "wait é ó")).contains(&("length", Level::Warn)));
    assert!(sms(&SHORT.replace("{{check}}", "")).contains(&("code", Level::Block)));
}

#[test]
fn a_correction_begins_with_its_word_and_names_what_was_wrong() {
    let body = format!("Correction to our message of {{{{wrong.sent.short}}}}. {BODY}");
    let correction =
        |headline, body: &str| Case { headline, body, occasion: Occasion::Correction, ..Case::default() }.checks();
    assert_eq!(correction("Correction: our apps are down", &body), []);
    assert!(correction("Our apps are down", &body).contains(&("correction", Level::Block)));
    assert!(correction("Correction", BODY).contains(&("correction", Level::Block)));
    assert!(correction("Correction", &body.replace("We are sorry.", "")).contains(&("apology", Level::Block)));
}

#[test]
fn a_text_message_in_hindi_has_two_segments() {
    // 134 units are two segments of UCS-2.
    let hindi = |units: usize| {
        let short = format!("{{{{sender}}}}: {{{{services}}}} बंद हैं। इंतज़ार करें। {{{{check}}}} {}", "अ".repeat(units));
        Case { short: &short, format: Format::Sms, locale: "hi", ..Case::default() }.findings(|_| ())
    };
    let lengths = |units| hindi(units).into_iter().filter(|finding| finding.check == "length").collect::<Vec<_>>();
    let spent = 134 - (0..134).rev().find(|units| lengths(*units).is_empty()).expect("it fits");
    assert!(lengths(134 - spent).is_empty());
    let [Finding { level: Level::Block, message, .. }] = &lengths(135 - spent)[..] else { panic!("no block") };
    assert_eq!(message, "135 units in 3 segments; 2 at most");
}

#[test]
fn both_forms_of_address_are_noticed() {
    let body = "{{Services}} sind weltweit seit {{started.full}} ausgefallen. Die Ursache ist noch nicht bestätigt. Bitte warten Sie. Rufe du an. {{#if next}}Neues: {{next.when}}{{/if}}";
    let checks = Case { headline: "Unsere Apps sind ausgefallen", body, locale: "de", ..Case::default() }.checks();
    assert_eq!(checks, [("address", Level::Warn)]);
}

#[test]
fn voice_has_nothing_that_cannot_be_heard_and_says_the_next_time_twice() {
    let voice = |body: &str| Case { body, format: Format::Voice, ..Case::default() }.checks();
    let twice = format!("{BODY} {{{{#if next}}}}Again: {{{{next.when}}}}.{{{{/if}}}}");
    assert_eq!(voice(&twice), []);
    assert!(voice(BODY).contains(&("voice", Level::Block)));
    assert!(voice(&format!("{twice} See {{{{status_page}}}}/news.")).contains(&("voice", Level::Block)));
}
