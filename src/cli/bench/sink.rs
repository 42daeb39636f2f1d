//! Counterparties to measure against: webhook receivers that check signatures, and a mail server with pipelining. Both only read,
//! check and answer, as lean as can be, since they must not be what is measured; what came is handed to whoever counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::channel::webhook::SigningKey;

/// One message that came whole.
pub struct Came<'a> {
    /// The webhook's id, or the left part of the mail's Message-ID.
    pub id: &'a str,
    /// The webhook's path, or the mail's recipients as the envelope has them, a line each.
    pub to: &'a str,
    /// Signed with the secret; a mail, that it has an id.
    pub genuine: bool,
    /// The webhook's body, or the mail with its headers.
    pub content: &'a str,
    /// How many it is for: the recipients of a mail.
    pub recipients: usize,
}

/// How a receiver answers.
#[derive(Clone)]
pub struct Receiver<F> {
    pub key: Arc<SigningKey>,
    /// Milliseconds that each answer waits; 0 is at once.
    pub wait: Arc<AtomicU64>,
    pub take: F,
}

/// Receives webhooks on every connection that comes.
pub async fn hooks<F: Fn(Came<'_>) + Clone + Send + Sync + 'static>(listener: TcpListener, receiver: Receiver<F>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        tokio::spawn(hook(stream, receiver.clone()));
    }
}

async fn hook<F: Fn(Came<'_>)>(mut stream: TcpStream, receiver: Receiver<F>) -> std::io::Result<()> {
    let mut buffer = Vec::with_capacity(16 * 1024);
    loop {
        while let Some((head, body)) = whole(&buffer) {
            let end = head.len() + 4 + body.len();
            let id = header(head, "webhook-id");
            let timestamp: i64 = header(head, "webhook-timestamp").parse().unwrap_or_default();
            let genuine = receiver.key.sign(id, timestamp, body.as_bytes()) == header(head, "webhook-signature");
            let to = head.split(' ').nth(1).unwrap_or_default();
            (receiver.take)(Came { id, to, genuine, content: body, recipients: 1 });
            buffer.drain(..end);
            let wait = receiver.wait.load(Ordering::Relaxed);
            if wait > 0 {
                tokio::time::sleep(Duration::from_millis(wait)).await;
            }
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

/// Head and body of the first request in the buffer, once it is there whole.
fn whole(buffer: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(buffer).ok()?;
    let (head, rest) = text.split_once("\r\n\r\n")?;
    let length: usize = header(head, "content-length").parse().unwrap_or(0);
    Some((head, rest.get(..length)?))
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
}

/// Takes mail on every connection that comes.
pub async fn mails<F: Fn(Came<'_>) + Clone + Send + Sync + 'static>(listener: TcpListener, take: F) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        tokio::spawn(mail(stream, take.clone()));
    }
}

/// All that one read brought is answered by one write (RFC 2920).
async fn mail<F: Fn(Came<'_>)>(mut stream: TcpStream, take: F) -> std::io::Result<()> {
    stream.write_all(b"220 sink ESMTP\r\n").await?;
    let mut buffer = Vec::with_capacity(16 * 1024);
    let mut answers: Vec<u8> = Vec::with_capacity(256);
    let (mut content, mut recipients, mut to) = (false, 0, String::new());
    loop {
        let mut at = 0;
        let text = std::str::from_utf8(&buffer).map_err(std::io::Error::other)?;
        loop {
            let rest = &text[at..];
            let mark = if content { "\r\n.\r\n" } else { "\r\n" };
            let Some(end) = rest.find(mark) else { break };
            let piece = &rest[..end];
            at += end + mark.len();
            if content {
                let id = header(piece, "message-id").trim_start_matches('<').split('@').next().unwrap_or_default();
                take(Came { id, to: &to, genuine: !id.is_empty(), content: piece, recipients });
                (content, recipients) = (false, 0);
                answers.extend_from_slice(b"250 taken\r\n");
                continue;
            }
            let verb = piece.get(..4).unwrap_or_default();
            let answer: &[u8] = match verb {
                "EHLO" => b"250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
                "DATA" => b"354 go on\r\n",
                "QUIT" => b"221 bye\r\n",
                _ => b"250 yes\r\n",
            };
            answers.extend_from_slice(answer);
            if verb == "RCPT" {
                match recipients {
                    0 => to.clear(),
                    _ => to.push('\n'),
                }
                to.push_str(piece.split(['<', '>']).nth(1).unwrap_or_default());
                recipients += 1;
            }
            content = verb == "DATA";
        }
        buffer.drain(..at);
        if !answers.is_empty() {
            stream.write_all(&answers).await?;
            answers.clear();
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    type Caught = Arc<Mutex<Vec<(String, String, bool, usize)>>>;

    fn catch() -> (Caught, impl Fn(Came<'_>) + Clone + Send + Sync + 'static) {
        let caught = Caught::default();
        let into = caught.clone();
        let take = move |came: Came<'_>| {
            let caught = (came.id.to_string(), came.to.to_string(), came.genuine, came.recipients);
            into.lock().expect("whole").push(caught);
        };
        (caught, take)
    }

    /// What is answered to all this at once, up to the end of the connection.
    async fn say(to: std::net::SocketAddr, text: &str) -> String {
        let mut stream = TcpStream::connect(to).await.expect("connects");
        stream.write_all(text.as_bytes()).await.expect("writes");
        stream.shutdown().await.expect("half closes");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("reads");
        answer
    }

    async fn listener() -> (TcpListener, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let at = listener.local_addr().expect("an address");
        (listener, at)
    }

    #[tokio::test]
    async fn a_webhook_is_genuine_only_with_its_signature() {
        let (caught, take) = catch();
        let key = Arc::new(SigningKey::parse(SECRET).expect("a secret"));
        let (listener, at) = listener().await;
        tokio::spawn(hooks(listener, Receiver { key: key.clone(), wait: Arc::default(), take }));
        let request = |id: &str, signature: &str| {
            format!(
                "POST /x HTTP/1.1\r\nwebhook-id: {id}\r\nwebhook-timestamp: 7\r\nwebhook-signature: {signature}\r\n\
                 content-length: 4\r\n\r\nbody"
            )
        };
        let signed = request("a", &key.sign("a", 7, b"body")) + &request("b", &key.sign("a", 7, b"body"));
        assert_eq!(say(at, &signed).await.matches("204").count(), 2);
        assert_eq!(
            *caught.lock().expect("whole"),
            [("a".into(), "/x".into(), true, 1), ("b".into(), "/x".into(), false, 1)]
        );
    }

    #[tokio::test]
    async fn pipelined_mails_are_counted_with_their_recipients() {
        let (caught, take) = catch();
        let (listener, at) = listener().await;
        tokio::spawn(mails(listener, take));
        let mail = |id: &str| format!("DATA\r\nSubject: x\r\nMessage-ID: <{id}@x>\r\n\r\nwords\r\n.\r\n");
        let session = format!(
            "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n{}MAIL FROM:<a@b>\r\nRCPT TO:<e@f>\r\nRCPT TO:<c@d>\r\n{}QUIT\r\n",
            mail("m1"),
            mail("m2")
        );
        assert_eq!(say(at, &session).await.matches("250 taken").count(), 2);
        assert_eq!(
            *caught.lock().expect("whole"),
            [("m1".into(), "c@d".into(), true, 1), ("m2".into(), "e@f\nc@d".into(), true, 2)]
        );
    }
}
