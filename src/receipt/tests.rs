//! Receipts as platforms send them.

use super::*;
use crate::channel::auth::{Algorithm, Encoding};
use crate::channel::platforms::Platforms;

const PUBLIC_URL: &str = "https://example.com";

struct Came<'a> {
    method: &'a str,
    path: &'a str,
    headers: &'a [(&'a str, &'a str)],
    body: &'a str,
}

fn read(platform: &str, settings: &[(&str, &str)], public_url: &str, came: &Came<'_>) -> Result<Reading, BadReceipt> {
    let platforms = Platforms::load(None).expect("platforms");
    let platform = platforms.get(platform).expect("there");
    let receipts = platform.receipts.as_ref().expect("receipts");
    let find = |list: &[(&str, &str)], name: &str| {
        list.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_string())
    };
    let header = |name: &str| find(came.headers, name);
    let arrived = Arrived { method: came.method, path: came.path, header: &header, body: came.body.as_bytes() };
    receipts.read(&arrived, &|name| find(settings, name), public_url)
}

fn one(reading: Result<Reading, BadReceipt>) -> Receipt {
    match reading {
        Ok(Reading::Receipts(list)) if list.len() == 1 => list[0].clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_type_of_a_kannel_report_means_what_its_guide_says() {
    let kannel = |kind: &str| {
        let path = format!("/v1/receipts/sms?delivery=dlv_1_2_3_x&type={kind}");
        read("kannel", &[], PUBLIC_URL, &Came { method: "GET", path: &path, headers: &[], body: "" })
    };
    for (kind, status, fault) in [
        ("1", ReceiptStatus::Delivered, None),
        ("2", ReceiptStatus::Bounced, Some(Fault::Message)),
        ("16", ReceiptStatus::Bounced, Some(Fault::Message)),
    ] {
        let receipt = one(kannel(kind));
        assert_eq!((receipt.status, receipt.fault), (status, fault), "{kind}");
        assert_eq!(receipt.matching, Matching::ById("dlv_1_2_3_x".into()));
    }
    // Queued on the way, handed on, and what no guide knows: nothing is known yet.
    for kind in ["4", "8", "", "99"] {
        assert_eq!(kannel(kind), Ok(Reading::Receipts(vec![])), "{kind}");
    }
}

#[test]
fn a_report_that_names_no_delivery_is_refused() {
    let came = Came { method: "GET", path: "/v1/receipts/sms?type=1", headers: &[], body: "" };
    assert!(matches!(read("kannel", &[], PUBLIC_URL, &came), Err(BadReceipt::Malformed(_))));
}

/// The worked example of Twilio's page on the security of webhooks.
#[test]
fn twilios_signature_is_that_of_its_own_example() {
    let form: Vec<(String, String)> = [
        ("To", "+18005551212"),
        ("Digits", "1234"),
        ("Caller", "+14158675309"),
        ("From", "+14158675309"),
        ("CallSid", "CA1234567890ABCDE"),
    ]
    .map(|(k, v)| (k.into(), v.into()))
    .into();
    let verify = Verify::Twilio { key: "auth_token".into() };
    let url = "https://mycompany.com/myapp.php?foo=1&bar=2";
    let signature = verify.signature(&|_| Some("12345".into()), url, &form, b"");
    assert_eq!(signature.as_deref(), Some("RSOYDt4T1cUTdK1PDd93/VVr8B8="));
}

const TWILIO_BODY: &str = "MessageSid=SM1&MessageStatus=failed&ErrorCode=30007&To=%2B46700000000&Body=%C3%A5+%26";

fn twilio(public_url: &str, signed_url: &str, body: &str) -> Result<Reading, BadReceipt> {
    let form: Pairs = url::form_urlencoded::parse(TWILIO_BODY.as_bytes()).into_owned().collect();
    let verify = Verify::Twilio { key: "auth_token".into() };
    let signature = verify.signature(&|_| Some("t0k3n".into()), signed_url, &form, b"").expect("signs");
    let headers = [("content-type", "application/x-www-form-urlencoded"), ("X-Twilio-Signature", &*signature)];
    let path = "/v1/receipts/sms?delivery=dlv_1_2_3_x";
    let came = Came { method: "POST", path, headers: &headers, body };
    read("twilio-sms", &[("auth_token", "t0k3n")], public_url, &came)
}

#[test]
fn a_twilio_callback_counts_only_if_its_signature_is_right_with_or_without_the_port() {
    let path = "/v1/receipts/sms?delivery=dlv_1_2_3_x";
    for (public_url, signed) in [
        ("https://example.com", "https://example.com"),
        ("https://example.com", "https://example.com:443"),
        ("https://example.com:8443", "https://example.com:8443"),
        ("https://example.com:8443", "https://example.com"),
    ] {
        let receipt = one(twilio(public_url, &format!("{signed}{path}"), TWILIO_BODY));
        assert_eq!((receipt.status, receipt.fault), (ReceiptStatus::Bounced, Some(Fault::Message)));
        assert_eq!((receipt.matching, &*receipt.detail), (Matching::ById("dlv_1_2_3_x".into()), "30007"));
    }
    let good = format!("https://example.com{path}");
    for bad in [
        twilio("https://example.com", "https://elsewhere.example/v1/receipts/sms", TWILIO_BODY),
        twilio("https://example.com", &good, &TWILIO_BODY.replace("failed", "delivered")),
        twilio("https://example.com", &good, &format!("{TWILIO_BODY}&More=1")),
        read(
            "twilio-sms",
            &[("auth_token", "t0k3n")],
            PUBLIC_URL,
            &Came { method: "POST", path, headers: &[], body: "" },
        ),
        read(
            "twilio-sms",
            &[],
            PUBLIC_URL,
            &Came { method: "POST", path, headers: &[("X-Twilio-Signature", "x")], body: "" },
        ),
    ] {
        assert_eq!(bad, Err(BadReceipt::Signature));
    }
}

const WHATSAPP: &str = r#"{"object":"whatsapp_business_account","entry":[{"id":"1","changes":[{"field":"messages","value":{
    "messaging_product":"whatsapp","statuses":[
    {"id":"wamid.A","status":"delivered","timestamp":"1633363740","recipient_id":"46700000000"},
    {"id":"wamid.B","status":"sent","timestamp":"1633363741"},
    {"id":"wamid.C","status":"failed","timestamp":"1633363742","errors":[{"code":131026,"title":"Message undeliverable"}]}
    ]}}]}]}"#;

fn whatsapp(came: &Came<'_>) -> Result<Reading, BadReceipt> {
    read("whatsapp-cloud", &[("app_secret", "s3cret"), ("verify_token", "hush")], PUBLIC_URL, came)
}

#[test]
fn each_status_of_a_whatsapp_webhook_is_a_receipt_of_its_own() {
    let key = Algorithm::Sha256.key(b"s3cret");
    let signature = format!("sha256={}", Encoding::Hex.write(ring::hmac::sign(&key, WHATSAPP.as_bytes()).as_ref()));
    let headers = [("X-Hub-Signature-256", signature.as_str())];
    let came = Came { method: "POST", path: "/v1/receipts/wa", headers: &headers, body: WHATSAPP };
    let expected = |reference: &str, status, fault, at: &str, detail: &str| Receipt {
        matching: Matching::ByReference(reference.into()),
        status,
        fault,
        at: Some(Time::parse(at).expect("time")),
        detail: detail.into(),
    };
    assert_eq!(
        whatsapp(&came),
        Ok(Reading::Receipts(vec![
            expected("wamid.A", ReceiptStatus::Delivered, None, "2021-10-04T16:09:00Z", ""),
            expected("wamid.C", ReceiptStatus::Bounced, Some(Fault::Address), "2021-10-04T16:09:02Z", "131026"),
        ]))
    );
    let changed = WHATSAPP.replace("delivered", "read");
    assert_eq!(whatsapp(&Came { body: &changed, ..came }), Err(BadReceipt::Signature));
    assert_eq!(whatsapp(&Came { headers: &[], ..came }), Err(BadReceipt::Signature));
}

#[test]
fn the_handshake_is_answered_only_with_the_right_token() {
    let handshake = |query: &str| {
        let path = format!("/v1/receipts/wa?{query}");
        whatsapp(&Came { method: "GET", path: &path, headers: &[], body: "" })
    };
    let good = "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=hush";
    assert_eq!(handshake(good), Ok(Reading::Challenge("1158201444".into())));
    assert_eq!(handshake(&good.replace("hush", "hus")), Err(BadReceipt::Signature));
    assert_eq!(handshake("hub.challenge=1"), Err(BadReceipt::Signature));
    assert_eq!(handshake("hub.verify_token=hush"), Err(BadReceipt::Malformed("no challenge")));
    let came =
        Came { method: "GET", path: "/v1/receipts/wa?hub.challenge=1&hub.verify_token=", headers: &[], body: "" };
    assert_eq!(read("whatsapp-cloud", &[("verify_token", "")], PUBLIC_URL, &came), Err(BadReceipt::Signature));
}
