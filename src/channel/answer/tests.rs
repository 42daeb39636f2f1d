use super::*;

fn read_by(rules: &str, status: u16, header: Option<(&'static str, &str)>, body: &str) -> Outcome {
    #[derive(Deserialize)]
    struct File {
        #[serde(default)]
        answer: Vec<Rule>,
    }
    let rules = toml::from_str::<File>(rules).expect("rules").answer;
    rules.iter().for_each(|rule| rule.check(false).expect("a good rule"));
    let mut headers = HeaderMap::new();
    if let Some((name, value)) = header {
        headers.insert(name, value.parse().expect("header"));
    }
    let now = Time::parse("1994-11-06T08:49:07Z").expect("time");
    read(&rules, &Answer { status, headers: &headers, body: body.as_bytes() }, false, Holds::Channel, now).0
}

#[test]
fn an_answer_that_the_file_says_nothing_about_is_read_by_its_status() {
    use Fault::{Channel, Message};
    let rejected = |fault, status| Outcome::Rejected { fault, detail: format!("HTTP {status}") };
    let deferred = |holds, status| Outcome::Deferred {
        after: None,
        holds,
        throttled: status == 429,
        detail: format!("HTTP {status}"),
    };
    for status in [200, 204, 301, 302, 307, 399] {
        assert_eq!(read_by("", status, None, ""), Outcome::Unknown { detail: format!("HTTP {status}") });
    }
    for status in [401, 402, 403] {
        assert_eq!(read_by("", status, None, ""), rejected(Channel, status));
    }
    for status in [400, 404, 409, 410, 413, 422] {
        assert_eq!(read_by("", status, None, ""), rejected(Message, status));
    }
    for status in [429, 502, 503, 504] {
        assert_eq!(read_by("", status, None, ""), deferred(Holds::Channel, status));
    }
    for status in [408, 500, 501, 599] {
        assert_eq!(read_by("", status, None, ""), deferred(Holds::Address, status));
    }
}

#[test]
fn a_rule_may_ask_what_a_header_begins_with_and_what_stands_in_the_body() {
    let rules = "[[answer]]\nwhen = { headers = { x-kind = [\"Paused\", \"Other\"] } }\nthen = \"deferred\"\n\
                 [[answer]]\nwhen = { status = \"400\", contains = \"<Code>Gone</Code>\" }\nthen = \"rejected\"\nfault = \"address\"\n";
    let paused = read_by(rules, 400, Some(("x-kind", "PausedException:http://more")), "");
    let Outcome::Deferred { detail, .. } = paused else { panic!("{paused:?}") };
    assert_eq!(detail, "HTTP 400 x-kind=PausedException");
    let of = |header, body| read_by(rules, 400, header, body);
    let gone = Outcome::Rejected { fault: Fault::Address, detail: "HTTP 400".into() };
    assert_eq!(of(None, "<Error><Code>Gone</Code></Error>"), gone);
    let message = Outcome::Rejected { fault: Fault::Message, detail: "HTTP 400".into() };
    assert_eq!(of(None, "Gone"), message);
    assert_eq!(of(Some(("x-other", "Paused")), ""), message);
}

#[test]
fn retry_after_is_read_in_both_forms() {
    let waits = |value: &str| match read_by("", 429, Some(("retry-after", value)), "") {
        Outcome::Deferred { after, .. } => after.map(|after| after.as_secs()),
        other => panic!("{other:?}"),
    };
    assert_eq!(waits("7"), Some(7));
    assert_eq!(waits("Sun, 06 Nov 1994 08:49:37 GMT"), Some(30));
    assert_eq!(waits("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
    assert_eq!(waits("99999999"), Some(86_400));
    for nonsense in ["", "soon", "-5", "1e9", "99999999999999999999999"] {
        assert_eq!(waits(nonsense), None, "{nonsense}");
    }
}

const RULES: &str = r#"
[[answer]]
when = { status = "200", json = { "/ok" = true } }
then = "accepted"
ref = { id = "/result/id" }
[[answer]]
when = { json = { "/error" = ["gone", "blocked"] } }
then = "rejected"
fault = "address"
[[answer]]
when = { status = ["420", "429"] }
then = "deferred"
holds = "account"
throttled = true
after = { json = "/wait", unit = "ms" }
"#;

#[test]
fn the_first_rule_that_matches_decides() {
    assert_eq!(
        read_by(RULES, 200, None, r#"{"ok":true,"result":{"id":17}}"#),
        Outcome::Accepted { reference: Some("17".into()) }
    );
    assert_eq!(
        read_by(RULES, 200, None, r#"{"ok":false,"error":"blocked"}"#),
        Outcome::Rejected { fault: Fault::Address, detail: "HTTP 200 /error=blocked /ok=false".into() }
    );
    assert_eq!(
        read_by(RULES, 420, None, r#"{"wait":1500}"#),
        Outcome::Deferred {
            after: Some(Duration::from_millis(1500)),
            holds: Holds::Account,
            throttled: true,
            detail: "HTTP 420".into()
        }
    );
    for body in ["<html>", "", "{\"ok\":tr", "{\"ok\":\"true\"}"] {
        assert!(matches!(read_by(RULES, 200, None, body), Outcome::Unknown { .. }), "{body}");
    }
}

#[test]
fn free_text_and_numbers_as_long_as_an_address_stay_out_of_the_detail() {
    let detail = |error: &str| match read_by(RULES, 400, None, &format!(r#"{{"error":"{error}"}}"#)) {
        Outcome::Rejected { detail, .. } => detail,
        other => panic!("{other:?}"),
    };
    assert_eq!(detail("bad_thing"), "HTTP 400 /error=bad_thing");
    for leak in ["46700000000", "no such user +46700000000", "a@b.example"] {
        assert_eq!(detail(leak), "HTTP 400");
    }
}
