//! Rows read and refused.

use std::sync::Arc;

use super::reader::Reader;
use super::split::{Cells, Csv, Record};
use super::{Options, Row, Validator};
use crate::audience::Address;

fn options() -> Options {
    let validator = |mark: &'static str| -> Validator {
        Arc::new(move |text: &str| match text.contains(mark) && !text.chars().any(char::is_control) {
            true => Ok(text.into()),
            false => Err(format!("not one with {mark}")),
        })
    };
    Options {
        verified: false,
        audience: None,
        locale: "en".into(),
        zone: "UTC".into(),
        audiences: ["customers".to_string(), "staff".into()].into(),
        validators: [("email".to_string(), validator("@")), ("phone".into(), validator("+"))].into(),
    }
}

fn csv(header: &str, row: &str) -> Result<Row, String> {
    let mut reader = Reader::new(options());
    let mut result = Err("no row".into());
    let mut csv = Csv::new();
    let mut each = |record: Record<'_, Cells>| {
        let cells = record.content.expect("short");
        result = match reader.has_header() {
            true => reader.cells(cells),
            false => match reader.header(cells) {
                Ok(()) => Err("no row".into()),
                Err(why) => Err(format!("header: {why}")),
            },
        };
    };
    csv.push(format!("{header}\n").as_bytes(), &mut each);
    if !row.is_empty() {
        csv.push(format!("{row}\n").as_bytes(), &mut each);
    }
    result
}

fn json(line: &str) -> Result<Row, String> {
    Reader::new(options()).line(line.as_bytes())
}

#[test]
fn csv_and_ndjson_say_the_same() {
    let row = csv(
        "key,name,locale,time_zone,quiet_hours,min_severity,audiences,components,regions,exercises,email,email_verified,phone",
        "k,\"Doe, J\",pt-br,europe/berlin,22:00-07:00,major,customers; staff,web;mail,eu,yes,a@b,true,+1",
    )
    .expect("reads");
    let flat = json(
        r#"{"key":"k","name":"Doe, J","locale":"pt-BR","time_zone":"Europe/Berlin","quiet_hours":"22:00-07:00",
        "min_severity":"major","audiences":["customers","staff"],"components":"web;mail","regions":["eu"],"exercises":true,
        "email":"a@b","email_verified":true,"phone":"+1"}"#,
    )
    .expect("reads");
    let listed = json(
        r#"{"key":"k","name":"Doe, J","locale":"pt-br","time_zone":"Europe/Berlin","quiet_hours":"22:00-07:00",
        "min_severity":"major","audiences":"customers;staff","components":["web","mail"],"regions":"eu","exercises":"true",
        "addresses":[{"kind":"email","address":"a@b","verified":true},{"kind":"phone","address":"+1"}]}"#,
    )
    .expect("reads");
    assert_eq!(row.subscriber, flat.subscriber);
    assert_eq!(row.subscriber, listed.subscriber);
    let subscriber = row.subscriber;
    assert_eq!((subscriber.locale.as_str(), subscriber.zone.as_str()), ("pt-BR", "Europe/Berlin"));
    assert_eq!(subscriber.addresses.iter().map(|a| a.verified).collect::<Vec<_>>(), [true, false]);
    assert_eq!(subscriber.audiences.len() + subscriber.components.len() + subscriber.regions.len(), 5);
}

#[test]
fn what_is_wrong_is_named_by_its_column_and_never_shown() {
    let header = "key,audiences,email";
    let table = [
        ("key,audiences,emial", "", "header: unknown column \"emial\"; did you mean \"email\"?"),
        ("key;audiences;email", "", "header: the columns are not separated by commas"),
        ("key,email,email", "", "header: column \"email\" is there twice"),
        (
            "key,email",
            "",
            "header: no audiences: add a column (or key) audiences, or name one for all rows (--audience)",
        ),
        ("name,audiences", "", "header: the file has no address: no column email, phone"),
        (header, "k,customers", "the row has 2 columns, and the header 3"),
        (header, "k,customers,secret", "email: not one with @"),
        (header, "k,custommers,a@b", "audiences: \"custommers\" is not registered; did you mean \"customers\"?"),
        (header, "k,,a@b", "audiences: names none, so nobody would ever tell them anything"),
        (header, ",customers,", "has neither a key nor an address"),
        ("key,audiences,time_zone", "k,staff,Mars/Olympus", "time_zone: is not a time zone such as Europe/Berlin"),
        ("key,audiences,locale", "k,staff,english!", "locale: is not a language tag such as en or pt-BR"),
        ("key,audiences,quiet_hours", "k,staff,22-7", "quiet_hours: is not a span of quiet hours; write 22:00-07:00"),
        ("key,audiences,min_severity", "k,staff,bad", "min_severity: is none of info minor major critical"),
        ("key,audiences,email_verified", "k,staff,maybe", "email_verified: is neither true nor false"),
        ("key,audiences,name", "k,staff,a\u{7}b", "name: has a control character"),
    ];
    for (header, row, expected) in table {
        assert_eq!(csv(header, row).map(drop), Err(expected.to_string()), "{header} / {row}");
    }
    let long = csv(header, &format!("{},staff,a@b", "k".repeat(257)));
    assert_eq!(long.map(drop), Err("key: is 257 bytes long; the most is 256".into()));
    let table = [
        ("[1]", "not a JSON object"),
        (r#"{"key":1,"audiences":"staff"}"#, "key: expected a text"),
        (r#"{"key":"k","audience":"staff"}"#, "unknown column \"audience\"; did you mean \"audiences\"?"),
        (
            r#"{"addresses":[{"kind":"fax","address":"1"}],"audiences":"staff"}"#,
            "addresses: unknown kind of address; known: email phone",
        ),
        (
            r#"{"addresses":[{"kind":"email","address":"a@b"},{"kind":"email","address":"a@b"}],"audiences":"staff"}"#,
            "addresses: the same address twice in one row",
        ),
    ];
    for (line, expected) in table {
        assert_eq!(json(line).map(drop), Err(expected.to_string()), "{line}");
    }
    assert!(json("{\"key\":").map(drop).expect_err("cut").starts_with("not JSON at column"));
}

#[test]
fn what_a_file_says_nothing_of_stays_and_nobody_comes_back() {
    let address = |place, kind: &str, value: &str| Address {
        place,
        kind: kind.into(),
        value: value.into(),
        verified: true,
        suppressed: false,
        secrets: Vec::new(),
    };
    let mut known = csv("key,name,audiences", "k,Old,staff").expect("reads").subscriber;
    (known.locale, known.withdrawn, known.regions) = ("de".into(), true, ["eu".to_string()].into());
    known.addresses = vec![address(1, "phone", "+1"), address(2, "email", "old@b"), address(3, "email", "a@b")];
    let mut row = csv("key,name,audiences,email", "k,,customers,a@b").expect("reads");
    row.over(&known);
    let merged = row.subscriber;
    assert_eq!((merged.locale.as_str(), merged.name, merged.withdrawn), ("de", None, true));
    assert_eq!(merged.regions, known.regions);
    assert_eq!(merged.audiences, ["customers".to_string()].into());
    let values: Vec<&str> = merged.addresses.iter().map(|address| address.value.as_str()).collect();
    assert_eq!(values, ["+1", "a@b"], "the phone has no column, the other mail address is gone from the file");
    let mut whole = json(r#"{"key":"k","audiences":"staff","addresses":[]}"#).expect("reads");
    whole.over(&known);
    assert_eq!(whole.subscriber.addresses, []);
}
