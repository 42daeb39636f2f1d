//! Whether our own listener answers: a request to it over a connection of its own, as everybody's are.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join;
use http_body_util::Empty;
use hyper::Request;
use hyper::header::{CONNECTION, HOST};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::api::certificate::Certificate;
use crate::channel::tls::Tls;
use crate::config;

/// Or why it does not, within `patience`.
pub async fn answers(
    server: &config::Server,
    certificate: Option<&Certificate>,
    patience: Duration,
) -> Result<(), &'static str> {
    let at = server.near();
    let asked = async {
        let stream = TcpStream::connect(at).await.map_err(|_| "nobody takes a connection")?;
        match certificate {
            None => ask(stream, at).await,
            Some(certificate) => {
                let shown = certificate.shown().ok_or("it has no certificate")?;
                let host = match at.ip() {
                    std::net::IpAddr::V4(ip) => url::Host::Ipv4(ip),
                    std::net::IpAddr::V6(ip) => url::Host::Ipv6(ip),
                };
                ask(Tls::exactly(shown).connect(&host, stream).await?, at).await
            }
        }
    };
    timeout(patience, asked).await.unwrap_or(Err("it does not answer in time"))
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    at: std::net::SocketAddr,
) -> Result<(), &'static str> {
    let request = Request::get("/healthz").header(HOST, at.to_string()).header(CONNECTION, "close");
    let request = request.body(Empty::<Bytes>::new()).map_err(|_| "no request can be made")?;
    let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(|_| "the connection was lost")?;
    let asking = async move { sender.send_request(request).await.map(|answer| answer.status()) };
    // The connection is driven here, and ends with the question: nothing of it is left when nobody waits any more.
    let (status, _) = join(asking, connection).await;
    let status = status.map_err(|_| "the connection was lost")?;
    // Also "too many requests" is an answer.
    if status.is_server_error() { Err("it answers with an error") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_door_that_takes_connections_and_answers_nothing_does_not_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let text = format!("[server]\nlisten = \"{}\"\n", listener.local_addr().expect("an address"));
        let server = config::Config::from_toml(&text, "own.toml", std::iter::empty()).expect("reads").server;
        let silent = answers(&server, None, Duration::from_millis(50)).await;
        assert_eq!(silent, Err("it does not answer in time"));
        drop(listener);
        let closed = answers(&server, None, Duration::from_secs(10)).await;
        assert_eq!(closed, Err("nobody takes a connection"));
    }
}
