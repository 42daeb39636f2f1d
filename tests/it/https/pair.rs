//! An authority of the tests, pairs of certificate and key by it in files, and a client that sees what it is shown.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion};
use tokio::net::TcpStream;

use crate::harness::{Answer, within};

/// What the servers are called.
pub const NAME: &str = "status.example";
/// When all certificates here expire.
pub const EXPIRES: i32 = 2090;

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

/// A certificate with its key.
pub struct Pair {
    pub certificate: CertificateDer<'static>,
    pub chain: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("names");
        let own = format!("authority {:016x}", fastrand::u64(..));
        params.distinguished_name.push(rcgen::DnType::CommonName, own);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Authority { issuer: Issuer::new(params, key), certificate }
    }

    /// For names alone: no address is in it.
    pub fn pair(&self) -> Pair {
        let mut params = CertificateParams::new(vec![NAME.to_string(), "localhost".to_string()]).expect("names");
        params.not_after = rcgen::date_time_ymd(EXPIRES, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let made = params.signed_by(&key, &self.issuer).expect("a certificate");
        Pair { certificate: made.der().clone(), chain: made.pem(), key: key.serialize_pem() }
    }

    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub fn key(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A client that trusts this authority and no other.
    pub fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).expect("versions");
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }
}

/// The lines of a configuration that serves the pair in `folder`.
pub fn section(folder: &Path) -> String {
    format!("[server]\ncertificate = {:?}\nkey = {:?}\n", folder.join("live/tls.pem"), folder.join("live/tls.key"))
}

/// Puts chain and key into `folder` as Kubernetes does: in a folder of their own, to which one link is then moved in one step.
pub fn place(folder: &Path, chain: &str, key: &str) {
    let own = tempfile::Builder::new().prefix("pair-").tempdir_in(folder).expect("a folder").keep();
    std::fs::write(own.join("tls.pem"), chain).expect("written");
    std::fs::write(own.join("tls.key"), key).expect("written");
    let next = folder.join("next");
    std::os::unix::fs::symlink(&own, &next).expect("linked");
    std::fs::rename(next, folder.join("live")).expect("moved");
}

/// A connection that stays open.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    pub shown: CertificateDer<'static>,
    pub version: ProtocolVersion,
    pub protocol: Vec<u8>,
    host: String,
}

impl Connection {
    pub async fn open(port: u16, client: Arc<ClientConfig>) -> std::io::Result<Connection> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let name = ServerName::try_from(NAME).expect("a name");
        let connector = tokio_rustls::TlsConnector::from(client);
        let stream = within("shook hands", connector.connect(name, stream)).await?;
        let tls = stream.get_ref().1;
        let shown =
            tls.peer_certificates().and_then(|chain| chain.first()).expect("a certificate").clone().into_owned();
        let version = tls.protocol_version().expect("a version");
        let protocol = tls.alpn_protocol().unwrap_or_default().to_vec();
        let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(std::io::Error::other)?;
        tokio::spawn(connection);
        Ok(Connection { sender, shown, version, protocol, host: format!("127.0.0.1:{port}") })
    }

    pub async fn send(&mut self, method: &str, path: &str, body: &str) -> Answer {
        let request = hyper::Request::builder().method(method).uri(path).header("host", &self.host);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let request = request.body(Full::new(Bytes::from(body.to_string()))).expect("a request");
        within("is ready for the next", self.sender.ready()).await.expect("an open connection");
        let response = within("answers", self.sender.send_request(request)).await.expect("an answer");
        let (head, body) = response.into_parts();
        let body = within("answers", body.collect()).await.expect("a whole body").to_bytes();
        Answer { status: head.status.as_u16(), headers: head.headers, text: String::from_utf8_lossy(&body).into() }
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, "").await
    }
}
