use super::*;

fn server(folder: &Path) -> config::Server {
    let text = format!(
        "[server]\ncertificate = {:?}\nkey = {:?}\n",
        folder.join("tls.pem").display().to_string(),
        folder.join("tls.key").display().to_string()
    );
    config::Config::from_toml(&text, "own.toml", std::iter::empty()).expect("reads").server
}

/// A certificate and its key, as PEM.
fn made() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_string()]).expect("a certificate");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn write(folder: &Path, certificate: &str, key: &str) {
    std::fs::write(folder.join("tls.pem"), certificate).expect("written");
    std::fs::write(folder.join("tls.key"), key).expect("written");
}

#[test]
fn what_is_wrong_with_the_files_is_said_with_their_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let (at, server) = (folder.path().display(), server(folder.path()));
    let refused = || Certificate::load(&server).expect_err("refused").to_string();
    assert_eq!(refused(), format!("server.certificate: {at}/tls.pem: No such file or directory (os error 2)"));
    let ((certificate, key), (_, other)) = (made(), made());
    write(folder.path(), "nothing", &key);
    assert_eq!(refused(), format!("server.certificate: {at}/tls.pem: no certificate in it; PEM is expected"));
    write(folder.path(), &certificate, &certificate);
    assert!(refused().starts_with(&format!("server.key: {at}/tls.key: no private key in it")), "{}", refused());
    write(folder.path(), &certificate, &other);
    assert_eq!(refused(), format!("server.key: {at}/tls.key: does not belong to the certificate in {at}/tls.pem"));
    std::fs::remove_file(folder.path().join("tls.key")).expect("removed");
    assert_eq!(refused(), format!("server.key: {at}/tls.key: No such file or directory (os error 2)"));
    write(folder.path(), &certificate, &key);
    assert!(Certificate::load(&server).expect("fits").is_some());
    let denied = unreadable("key", Path::new("/tls.key"), &io::ErrorKind::PermissionDenied.into());
    assert_eq!(denied, "server.key: /tls.key: permission denied; let the server's user read it");
}

#[test]
fn a_pair_that_does_not_fit_changes_nothing_and_one_that_does_is_taken_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let ((certificate, key), (second, its_key)) = (made(), made());
    write(folder.path(), &certificate, &key);
    let current = Certificate::load(&server(folder.path())).expect("fits").expect("one");
    let shown = || current.shown().expect("a certificate");
    let first = shown();
    assert_eq!(current.look(), Looked::Same);
    write(folder.path(), &second, &key);
    assert_eq!(current.look(), Looked::Unfit);
    let told = || current.told.lock().expect("not poisoned").clone();
    assert!(told().is_some_and(|why| why.contains("does not belong")));
    std::fs::remove_file(folder.path().join("tls.pem")).expect("removed");
    assert_eq!((current.look(), shown()), (Looked::Unfit, first.clone()));
    assert!(told().is_some_and(|why| why.contains("No such file")));
    write(folder.path(), &second, &its_key);
    assert_eq!((current.look(), told()), (Looked::Replaced, None));
    assert_ne!(shown(), first);
}

#[test]
fn it_is_known_when_a_certificate_expires() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_string()]).expect("a name");
    params.not_after = rcgen::date_time_ymd(2031, 2, 3);
    let certificate = params.self_signed(&key).expect("a certificate");
    write(folder.path(), &certificate.pem(), &key.serialize_pem());
    let current = Certificate::load(&server(folder.path())).expect("fits").expect("one");
    assert_eq!(current.expires().to_string(), "2031-02-03T00:00:00Z");
}
