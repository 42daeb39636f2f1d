//! Alerts in and out, by tables.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::event::{Target, event, opens};
use super::shape::{ALERT, Child, Holds};
use super::told::Told;
use super::xml::Element;
use super::{feed, read, shape, write, xml};
use crate::clock::Time;
use crate::config::{Config, Region};
use crate::id::{IncidentId, UpdateId};
use crate::incident::{Clearance, Facts, Kind, Mode, Severity, Text};
use crate::ingest::event::{Event, Principal};

const THUNDERSTORM: &str = include_str!("../../fuzz/seeds/cap/thunderstorm.xml");
const EARTHQUAKE: &str = include_str!("../../fuzz/seeds/cap/earthquake.xml");
const AMBER: &str = include_str!("../../fuzz/seeds/cap/amber.xml");
const FLOOD: &str = include_str!("../../fuzz/seeds/cap/flood.xml");
const CANCEL: &str = include_str!("../../fuzz/seeds/cap/cancel.xml");

fn config() -> Config {
    let own = "[sender]\nname = \"Acme\"\nstatus_page = \"status.acme.example\"\n[server]\npublic_url = \"https://acme.example\"\n\
               [regions.eu]\ntitle = { en = \"Europe\", de = \"Europa\" }\n[regions.la]\ntitle = \"Los Angeles County\"\n";
    Config::from_toml(own, "own.toml", std::iter::empty()).expect("a configuration")
}

fn of(document: &str, known: Option<(Kind, bool)>) -> Event {
    let alert = read(document.as_bytes()).expect("an alert");
    let target = Target { id: alert.identifier.clone(), key: "k".into(), known };
    event(&alert, &target, &config().regions, &Principal::Machine("m".into())).expect("an event")
}

fn said(document: &str, known: Option<(Kind, bool)>) -> Value {
    of(document, known).says.into()
}

/// The thunderstorm with one thing in place of another.
fn with(from: &str, to: &str) -> String {
    assert!(THUNDERSTORM.contains(from), "{from}");
    THUNDERSTORM.replacen(from, to, 1)
}

#[test]
fn an_alert_says_its_event_and_what_has_no_field_stands_in_the_notes() {
    let event = of(THUNDERSTORM, None);
    assert_eq!((event.source.as_str(), event.id.as_str()), ("KSTO@weather.example", "KSTO1055887203"));
    assert_eq!((event.at.to_string().as_str(), event.mode), ("2021-10-04T15:45:00Z", Some(Mode::Real)));
    let said: Value = event.says.into();
    assert_eq!(said["title"], json!({ "en-US": "SEVERE THUNDERSTORM WARNING" }));
    assert_eq!((&said["status"], &said["severity"]), (&json!("investigating"), &json!("major")));
    let summary = said["summary"]["en-US"].as_str().expect("a text");
    assert!(summary.contains("Hail & damaging winds") && summary.ends_with("\n\nAlpine County"), "{summary}");
    assert_eq!(said["action"], json!({ "en-US": "Take cover in a substantial shelter until the storm passes." }));
    let notes = said["internal_notes"].as_str().expect("a text");
    for part in [
        "KSTO1055887203",
        "category: Met",
        "response: Shelter",
        "Immediate, Severe, Observed",
        "JUSKIE",
        "areas: Alpine",
    ] {
        assert!(notes.contains(part), "{part}: {notes}");
    }
    assert!(notes.contains("expires: 2021-10-04T17:00:00-00:00"), "{notes}");
    assert!(said.get("started_at").is_none() && said.get("regions").is_none() && said.get("components").is_none());
}

#[test]
fn several_infos_are_texts_by_language_and_areas_are_the_regions_that_bear_their_names() {
    let said = said(AMBER, None);
    assert_eq!(said["title"]["es-US"], "Alerta Amber en el condado de Los Ángeles");
    assert_eq!(said["regions"], json!(["la"]));
    assert_eq!(
        said["summary"],
        json!({ "en-US": "Vehicle: blue, four doors.",
        "es-US": "Vehículo: azul, cuatro puertas.\n\ncondado de Los Ángeles" })
    );
    let two = AMBER.replace("es-US", "en-US").replace("<severity>Severe", "<severity>Extreme");
    let both = self::said(&two, None);
    assert_eq!(both["title"]["en-US"], "Amber Alert in Los Angeles County; Alerta Amber en el condado de Los Ángeles");
    assert_eq!(both["severity"], "critical");
    let flood = self::said(FLOOD, None);
    assert_eq!(flood["started_at"], "2021-10-04T15:30:00Z");
    assert_eq!(flood["support_url"], "http://www.weather.example");
    let code = FLOOD.replace("037017", "EU");
    assert_eq!(self::said(&code, None)["regions"], json!(["eu"]));
}

#[test]
fn an_update_takes_the_place_of_what_was_said_and_a_cancel_ends_it() {
    let clear = |document: &str| document.replacen("<urgency>", "<responseType>AllClear</responseType><urgency>", 1);
    let clear_prefixed =
        EARTHQUAKE.replacen("<cap:urgency>", "<cap:responseType>AllClear</cap:responseType><cap:urgency>", 1);
    let as_update = |document: &str| {
        let reference = "</scope><references>a,b,2021-10-04T15:00:00-00:00</references>";
        document.replacen("Alert</msgType>", "Update</msgType>", 1).replacen("</scope>", reference, 1)
    };
    let as_cancel = |document: &str| as_update(document).replacen("Update</msgType>", "Cancel</msgType>", 1);
    let (open, over) = (Some((Kind::Incident, false)), Some((Kind::Incident, true)));
    let work = Some((Kind::Maintenance, false));
    for (document, known, status) in [
        (THUNDERSTORM.to_string(), None, json!("investigating")),
        (THUNDERSTORM.replace("Shelter", "AllClear"), None, json!("resolved")),
        (as_update(THUNDERSTORM), open, Value::Null),
        (as_update(THUNDERSTORM), over, json!("investigating")),
        (as_update(THUNDERSTORM), None, json!("investigating")),
        (EARTHQUAKE.into(), open, Value::Null),
        (clear_prefixed, open, json!("resolved")),
        // One of two is still on.
        (clear(&as_update(AMBER)), open, Value::Null),
        (as_cancel(THUNDERSTORM), open, json!("resolved")),
        (as_cancel(THUNDERSTORM), work, json!("completed")),
        (CANCEL.into(), open, json!("resolved")),
    ] {
        let said = said(&document, known);
        assert_eq!(said.get("status").cloned().unwrap_or_default(), status, "{known:?} {document}");
    }
    let quiet = as_update(THUNDERSTORM).replacen("<instruction>", "<!--", 1).replacen("</instruction>", "-->", 1);
    assert_eq!(said(&quiet, open).get("action"), Some(&Value::Null));
    let quiet = quiet.replacen("Update</msgType>", "Cancel</msgType>", 1);
    assert_eq!(said(&quiet, open).get("action"), None);
    let unjudged = as_update(THUNDERSTORM).replace("<severity>Severe", "<severity>Unknown");
    assert_eq!(said(&unjudged, open).get("severity"), None);
    assert_eq!(said(&unjudged, None)["severity"], "info");
    let cancel = of(CANCEL, over);
    assert_eq!(cancel.mode, Some(Mode::Exercise));
    let notes = cancel.says["internal_notes"].as_str().expect("a text").to_string();
    assert!(notes.contains("note: Exercise Autumn – it is over & done."), "{notes}");
    for (document, begins) in [(THUNDERSTORM, true), (EARTHQUAKE, true), (CANCEL, false)] {
        assert_eq!(opens(&read(document.as_bytes()).expect("an alert")), begins, "{document}");
    }
    assert!(!opens(&read(THUNDERSTORM.replace("Shelter", "AllClear").as_bytes()).expect("an alert")));
}

#[test]
fn what_is_wrong_is_refused_with_its_place_and_line() {
    let deep = format!("{}{}", "<info>".repeat(40), "</info>".repeat(40));
    let depth = format!("/alert{}", "/info".repeat(15));
    let areas = "<area><areaDesc>a</areaDesc></area>".repeat(1001);
    let infos =
        THUNDERSTORM.find("<info>").zip(THUNDERSTORM.find("</alert>")).map(|(from, to)| &THUNDERSTORM[from..to]);
    let infos = infos.expect("an info").repeat(65);
    for (document, pointer, part) in [
        (String::new(), "", "no whole alert"),
        ("{}".into(), "", "stands outside the alert"),
        ("<alert/>".into(), "", "of no namespace"),
        (THUNDERSTORM.replace("cap:1.2", "cap:1.1"), "", "of the namespace \"urn:oasis:names:tc:emergency:cap:1.1\""),
        (with("<alert ", "<!DOCTYPE alert [<!ENTITY a \"b\">]><alert "), "", "line 2: has a document type"),
        (with("Hail &amp;", "Hail &hail;"), "/alert/info/description", "line 21: &hail; is not taken"),
        (with("Hail &amp;", "Hail &#0;"), "/alert/info/description", "&#0; is not taken"),
        (with("Hail &amp;", "Hail &#7;"), "/alert/info/description", "U+0007"),
        (with("<info>", &format!("<info>{deep}")), depth.as_str(), "deeper than 16"),
        (with("<area>", &format!("{areas}<area>")), "/alert/info[1]/area[1001]", "more often than 1000 times"),
        (with("<info>", &format!("{infos}<info>")), "/alert/info[65]", "more often than 64 times"),
        (THUNDERSTORM.replace("</alert>", ""), "/alert", "ends before </alert>"),
        (with("</info>", "</inf>"), "/alert/info", "is no XML"),
        (format!("{THUNDERSTORM}<alert xmlns=\"urn:oasis:names:tc:emergency:cap:1.2\"/>"), "", "nothing beside it"),
        (with("UTF-8", "latin-1"), "", "encoding \"latin-1\" is not read"),
        (with("1.0", "1.1"), "", "its version is 1.0"),
        (with("<category>Met</category>", ""), "/alert/info[1]/category", "line 9: is required"),
        (with("Met<", "Weather<"), "/alert/info[1]/category[1]", "line 10: \"Weather\" is none of Geo Met"),
        (with("Severe<", "severe<"), "/alert/info[1]/severity", "is none of Extreme"),
        (
            with("<headline>", "<headlin>").replace("</headline>", "</headlin>"),
            "/alert/info[1]",
            "did you mean \"headline\"?",
        ),
        (with("<status>Actual</status>", "<status>Actual</status><status>Test</status>"), "/alert/status", "than once"),
        (with("08:45:00-07:00", "15:45:00Z"), "/alert/sent", "is no time of CAP"),
        (with("08:45:00-07:00", "08:45:00.5-07:00"), "/alert/sent", "no fractions"),
        (with("KSTO1055887203", "KSTO 1055887203"), "/alert/identifier", "section 3.2.1"),
        (with("KSTO@", "KSTO,@"), "/alert/sender", "section 3.2.1"),
        (with("KSTO@", &"x".repeat(200)), "/alert/sender", "longer than 120"),
        (with("<identifier>KSTO1055887203", "<identifier>"), "/alert/identifier", "is empty"),
        (with("Public<", "Private<"), "/alert/addresses", "is required where scope is Private"),
        (with("Public<", "Restricted<"), "/alert/restriction", "is required"),
        (
            with("Public</scope>", "Restricted</scope><restriction>x</restriction>"),
            "/alert/scope",
            "only what is Public",
        ),
        (with("Alert<", "Update<"), "/alert/references", "is required in an Update"),
        (
            with("</scope>", "</scope><references>a,b</references>"),
            "/alert/references",
            "\"a,b\" is not sender,identifier,sent",
        ),
        (with("<sent>", "words<sent>"), "/alert", "has the text \"words\" beside"),
        (with("Met<", "<event/>Met<"), "/alert/info[1]/category[1]", "no <event>"),
        (with("<info>", "<info xmlns=\"urn:x\">"), "/alert", "of the namespace \"urn:x\""),
        (with("<category>Met", "<language>english</language><category>Met"), "/alert/info[1]/language", "language tag"),
    ] {
        let error = read(document.as_bytes()).expect_err(part);
        assert!(error.pointer == pointer && error.message.contains(part), "{part}: {error:?}");
    }
    let error = read(b"<alert>\xff").expect_err("no text");
    assert!(error.message.contains("not UTF-8 at byte 7"), "{error}");
    let error = read(" ".repeat(1 << 21).as_bytes()).expect_err("too long");
    assert!(error.message.contains("at most 1048576"), "{error}");
    let attributes: String = (0..20).map(|n| format!(" a{n}=\"\"")).collect();
    let error = read(with("<info>", &format!("<info{attributes}>")).as_bytes()).expect_err("too many");
    assert!(error.message.contains("more than 16 attributes"), "{error}");
}

#[test]
fn a_signature_is_let_through_and_says_nothing() {
    let signature =
        "<Signature xmlns=\"http://www.w3.org/2000/09/xmldsig#\"><SignedInfo>x</SignedInfo></Signature></alert>";
    let signed = THUNDERSTORM.replace("</alert>", signature);
    assert_eq!(read(signed.as_bytes()), read(THUNDERSTORM.as_bytes()));
}

#[test]
fn the_same_alert_in_another_form_has_the_same_digest() {
    let digest = |document: &str| read(document.as_bytes()).expect("an alert").digest;
    let spaced = THUNDERSTORM.replace("><", ">\n<").replace("<status>Actual</status>", "<status> Actual\n</status>");
    assert_eq!(digest(&spaced), digest(THUNDERSTORM));
    assert_ne!(digest(&with("8:39", "8:40")), digest(THUNDERSTORM));
}

#[test]
fn times_are_those_of_the_standard() {
    for (text, expected) in [
        ("2021-10-04T15:39:00-00:00", Some("2021-10-04T15:39:00Z")),
        ("2021-10-04T15:39:00+00:00", Some("2021-10-04T15:39:00Z")),
        ("2021-10-04T08:39:00-07:00", Some("2021-10-04T15:39:00Z")),
        ("2021-10-04T15:39:00Z", None),
        ("2021-10-04T15:39:00.0-00:00", None),
        ("2021-10-04T15:39:00.1234Z", None),
        ("2021-10-04t15:39:00-00:00", None),
        ("2021-10-04T15:39:00", None),
        ("2021-13-04T15:39:00-00:00", None),
    ] {
        assert_eq!(shape::time(text).map(|time| time.to_string()).as_deref(), expected, "{text}");
    }
    let time = Time::parse("2021-10-04T15:39:00.7Z").expect("a time");
    assert_eq!(super::time(time), "2021-10-04T15:39:00-00:00");
}

fn told(number: i64, sent: &str, facts: Value) -> Told {
    let facts: Facts = serde_json::from_value(facts).expect("facts");
    let id = UpdateId { incident: IncidentId(5), number };
    Told { id, sent: Time::parse(sent).expect("a time"), facts: facts.view(Clearance::Public) }
}

fn story() -> Vec<Told> {
    let facts = |status: &str, summary: &str| {
        json!({
            "title": { "en": "Site & apps <down>", "de": "Seite gestört" }, "status": status, "severity": "critical",
            "summary": { "en": summary, "de": "Wir wissen es." }, "action": "Use the app.", "regions": ["eu", "moon"],
            "components": ["web"], "owner": "vera", "internal_notes": "badge readers", "compensation": "credits",
            "impact": { "users": 77123 }, "cause": { "text": "a secret cause" }, "started_at": "2021-10-04T15:39:00Z",
            "support_url": "https://help.example/?a=1&b=2", "next_update_at": "2021-10-04T16:30:00Z", "restored_percent": 10,
        })
    };
    vec![
        told(1, "2021-10-04T15:51:00.4Z", facts("investigating", "Nobody gets in.\r\nNobody.")),
        told(3, "2021-10-04T16:10:00Z", facts("identified", "We know why.")),
        told(4, "2021-10-04T17:00:00Z", facts("resolved", "All is well.")),
    ]
}

/// The elements of a group in the order of the standard.
fn in_order(element: &Element, children: &[Child]) -> bool {
    let places: Vec<usize> =
        element.children.iter().filter_map(|one| children.iter().position(|c| c.name == one.name)).collect();
    places.is_sorted()
        && element.children.iter().all(|one| match children.iter().find(|child| child.name == one.name) {
            Some(Child { holds: Holds::Group(inner), .. }) => in_order(one, inner),
            found => found.is_some(),
        })
}

#[test]
fn each_update_is_an_alert_in_the_order_of_the_standard_that_refers_to_those_before_it() {
    let (config, told) = (config(), story());
    let mut references = String::new();
    for (at, msg_type) in ["Alert", "Update", "Cancel"].into_iter().enumerate() {
        let written = write::alert(&config, Mode::Real, &told, at).expect("told");
        assert!(in_order(&xml::read(written.as_bytes()).expect("XML"), ALERT), "{written}");
        let alert = read(written.as_bytes()).expect("an alert");
        assert_eq!(
            (alert.identifier.as_str(), alert.sender.as_str()),
            (&*told[at].id.to_string(), "status.acme.example")
        );
        assert_eq!(alert.msg_type.word(), msg_type);
        let named = written.split("<references>").nth(1).and_then(|rest| rest.split('<').next()).unwrap_or_default();
        assert_eq!(named, references.trim(), "{written}");
        references += &format!("{},{},{} ", alert.sender, alert.identifier, super::time(alert.sent));
        for kept in ["vera", "badge", "credits", "77123", "secret", "ritical"] {
            assert!(!written.contains(kept), "{kept} stands in {written}");
        }
        let languages: Vec<&str> = alert.infos.iter().map(|info| info.language.as_str()).collect();
        assert_eq!(languages, ["en", "de"]);
        assert_eq!(alert.all_clear(), msg_type == "Cancel");
    }
    assert_eq!(write::alert(&config, Mode::Real, &told, 3), None);
    let drill = write::alert(&config, Mode::Exercise, &told, 0).expect("told");
    let read = read(drill.as_bytes()).expect("an alert");
    assert_eq!((read.status.word(), read.note.is_some()), ("Exercise", true));
    assert!(read.infos.iter().all(|info| info.headline.as_deref().is_some_and(|line| line.starts_with("EXERCISE: "))));
}

#[test]
fn a_cause_is_said_once_a_person_has_confirmed_it() {
    for (by, says) in [(Value::Null, false), (json!("vera"), true)] {
        let cause = json!({ "category": "human_error", "text": "A cable was cut.", "confirmed_by": by });
        let facts = json!({ "title": "Down", "status": "identified", "summary": "We know.", "cause": cause });
        let written = write::alert(&config(), Mode::Real, &[told(1, "2021-10-04T15:51:00Z", facts)], 0).expect("told");
        let said = written.contains("<description>We know.\n\nA cable was cut.</description>");
        assert!(said == says && !written.contains("vera"), "{written}");
    }
}

#[test]
fn many_updates_are_referred_to_by_the_first_and_the_latest() {
    let one = story().remove(0);
    let told: Vec<Told> = (1..=50)
        .map(|number| Told { id: UpdateId { number, ..one.id }, sent: Time(number * 60_000), facts: one.facts.clone() })
        .collect();
    let written = write::alert(&config(), Mode::Real, &told, 49).expect("told");
    let references = read(written.as_bytes()).expect("an alert").references;
    let numbers: Vec<i64> =
        references.iter().map(|one| one.identifier.parse::<UpdateId>().expect("ours").number).collect();
    assert_eq!(numbers, std::iter::once(1).chain(19..=49).collect::<Vec<i64>>());
}

#[test]
fn what_goes_out_comes_in_again() {
    let (config, told) = (config(), story());
    let mut said = Vec::new();
    for (at, known) in [(0, None), (1, Some((Kind::Incident, false))), (2, Some((Kind::Incident, false)))] {
        said.push(self::said(&write::alert(&config, Mode::Real, &told, at).expect("told"), known));
    }
    let first = &said[0];
    assert_eq!(first["title"], json!({ "en": "Site & apps <down>", "de": "Seite gestört" }));
    assert_eq!(first["summary"], json!({ "en": "Nobody gets in.\nNobody.\n\nmoon", "de": "Wir wissen es.\n\nmoon" }));
    assert_eq!(first["action"], json!({ "en": "Use the app." }));
    assert_eq!((&first["regions"], &first["components"]), (&json!(["eu"]), &json!(["web"])));
    assert_eq!(
        (&first["support_url"], &first["restored_percent"]),
        (&json!("https://help.example/?a=1&b=2"), &json!(10))
    );
    assert_eq!(
        (&first["started_at"], &first["next_update_at"]),
        (&json!("2021-10-04T15:39:00Z"), &json!("2021-10-04T16:30:00Z"))
    );
    let statuses: Vec<&Value> = said.iter().map(|said| &said["status"]).collect();
    assert_eq!(statuses, ["investigating", "identified", "resolved"]);
}

#[test]
fn the_feed_names_the_newest_alerts_first_and_holds_each() {
    let feed = feed::feed(&config(), &[story()]);
    let places: Vec<usize> = [4, 3, 1]
        .map(|number| {
            format!("<id>https://acme.example/feed/cap/{}.xml</id>", UpdateId { incident: IncidentId(5), number })
        })
        .iter()
        .map(|id| feed.atom.find(id).unwrap_or_else(|| panic!("{id} is missing in {}", feed.atom)))
        .collect();
    assert!(places.is_sorted(), "{}", feed.atom);
    assert_eq!((feed.alerts.len(), feed.atom.matches("type=\"application/cap+xml\"").count()), (3, 3));
    assert!(feed.atom.contains("<title>Site &amp; apps &lt;down&gt;</title>"), "{}", feed.atom);
    let none = feed::feed(&config(), &[]).atom;
    assert!(none.contains("<updated>1970-01-01T00:00:00Z</updated>") && !none.contains("<entry>"), "{none}");
}

#[test]
fn degrees_are_those_that_are_documented() {
    use super::words::Severity as Theirs;
    let map: BTreeMap<&str, Severity> = Theirs::ALL.iter().map(|theirs| (theirs.word(), theirs.ours())).collect();
    let expected = [("Extreme", Severity::Critical), ("Severe", Severity::Major), ("Moderate", Severity::Minor)];
    assert_eq!(map, expected.into_iter().chain([("Minor", Severity::Info), ("Unknown", Severity::Info)]).collect());
    let region = Region { title: Text::Plain("x".into()) };
    let alert = read(with("<areaDesc>Alpine County", "<areaDesc> X ").as_bytes()).expect("an alert");
    let target = Target { id: "i".into(), key: "k".into(), known: None };
    let regions = BTreeMap::from([("r".to_string(), region)]);
    let event = event(&alert, &target, &regions, &Principal::Machine("m".into())).expect("an event");
    assert_eq!(event.says["regions"], json!(["r"]));
}
