//! Where a broker is: host and port of a URL, and whether its connection is TLS. Errors name the setting.

use std::path::Path;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::{Host, Url};

use super::{Settings, deferred, rejected, setting};
use crate::channel::Outcome;
use crate::channel::tls::Tls;

const CONNECT: Duration = Duration::from_secs(10);

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection, and what of its bytes was read and not yet used.
pub(super) struct Line {
    pub stream: Box<dyn Stream>,
    pub incoming: BytesMut,
}

impl Line {
    pub fn over(stream: impl Stream + 'static) -> Line {
        Line { stream: Box::new(stream), incoming: BytesMut::new() }
    }

    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Outcome> {
        let written = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        written.await.map_err(|error| deferred(format!("the connection failed: {}", error.kind())))
    }

    /// Some more of what the broker says.
    pub async fn read(&mut self) -> Result<(), Outcome> {
        match self.stream.read_buf(&mut self.incoming).await {
            Ok(0) => Err(deferred("the server closed the connection")),
            Ok(_) => Ok(()),
            Err(error) => Err(deferred(format!("the connection failed: {}", error.kind()))),
        }
    }
}

/// How a protocol writes its URLs.
pub(super) struct Schemes {
    pub plain: (&'static str, u16),
    pub secure: (&'static str, u16),
}

pub(super) struct Target {
    host: Host<String>,
    port: u16,
    tls: Tls,
    pub secure: bool,
}

impl Target {
    /// Of `url` and `ca_file`. A password is refused where it would travel in clear text, but on this machine.
    pub fn read(settings: &Settings, schemes: &Schemes, secrets: bool) -> Result<Target, String> {
        let (plain, secure) = (schemes.plain.0, schemes.secure.0);
        let expected = format!("{plain}://host or {secure}://host");
        let text = setting(settings, "url").ok_or(format!("url: missing; write {expected}"))?;
        // No part of it is repeated: somebody may have written a password into it.
        let url = Url::parse(text).map_err(|error| format!("url: {error}; write {expected}"))?;
        let (is_secure, port) = match url.scheme() {
            scheme if scheme == plain => (false, schemes.plain.1),
            scheme if scheme == secure => (true, schemes.secure.1),
            _ => return Err(format!("url: expected {expected}")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("url: names a user; write user and password into settings of their own".into());
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(format!("url: has something after its host; write {expected}"));
        }
        // Of schemes unknown to it, the url crate keeps hosts as they are: IP addresses are recognized here.
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or("url: names no host")?;
        let host = Host::parse(host).map_err(|error| format!("url: {error}"))?;
        let loopback = match &host {
            Host::Domain(name) => name == "localhost",
            Host::Ipv4(ip) => ip.is_loopback(),
            Host::Ipv6(ip) => ip.is_loopback(),
        };
        if secrets && !is_secure && !loopback {
            return Err(format!("url: the password would travel in clear text; write {secure}://"));
        }
        let tls = match setting(settings, "ca_file") {
            Some(file) => Tls::with_authorities(Path::new(file)).map_err(|error| format!("ca_file: {error}"))?,
            None => Tls::default(),
        };
        Ok(Target { host, port: url.port().unwrap_or(port), tls: tls.without_alpn(), secure: is_secure })
    }

    pub async fn connect(&self) -> Result<TcpStream, Outcome> {
        let connecting = async {
            match &self.host {
                Host::Domain(name) => TcpStream::connect((name.as_str(), self.port)).await,
                Host::Ipv4(ip) => TcpStream::connect((*ip, self.port)).await,
                Host::Ipv6(ip) => TcpStream::connect((*ip, self.port)).await,
            }
        };
        let failed = |kind: std::io::ErrorKind| deferred(format!("cannot connect: {kind}"));
        let stream = timeout(CONNECT, connecting)
            .await
            .map_err(|_| failed(std::io::ErrorKind::TimedOut))?
            .map_err(|error| failed(error.kind()))?;
        // Without it a message waits for the acknowledgement of the one before.
        stream.set_nodelay(true).map_err(|error| failed(error.kind()))?;
        Ok(stream)
    }

    pub async fn encrypt(&self, stream: TcpStream) -> Result<Line, Outcome> {
        self.encrypt_as(&self.host, stream).await
    }

    /// Where the certificate is another name's than that of the host.
    pub async fn encrypt_as(&self, name: &Host<String>, stream: TcpStream) -> Result<Line, Outcome> {
        match self.tls.handshake(name, stream).await {
            Ok(stream) => Ok(Line::over(stream)),
            // A certificate stays wrong until someone mends it; anything else may pass.
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Err(rejected(format!("TLS: {error}"))),
            Err(error) => Err(deferred(format!("TLS: {}", error.kind()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    const SCHEMES: Schemes = Schemes { plain: ("mqtt", 1883), secure: ("mqtts", 8883) };

    fn read(url: &str, secrets: bool) -> Result<Target, String> {
        Target::read(&[("url".to_string(), Secret::new(url))].into(), &SCHEMES, secrets)
    }

    #[test]
    fn a_target_is_a_host_a_port_and_whether_it_is_secure() {
        let shown = |url: &str| {
            let target = read(url, false).expect(url);
            (target.host.to_string(), target.port, target.secure)
        };
        assert_eq!(shown("mqtt://broker.example"), ("broker.example".into(), 1883, false));
        assert_eq!(shown("mqtts://broker.example/"), ("broker.example".into(), 8883, true));
        assert_eq!(shown("mqtts://[::1]:99"), ("[::1]".into(), 99, true));
        assert!(read("mqtt://127.0.0.1", true).is_ok());
        assert!(read("mqtts://broker.example", true).is_ok());
    }

    #[test]
    fn an_error_names_the_setting_and_repeats_no_password() {
        for (url, secrets, error) in [
            ("", false, "url: missing; write mqtt://host or mqtts://host"),
            ("broker.example", false, "url: "),
            ("http://broker.example", false, "url: expected mqtt://host or mqtts://host"),
            ("mqtt://u:hunter2@broker.example", false, "url: names a user"),
            ("mqtt://broker.example/hunter2", false, "url: has something after its host"),
            ("mqtt://", false, "url: "),
            ("mqtt://broker.example", true, "url: the password would travel in clear text; write mqtts://"),
        ] {
            let shown = read(url, secrets).err().expect(url);
            assert!(shown.starts_with(error) && !shown.contains("hunter2"), "{url}: {shown}");
        }
    }
}
