//! TLS of a channel: the machine's trust store and, where the operator names one, a file of further authorities.

/// One certificate and no other.
mod exactly;

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, crypto};
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use self::exactly::Exactly;

#[derive(Default)]
pub struct Tls {
    authorities: Vec<CertificateDer<'static>>,
    /// Trusts nobody else.
    exactly: Option<CertificateDer<'static>>,
    /// For a protocol that ALPN has no name for; else it is HTTP/1.1.
    nameless: bool,
    /// Made at the first need: a machine without a trust store can still speak plain HTTP.
    connector: OnceLock<Result<TlsConnector, ()>>,
}

impl Tls {
    pub fn with_authorities(file: &Path) -> Result<Tls, String> {
        Ok(Tls { authorities: certificates(file)?, ..Tls::default() })
    }

    /// For a server whose certificate is known.
    pub fn exactly(certificate: CertificateDer<'static>) -> Tls {
        Tls { exactly: Some(certificate), ..Tls::default() }
    }

    /// The same, where a file has it: its first one.
    pub fn exactly_in(file: &Path) -> Result<Tls, String> {
        Ok(Tls { exactly: certificates(file)?.into_iter().next(), ..Tls::default() })
    }

    pub fn without_alpn(self) -> Tls {
        Tls { nameless: true, ..self }
    }

    pub async fn connect(
        &self,
        host: &url::Host<String>,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, &'static str> {
        let (connector, name) = self.ready(host)?;
        connector.connect(name, stream).await.map_err(|error| refused(&error))
    }

    /// As `connect`, with the reason: `InvalidData` is a certificate, or a machine, that someone has to mend.
    pub async fn handshake(&self, host: &url::Host<String>, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let (connector, name) = self.ready(host).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
        connector.connect(name, stream).await
    }

    fn ready(&self, host: &url::Host<String>) -> Result<(&TlsConnector, ServerName<'static>), &'static str> {
        let connector = self.connector.get_or_init(|| self.connector().map_err(|_| ()));
        let connector = connector.as_ref().map_err(|()| "the machine has no usable trust store")?;
        let name = match host {
            url::Host::Domain(name) => {
                ServerName::try_from(name.clone()).map_err(|_| "the host's name is not valid")?
            }
            url::Host::Ipv4(ip) => ServerName::IpAddress((*ip).into()),
            url::Host::Ipv6(ip) => ServerName::IpAddress((*ip).into()),
        };
        Ok((connector, name))
    }

    fn connector(&self) -> Result<TlsConnector, rustls::Error> {
        Ok(TlsConnector::from(Arc::new(self.config()?)))
    }

    /// For a protocol that brings its own connections.
    pub fn config(&self) -> Result<ClientConfig, rustls::Error> {
        let provider = Arc::new(crypto::ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match (&self.exactly, self.authorities.is_empty()) {
            (Some(certificate), _) => Arc::new(Exactly::new(certificate.clone())),
            (None, true) => Arc::new(Verifier::new(provider.clone())?),
            (None, false) => {
                Arc::new(Verifier::new_with_extra_roots(self.authorities.iter().cloned(), provider.clone())?)
            }
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        if !self.nameless {
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
        }
        Ok(config)
    }

    /// For what wants one and never uses it: nobody is trusted.
    pub fn none() -> Result<ClientConfig, rustls::Error> {
        let provider = Arc::new(crypto::ring::default_provider());
        Ok(ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth())
    }
}

/// What more authorities would mend.
pub const UNKNOWN: &str = "its certificate is signed by nobody who is trusted here";

/// Why no TLS came of it, for whoever has to mend it; in our own words, since what the other side shows is not repeated.
fn refused(error: &io::Error) -> &'static str {
    let error = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(wrong)) = error else {
        return "TLS was refused or came to no agreement";
    };
    match wrong {
        CertificateError::UnknownIssuer => UNKNOWN,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for another name"
        }
        // What `openssl req -x509` makes unless it is told otherwise.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "its certificate is an authority's, and no server's (basicConstraints CA:FALSE)"
        }
        _ => "its certificate is not trusted",
    }
}

/// Those in a file of PEM: one at the least.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let certificates = CertificateDer::pem_file_iter(file)
        .map_err(|error| wrong(&error))?
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(&error))?;
    match certificates.is_empty() {
        true => Err(wrong(&"no certificate in it")),
        false => Ok(certificates),
    }
}
