use super::*;

pub fn sender() -> Sender {
    Sender {
        name: "Acme".into(),
        email: "status@acme.example".into(),
        status_page: "status.acme.example".into(),
        locale: "en".into(),
        zone: "UTC".into(),
    }
}

pub fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, Secret> {
    pairs.iter().map(|(name, value)| (name.to_string(), Secret::new(*value))).collect()
}

fn read(pairs: &[(&str, &str)]) -> Result<Settings, String> {
    Settings::read(&settings(pairs), &sender())
}

#[test]
fn defaults_come_from_the_sender_and_the_scheme() {
    let read = read(&[("url", "smtp://127.0.0.1")]).expect("settings");
    assert_eq!((read.host.as_str(), read.port, read.tls), ("127.0.0.1", 25, Tls::None));
    assert_eq!(read.from.to_string(), "Acme <status@acme.example>");
    assert_eq!(read.return_path, ReturnPath::Same("status@acme.example".into()));
    assert!(!read.ehlo.is_empty());
}

#[test]
fn an_error_names_the_setting() {
    let relay = ("url", "smtp://relay.example");
    for (pairs, error) in [
        (vec![], "url: missing"),
        (vec![("url", "http://relay.example")], "url: expected smtp://"),
        (vec![("url", "smtp://user:x@relay.example")], "url: write the user into"),
        (vec![("url", "smtp://")], "url: "),
        (vec![relay, ("pasword", "x")], "pasword: no such setting; did you mean password?"),
        (vec![relay, ("tls", "perhaps")], "tls: expected"),
        (vec![("url", "smtps://relay.example"), ("tls", "none")], "tls: smtps"),
        (vec![relay, ("tls", "none"), ("username", "u"), ("password", "p")], "password: would travel in clear"),
        (vec![relay, ("tls", "none"), ("username", "u")], "password: missing"),
        (vec![relay, ("tls", "none"), ("from", "nobody")], "from: "),
        (vec![relay, ("tls", "none"), ("return_path", "a@b\r\nRCPT TO:<x@y>")], "return_path: "),
        (vec![relay, ("tls", "none"), ("return_path", "a+{delivry}@example.org")], "return_path: "),
        (vec![relay, ("tls", "none"), ("return_path", "a@{delivery}.example.org")], "return_path: "),
        (
            vec![relay, ("tls", "none"), ("return_path", "much-too-long-bounces+{delivery}@example.org")],
            "return_path: ",
        ),
        (vec![relay, ("tls", "none"), ("return_path", "{delivery}+{delivery}@example.org")], "return_path: "),
        (vec![relay, ("auth", "plain"), ("username", "u")], "auth: expected xoauth2"),
        (vec![relay, ("auth", "xoauth2"), ("username", "u")], "token_file: missing"),
        (vec![relay, ("auth", "xoauth2"), ("token_file", "/nonexistent/token")], "username: missing"),
        (vec![relay, ("username", "u"), ("token_file", "/nonexistent/token")], "token_file: goes with"),
        (
            vec![relay, ("auth", "xoauth2"), ("username", "u"), ("token_file", "/nonexistent/token")],
            "token_file: /nonexistent/token: ",
        ),
        (vec![relay, ("tls", "none"), ("dsn", "always")], "dsn: expected failure or success"),
        (vec![relay, ("tls", "none"), ("maildir", "/nonexistent")], "maildir: /nonexistent is no Maildir"),
        (vec![relay, ("tls", "none"), ("dkim_selector", "a")], "dkim_key_file: missing"),
        (vec![relay, ("tls", "none"), ("dkim_key_file", "/nonexistent/a.pem")], "dkim_selector: missing"),
        (
            vec![relay, ("tls", "none"), ("dkim_selector", "a"), ("dkim_key_file", "/nonexistent/a.pem")],
            "dkim_key_file: /nonexistent/a.pem: ",
        ),
        (vec![relay, ("tls", "none"), ("dkim_selector", "a;b"), ("dkim_key_file", "x")], "dkim_selector: expected"),
        (vec![relay, ("tls", "none"), ("list_id", "a>\r\nBcc: x")], "list_id: "),
        (vec![relay, ("tls", "none"), ("ehlo", "a b")], "ehlo: "),
        (vec![relay, ("tls", "none"), ("timeout", "soon")], "timeout: "),
        (vec![relay, ("ca_file", "/nonexistent/ca.pem")], "ca_file: /nonexistent/ca.pem"),
    ] {
        let got = read(&pairs).err().expect(error);
        assert!(got.starts_with(error), "{pairs:?} gave {got:?}, expected {error:?}");
    }
}
