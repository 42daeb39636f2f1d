//! A small HTTP client: one connection a request, so that nothing of one test's requests stays for the next.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

#[derive(Debug, Clone)]
pub struct Client {
    port: u16,
    token: Option<String>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: hyper::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Client {
    pub fn to(port: u16) -> Client {
        Client { port, token: None }
    }

    /// The same with a bearer token.
    pub fn with(&self, token: &str) -> Client {
        Client { token: Some(token.into()), ..self.clone() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], Vec::new()).await
    }

    pub async fn json(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.send(method, path, &[("content-type", "application/json")], body.to_string().into_bytes()).await
    }

    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let response = self.begin(method, path, headers, body).await;
        let (head, body) = response.into_parts();
        let body = super::within("answers", body.collect()).await.expect("a whole body").to_bytes();
        Answer { status: head.status.as_u16(), headers: head.headers, text: String::from_utf8_lossy(&body).into() }
    }

    /// The answer's head, with its body still to be read: for streams.
    pub async fn begin(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> hyper::Response<Incoming> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.expect("connects");
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("http");
        tokio::spawn(connection);
        let mut request =
            hyper::Request::builder().method(method).uri(path).header("host", format!("127.0.0.1:{}", self.port));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::from(body))).expect("a request");
        super::within("answers", sender.send_request(request)).await.expect("an answer")
    }
}
