//! The certificate of the listener. Enters: the files of `server.certificate` and `server.key`. Leaves: TLS for the server, whose
//! pair changes with the files: they are looked at every few seconds and at SIGHUP, whoever replaced them and however. A new pair
//! is for new connections. One that does not fit, as when only half of it is replaced, changes nothing, and is told once.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::anyhow;
use arc_swap::ArcSwap;
use ring::digest;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::signal::unix::{SignalKind, signal};
use x509_cert::der::Decode;

use crate::app::App;
use crate::clock::{Clock, Time};
use crate::config;

/// The files are looked at so often.
const LOOK: Duration = Duration::from_secs(10);
/// Of a file; a chain of certificates has some KiB.
const LARGEST: u64 = 1 << 20;

#[derive(Debug)]
pub struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
    current: ArcSwap<Pair>,
    /// What is wrong with the files, as it was told last.
    told: Mutex<Option<String>>,
}

#[derive(Debug)]
struct Pair {
    certified: Arc<CertifiedKey>,
    expires: Time,
    /// Of the files as they were read.
    digest: [u8; 32],
}

/// What came of a look at the files.
#[derive(Debug, PartialEq, Eq)]
pub enum Looked {
    Same,
    Replaced,
    /// The one before stays in use.
    Unfit,
}

impl Certificate {
    /// `None`: the configuration names none, and the server speaks plain HTTP.
    pub fn load(server: &config::Server) -> anyhow::Result<Option<Arc<Certificate>>> {
        let (certificate, key) = (server.certificate.clone(), server.key.clone());
        if certificate.as_os_str().is_empty() {
            return Ok(None);
        }
        let (chain, secret) = read(&certificate, &key).map_err(|why| anyhow!(why))?;
        let pair = pair(&certificate, &key, &chain, &secret).map_err(|why| anyhow!(why))?;
        Ok(Some(Arc::new(Certificate {
            certificate,
            key,
            current: ArcSwap::from_pointee(pair),
            told: Mutex::default(),
        })))
    }

    /// When the one in use does.
    pub fn expires(&self) -> Time {
        self.current.load().expires
    }

    /// The one that is shown to new connections.
    pub fn shown(&self) -> Option<CertificateDer<'static>> {
        self.current.load().certified.cert.first().cloned()
    }

    /// What the server speaks TLS by. Sessions are not resumed, so that each connection is by the certificate of its time.
    pub fn config(self: &Arc<Certificate>) -> Result<ServerConfig, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// Reads the files, and takes up what they have become.
    pub fn look(&self) -> Looked {
        let looked = read(&self.certificate, &self.key).and_then(|(chain, secret)| {
            match digest(&chain, &secret) == self.current.load().digest {
                true => Ok(None),
                false => pair(&self.certificate, &self.key, &chain, &secret).map(Some),
            }
        });
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match looked {
            Ok(None) => {
                *told = None;
                Looked::Same
            }
            Ok(Some(pair)) => {
                tracing::info!(expires = %pair.expires, "the certificate was replaced: new connections are by the new one");
                self.current.store(Arc::new(pair));
                *told = None;
                Looked::Replaced
            }
            Err(why) => {
                if told.as_ref() != Some(&why) {
                    tracing::warn!("{why}; the certificate from before stays in use");
                    *told = Some(why);
                }
                Looked::Unfit
            }
        }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load().certified.clone())
    }
}

/// Looks at the files, again and again, for ever.
pub async fn follow(app: Arc<App>) {
    let Some(certificate) = app.certificate.clone() else { return };
    warn_of_its_end(&certificate, &app.clock);
    let mut hangup = signal(SignalKind::hangup()).ok();
    let mut due = app.clock.monotonic() + LOOK;
    loop {
        let asked = async {
            match &mut hangup {
                Some(hangup) => drop(hangup.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = app.clock.sleep_until(due) => due = app.clock.monotonic() + LOOK,
            () = asked => tracing::info!("SIGHUP: looking at the certificate's files"),
        }
        let looking = certificate.clone();
        if let Ok(Looked::Replaced) = tokio::task::spawn_blocking(move || looking.look()).await {
            warn_of_its_end(&certificate, &app.clock);
        }
    }
}

fn warn_of_its_end(certificate: &Certificate, clock: &Clock) {
    let expires = certificate.expires();
    if expires <= clock.calendar() {
        tracing::warn!(%expires, "server.certificate: {} has expired", certificate.certificate.display());
    }
}

fn read(certificate: &Path, key: &Path) -> Result<(Vec<u8>, Vec<u8>), String> {
    Ok((contents("certificate", certificate)?, contents("key", key)?))
}

fn contents(setting: &str, path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) if bytes.len() as u64 > LARGEST => {
            Err(format!("server.{setting}: {}: longer than 1 MiB", path.display()))
        }
        Ok(_) => Ok(bytes),
        Err(error) => Err(unreadable(setting, path, &error)),
    }
}

fn unreadable(setting: &str, path: &Path, error: &io::Error) -> String {
    let help = match error.kind() {
        io::ErrorKind::PermissionDenied => "; let the server's user read it",
        _ => "",
    };
    format!("server.{setting}: {}: {error}{help}", path.display())
}

fn pair(certificate: &Path, key: &Path, chain: &[u8], secret: &[u8]) -> Result<Pair, String> {
    let of = |setting: &str, path: &Path, why: &str| format!("server.{setting}: {}: {why}", path.display());
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(|error| of("certificate", certificate, &format!("is not PEM: {error}")))?;
    let first = certificates.first();
    let first = first.ok_or_else(|| of("certificate", certificate, "no certificate in it; PEM is expected"))?;
    let parsed = x509_cert::Certificate::from_der(first)
        .map_err(|error| of("certificate", certificate, &format!("its first certificate can't be read: {error}")))?;
    let seconds = parsed.tbs_certificate.validity.not_after.to_unix_duration().as_secs();
    let expires = Time(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000));
    // What the parser says of a key might show some of it.
    let private = PrivateKeyDer::from_pem_slice(secret).map_err(|_| {
        of("key", key, "no private key in it; PEM of PKCS#8, PKCS#1 or SEC1 is expected, without a passphrase")
    })?;
    let digest = digest(chain, secret);
    match CertifiedKey::from_der(certificates, private, &default_provider()) {
        Ok(certified) => Ok(Pair { certified: Arc::new(certified), expires, digest }),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(of("key", key, &format!("does not belong to the certificate in {}", certificate.display())))
        }
        Err(error) => Err(of("key", key, &format!("can't be used with {}: {error}", certificate.display()))),
    }
}

fn digest(chain: &[u8], secret: &[u8]) -> [u8; 32] {
    let mut both = digest::Context::new(&digest::SHA256);
    both.update(&(chain.len() as u64).to_be_bytes());
    both.update(chain);
    both.update(secret);
    both.finish().as_ref().try_into().unwrap_or([0; 32])
}

#[cfg(test)]
mod tests;
