use super::*;

fn encoded(body: &str) -> String {
    STANDARD.encode(body_hash(body))
}

#[test]
fn a_body_is_hashed_as_a_receiver_reads_it() {
    // RFC 6376, appendix A, and RFC 8463, appendix A.
    let expected = "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=";
    let body = "Hi.\r\n\r\nWe lost the game. Are you hungry yet?\r\n\r\nJoe.\r\n";
    for same in [
        body.to_string(),
        format!("{body}.\r\n"),
        format!("{body}\r\n \t\r\n\r\n.\r\n"),
        body.replace(' ', " \t  "),
        body.replace("\r\n", "  \r\n"),
    ] {
        assert_eq!(encoded(&same), expected, "{same:?}");
    }
    for other in [body.replace("Hi.", " Hi."), body.replace(' ', ""), body.replacen("\r\n", "\r\n\r\n", 1)] {
        assert_ne!(encoded(&other), expected, "{other:?}");
    }
    // Section 3.4.5, and an empty one.
    assert_eq!(encoded(" C \r\nD \t E\r\n\r\n\r\n"), STANDARD.encode(digest(&SHA256, b" C\r\nD E\r\n")));
    assert_eq!(encoded("\r\n.\r\n"), STANDARD.encode(digest(&SHA256, b"")));
    assert_eq!(encoded("..a\r\n...\r\n.\r\n"), STANDARD.encode(digest(&SHA256, b".a\r\n..\r\n")));
}

#[test]
fn headers_are_relaxed() {
    let expected = [("a", "a:X"), ("b", "b:Y Z")].map(|(name, value)| (name.to_string(), value.to_string()));
    assert_eq!(headers("A: X\r\nB : Y\t\r\n\tZ  "), expected);
}

#[test]
fn a_key_that_cannot_sign_is_told_with_its_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let put = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let elliptic = rcgen::KeyPair::generate().expect("a key").serialize_pem();
    for file in [
        "/nonexistent/dkim.pem".to_string(),
        put("empty.pem", ""),
        put("elliptic.pem", &elliptic),
        put("broken.pem", "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n"),
    ] {
        let error = Signer::new("example.org", "a", &file).err().unwrap_or_else(|| panic!("{file} can sign"));
        assert!(error.starts_with(&file), "{error}");
    }
    let good = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key").serialize_pem();
    Signer::new("example.org", "a", &put("good.pem", &good)).expect("it can sign");
}
