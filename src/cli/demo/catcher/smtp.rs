//! A small mail server (RFC 5321) with pipelining (RFC 2920). It has a mailbox for everyone, but none at `NO_MAILBOXES`, and asks
//! whoever writes to `BUSY_AT_FIRST` for the first time to come again.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use mail_parser::{MessageParser, MimeHeaders};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Basket;
use crate::cli::demo::people::{BUSY_AT_FIRST, NO_MAILBOXES};

/// Of one line, and of one mail.
const LINE: u64 = 4096;
const MAIL: usize = 1024 * 1024;
/// Recipients of one mail.
const RECIPIENTS: usize = 100;

#[derive(Clone, Default)]
struct Server {
    basket: Basket,
    met: Arc<Mutex<HashSet<String>>>,
}

pub async fn serve(listener: TcpListener, basket: Basket, stop: CancellationToken) {
    let server = Server { basket, ..Server::default() };
    loop {
        let socket = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => socket,
                Err(_) => continue,
            },
        };
        let _ = socket.set_nodelay(true);
        let (server, stop) = (server.clone(), stop.clone());
        tokio::spawn(async move {
            let (input, output) = socket.into_split();
            tokio::select! {
                () = stop.cancelled() => {}
                _ = server.conversation(BufReader::new(input), BufWriter::new(output)) => {}
            }
        });
    }
}

impl Server {
    /// Ends when the other side says QUIT, hangs up, or says something that is too long.
    async fn conversation(
        &self,
        mut input: BufReader<impl AsyncRead + Unpin>,
        mut output: BufWriter<impl AsyncWrite + Unpin>,
    ) -> std::io::Result<()> {
        output.write_all(b"220 catcher.example ESMTP\r\n").await?;
        let (mut sender, mut recipients): (bool, Vec<String>) = (false, Vec::new());
        let mut line = Vec::new();
        loop {
            // Answers to pipelined commands go out together, once nothing more has come.
            if input.buffer().is_empty() {
                output.flush().await?;
            }
            line.clear();
            (&mut input).take(LINE).read_until(b'\n', &mut line).await?;
            if !line.ends_with(b"\n") {
                return output.flush().await;
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end();
            let verb = text.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            let answer = match verb.as_str() {
                "EHLO" => {
                    "250-catcher.example\r\n250-PIPELINING\r\n250-SIZE 1048576\r\n250-8BITMIME\r\n\
                           250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES"
                }
                "HELO" => "250 catcher.example",
                "MAIL" => {
                    (sender, recipients) = (true, Vec::new());
                    "250 2.1.0 Ok"
                }
                "RCPT" if sender => match self.recipient(text) {
                    Ok(_) if recipients.len() == RECIPIENTS => "452 4.5.3 Too many recipients",
                    Ok(to) => {
                        recipients.push(to);
                        "250 2.1.5 Ok"
                    }
                    Err(refusal) => refusal,
                },
                "DATA" if recipients.is_empty() => "554 5.5.1 No valid recipients",
                "DATA" => {
                    output.write_all(b"354 End data with <CR><LF>.<CR><LF>\r\n").await?;
                    output.flush().await?;
                    let mail = data(&mut input).await?;
                    for to in std::mem::take(&mut recipients) {
                        self.mail(&to, &mail);
                    }
                    sender = false;
                    "250 2.0.0 Ok: caught"
                }
                "RSET" => {
                    (sender, recipients) = (false, Vec::new());
                    "250 2.0.0 Ok"
                }
                "NOOP" => "250 2.0.0 Ok",
                "QUIT" => {
                    output.write_all(b"221 2.0.0 Bye\r\n").await?;
                    return output.flush().await;
                }
                "RCPT" => "503 5.5.1 MAIL first",
                _ => "502 5.5.2 Not known here",
            };
            output.write_all(answer.as_bytes()).await?;
            output.write_all(b"\r\n").await?;
        }
    }

    fn recipient(&self, command: &str) -> Result<String, &'static str> {
        let to = command.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(to, _)| to.to_string());
        let to = to.filter(|to| to.contains('@')).ok_or("501 5.1.3 Bad address")?;
        let domain = to.rsplit('@').next().unwrap_or_default();
        if domain == NO_MAILBOXES {
            return Err("550 5.1.1 No such mailbox here");
        }
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        if domain == BUSY_AT_FIRST && met.insert(to.clone()) {
            return Err("450 4.2.1 Busy; try again");
        }
        Ok(to)
    }

    fn mail(&self, to: &str, bytes: &[u8]) {
        let Some(mail) = MessageParser::default().parse(bytes) else {
            return self.basket.complain(format!("a mail to {to} can't be read"));
        };
        let id = mail.message_id().and_then(|id| id.split('@').next());
        if id.is_none() || mail.text_body.iter().all(|part| mail.part(*part).is_none_or(|p| p.content_type().is_none()))
        {
            self.basket.complain(format!("a mail to {to} has no Message-ID or no text"));
        }
        let text = mail.body_text(0).unwrap_or_default().replace("\r\n", "\n");
        self.basket.take("email", id, to, mail.subject().map(str::to_string), text);
    }
}

/// Up to the line with a single dot, doubled dots made one again.
async fn data(input: &mut BufReader<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let (mut mail, mut line) = (Vec::with_capacity(8192), Vec::new());
    loop {
        line.clear();
        (&mut *input).take(LINE).read_until(b'\n', &mut line).await?;
        if !line.ends_with(b"\n") || mail.len() + line.len() > MAIL {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
        match line.as_slice() {
            b".\r\n" => return Ok(mail),
            [b'.', rest @ ..] => mail.extend_from_slice(rest),
            whole => mail.extend_from_slice(whole),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the server answers to all this at once, and what it caught.
    async fn say(server: &Server, text: &str) -> String {
        let mut output = Vec::new();
        server.conversation(BufReader::new(text.as_bytes()), BufWriter::new(&mut output)).await.expect("talks");
        String::from_utf8(output).expect("text")
    }

    fn mail(to: &str, body: &str) -> String {
        format!(
            "EHLO a\r\nMAIL FROM:<x@y.example>\r\nRCPT TO:<{to}>\r\nDATA\r\nMessage-ID: <dlv_1@y.example>\r\n\
             Subject: Hi\r\nContent-Type: text/plain\r\n\r\n{body}\r\n.\r\nQUIT\r\n"
        )
    }

    #[tokio::test]
    async fn a_pipelined_mail_is_caught_with_its_dots() {
        let server = Server::default();
        let said = say(&server, &mail("ann@mail.example", "one\r\n..two\r\n...")).await;
        assert!(said.ends_with("250 2.0.0 Ok: caught\r\n221 2.0.0 Bye\r\n"), "{said}");
        let caught = server.basket.newest("", 9);
        assert_eq!(caught.len(), 1);
        assert_eq!((caught[0].to.as_str(), caught[0].text.trim_end()), ("ann@mail.example", "one\n.two\n.."));
        assert_eq!(server.basket.complaints(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn some_mailboxes_are_not_there_and_some_are_busy_at_first() {
        let server = Server::default();
        let said = say(&server, &mail(&format!("ann@{NO_MAILBOXES}"), "x")).await;
        assert!(said.contains("550 5.1.1 No such mailbox here\r\n554 5.5.1 No valid recipients\r\n"), "{said}");
        let busy = mail(&format!("ann@{BUSY_AT_FIRST}"), "x");
        assert!(say(&server, &busy).await.contains("450 4.2.1"));
        assert_eq!(server.basket.distinct(), 0);
        assert!(say(&server, &busy).await.contains("caught"));
    }
}
