//! A mail server that takes everything and forgets it.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

pub struct Mailbox {
    port: u16,
    serving: tokio::task::JoinHandle<()>,
}

impl Mailbox {
    pub async fn start() -> Mailbox {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream));
            }
        });
        Mailbox { port, serving }
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// One answer a line; after DATA one at the dot.
async fn converse(stream: TcpStream) -> std::io::Result<()> {
    let (reading, mut writing) = stream.into_split();
    let mut lines = BufReader::new(reading).lines();
    writing.write_all(b"220 mail.example.test\r\n").await?;
    let mut in_data = false;
    while let Some(line) = lines.next_line().await? {
        let answer = match (in_data, line.split(' ').next().unwrap_or_default().to_uppercase().as_str()) {
            (true, ".") => {
                in_data = false;
                "250 taken\r\n"
            }
            (true, _) => continue,
            (_, "DATA") => {
                in_data = true;
                "354 go on\r\n"
            }
            (_, "EHLO") => "250-mail.example.test\r\n250 PIPELINING\r\n",
            (_, "QUIT") => "221 bye\r\n",
            _ => "250 yes\r\n",
        };
        writing.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}
