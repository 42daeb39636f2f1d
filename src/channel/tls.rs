//! TLS of a channel: the machine's trust store and, where the operator names one, a file of further authorities.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, crypto};
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

#[derive(Default)]
pub struct Tls {
    authorities: Vec<CertificateDer<'static>>,
    /// Made at the first need: a machine without a trust store can still speak plain HTTP.
    connector: OnceLock<Result<TlsConnector, ()>>,
}

impl Tls {
    pub fn with_authorities(file: &Path) -> Result<Tls, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let authorities = CertificateDer::pem_file_iter(file)
            .map_err(|error| wrong(&error))?
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| wrong(&error))?;
        match authorities.is_empty() {
            true => Err(wrong(&"no certificate in it")),
            false => Ok(Tls { authorities, connector: OnceLock::new() }),
        }
    }

    pub async fn connect(
        &self,
        host: &url::Host<String>,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, &'static str> {
        let connector = self.connector.get_or_init(|| self.connector().map_err(|_| ()));
        let connector = connector.as_ref().map_err(|()| "the machine has no usable trust store")?;
        let name = match host {
            url::Host::Domain(name) => {
                ServerName::try_from(name.clone()).map_err(|_| "the host's name is not valid")?
            }
            url::Host::Ipv4(ip) => ServerName::IpAddress((*ip).into()),
            url::Host::Ipv6(ip) => ServerName::IpAddress((*ip).into()),
        };
        connector.connect(name, stream).await.map_err(|_| "TLS was refused or its certificate is not trusted")
    }

    fn connector(&self) -> Result<TlsConnector, rustls::Error> {
        let provider = Arc::new(crypto::ring::default_provider());
        let verifier = match self.authorities.is_empty() {
            true => Verifier::new(provider.clone())?,
            false => Verifier::new_with_extra_roots(self.authorities.iter().cloned(), provider.clone())?,
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsConnector::from(Arc::new(config)))
    }
}
