//! Mail as others receive it: a signature that dkimpy verifies, and a token that aiosmtpd is told.

use std::collections::BTreeMap;
use std::path::Path;

use loudhailer::channel::smtp::Smtp;
use loudhailer::config::{Secret, Sender};

use super::*;
use crate::peers::eventually;

fn smtp(pairs: &[(&str, &str)]) -> Result<Smtp, String> {
    let settings: BTreeMap<String, Secret> =
        pairs.iter().map(|(name, value)| (name.to_string(), Secret::new(*value))).collect();
    let sender = Sender {
        name: "Größe & Co".into(),
        email: "status@example.test".into(),
        status_page: "status.example.test".into(),
        locale: "en".into(),
        zone: "UTC".into(),
    };
    Smtp::new(&settings, &sender, 4, Arc::new(Clock::system()))
}

/// Mails that are easily garbled on their way to a signature: folded headers, encodings of each kind, dots, blanks and long lines.
fn hard(name: &str) -> Vec<Parcel> {
    let long = format!("{}\n{}", "x".repeat(2000), "word ".repeat(300));
    let texts = [
        ("Störung bei Zahlungen – भुगतान बाधित", "Zahlungen schlagen fehl.\n.\n..\n.hidden\n\n  zwei  Blanks \t \n\n\n"),
        ("Plain", ".\n.\n..dots\nFrom here\n  two  blanks  \n\n\n"),
        ("A long subject, which a relay may fold: ".repeat(6).leak(), long.leak()),
        ("भुगतान", "भुगतान बाधित हैं। ".repeat(40).leak()),
        ("", "\n\n\n"),
    ];
    let parcels = texts.into_iter().enumerate().map(|(n, (title, text))| {
        let html = (n % 2 == 0).then(|| format!("<p>{text}</p>\n.\n"));
        let words = Filled { title: Some(title.into()), text: text.into(), html, locale: "de".into() };
        let mut parcel = parcel(&format!("dlv_{n}"), &format!("{name}@example.com"), "");
        parcel.message = Arc::new(words.into());
        parcel.unsubscribe_url = (n != 1).then(|| "https://status.example.test/u/token".into());
        parcel
    });
    parcels.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_of_either_kind_is_verified_and_breaks_with_what_it_is_about() {
    let Some([at, relay, keys]) = peers(["receivers", "receivers_smtp", "receivers_keys"]) else { return };
    let url = format!("smtp://{relay}");
    for selector in ["rsa", "traditional", "ed25519"] {
        let key = Path::new(&keys).join(format!("{selector}.pem")).display().to_string();
        let settings = [
            ("url", url.as_str()),
            ("list_id", "status.example.test"),
            ("dkim_selector", selector),
            ("dkim_key_file", &key),
        ];
        let driver = smtp(&settings).expect("settings");
        let name = name();
        let all = hard(&name);
        for parcel in all.iter().cloned().chain(all[..1].iter().cloned()) {
            let outcome = sent(&driver, parcel).await;
            assert!(matches!(outcome, Outcome::Accepted { .. }), "{outcome:?}");
        }
        let kept = ask(&at, "GET", &format!("/kept/{name}"), "", None);
        let kept = kept.as_array().expect("a list");
        assert_eq!(kept.len(), all.len() + 1);
        for mail in kept {
            assert_eq!(mail["signed"], true, "{selector}: {mail}");
        }
        assert_eq!(kept[0]["mail"], kept[all.len()]["mail"], "a second try is the same to the last byte");
        let signature = |mail: &Value| {
            let mail = mail["mail"].as_str().expect("text").to_string();
            let names = mail.split_once("\r\n h=").expect("names").1.split(';').next().expect("names").to_string();
            names.split_whitespace().collect::<String>()
        };
        let signed = signature(&kept[0]);
        for header in ["from", "to", "subject", "date", "message-id", "mime-version", "content-type"] {
            assert!(signed.split(':').any(|name| name == header), "{header} is not in {signed}");
        }
        assert!(signed.contains(":list-unsubscribe:list-unsubscribe-post:"), "{signed}");
        assert!(!signature(&kept[1]).contains("unsubscribe"), "what is not there is not named");

        // The judge sees what is changed on the way.
        let whole = kept[0]["mail"].as_str().expect("text");
        for (from, to) in [
            ("Auto-Submitted: ", "Subject: Another\r\nAuto-Submitted: "),
            ("List-Unsubscribe: <https://status", "List-Unsubscribe: <https://evil"),
            ("Zahlungen schlagen", "Zahlungen gelingen"),
        ] {
            assert_eq!(whole.matches(from).count().min(1), 1, "{from:?} is not in {whole}");
            let name = super::name();
            posted(&relay, &name, &whole.replacen(from, to, 1));
            let judged = eventually(|| ask(&at, "GET", &format!("/kept/{name}"), "", None)[0]["signed"].as_bool());
            assert_eq!(judged, Some(false), "{selector}: {to:?}");
        }
    }
}

/// A mail as it is, past the driver.
fn posted(relay: &str, name: &str, mail: &str) {
    let mut stream = TcpStream::connect(relay).expect("connects");
    let mail = mail.replace("\r\n.", "\r\n..");
    let said = format!(
        "EHLO x\r\nMAIL FROM:<a@example.test>\r\nRCPT TO:<{name}@example.com>\r\nDATA\r\n{mail}\r\n.\r\nQUIT\r\n"
    );
    stream.write_all(said.as_bytes()).expect("written");
    stream.read_to_string(&mut String::new()).expect("read");
}

#[tokio::test]
async fn a_key_that_is_too_short_is_told_with_its_file() {
    let Some(keys) = crate::peers::peer("receivers_keys") else { return };
    let key = Path::new(&keys).join("short.pem").display().to_string();
    let settings = [("url", "smtp://127.0.0.1:25"), ("dkim_selector", "short"), ("dkim_key_file", &key)];
    let error = smtp(&settings).err().expect("an error");
    assert!(error.starts_with(&format!("dkim_key_file: {key}: ")) && error.contains("2048"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_taken_and_a_wrong_one_refused() {
    let Some([at, relay]) = peers(["receivers", "receivers_smtp"]) else { return };
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().display().to_string();
    let renewed = |token: &str| std::fs::write(file.path(), token).expect("written");
    let (url, name) = (format!("smtp://{relay}"), name());
    let wrong = format!("wrong-{name}");
    renewed(&wrong);
    let user = ("username", "loudhailer@example.test");
    let driver = smtp(&[("url", &url), ("auth", "xoauth2"), user, ("token_file", &path)]).expect("settings");
    let parcel = || parcel("dlv_1", &format!("{name}@example.com"), TEXT);
    let outcome = sent(&driver, parcel()).await;
    let Some((Fault::Channel, detail)) = rejected(&outcome) else { panic!("{outcome:?}") };
    assert!(detail.starts_with("535 ") && !detail.contains(&wrong), "{detail}");
    let refused = ask(&at, "GET", "/kept/refused", "", None);
    let said = format!("user=loudhailer@example.test\u{1}auth=Bearer {wrong}\u{1}\u{1}");
    assert!(refused.as_array().expect("a list").contains(&json!({ "said": said, "answered": "" })), "{refused}");

    renewed("right\n");
    assert!(matches!(sent(&driver, parcel()).await, Outcome::Accepted { .. }));
    assert_eq!(ask(&at, "GET", &format!("/kept/{name}"), "", None)[0]["login"], "loudhailer@example.test");
}
