//! A mail server that takes everything, hands each mail over by a channel, and speaks just enough SMTP.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

#[derive(Debug)]
pub struct Mail {
    /// Where its bounces go.
    pub from: String,
    pub to: Vec<String>,
    /// As it came, without the dots that were stuffed.
    pub data: String,
}

pub struct Mailbox {
    port: u16,
    arrivals: tokio::sync::Mutex<mpsc::UnboundedReceiver<Mail>>,
}

impl Mail {
    /// Its plain text.
    pub fn text(&self) -> String {
        let mail = mail_parser::MessageParser::default().parse(self.data.as_bytes()).expect("parses");
        mail.body_text(0).expect("text").into_owned()
    }

    /// The first link in its text.
    pub fn link(&self) -> String {
        self.text().split_whitespace().find(|word| word.starts_with("http")).expect("a link").to_string()
    }
}

impl Mailbox {
    pub async fn start() -> Mailbox {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (arrived, arrivals) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, arrived.clone()));
            }
        });
        Mailbox { port, arrivals: tokio::sync::Mutex::new(arrivals) }
    }

    /// The configuration of a channel `mail` that leads here.
    pub fn channel(&self) -> String {
        let url = format!("url = \"smtp://127.0.0.1:{}\"", self.port);
        format!("[channels.mail]\nplatform = \"smtp\"\n[channels.mail.settings]\n{url}\n")
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub async fn next(&self) -> Mail {
        super::within("came", async { self.arrivals.lock().await.recv().await }).await.expect("the mailbox lives")
    }
}

async fn serve(mut stream: TcpStream, arrived: mpsc::UnboundedSender<Mail>) -> std::io::Result<()> {
    let (read, mut write) = stream.split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(b"220 mailbox.test ESMTP\r\n").await?;
    let (mut from, mut to) = (String::new(), Vec::new());
    while let Some(line) = lines.next_line().await? {
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let reply = match verb.as_str() {
            "EHLO" | "HELO" => "250-mailbox.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8",
            "MAIL" => {
                from = line.split(['<', '>']).nth(1).unwrap_or_default().to_string();
                "250 yes"
            }
            "RCPT" => {
                to.extend(line.split(['<', '>']).nth(1).map(str::to_string));
                "250 yes"
            }
            "DATA" => {
                write.write_all(b"354 go on\r\n").await?;
                let mut data = String::new();
                while let Some(line) = lines.next_line().await?.filter(|line| line != ".") {
                    data.push_str(line.strip_prefix('.').unwrap_or(&line));
                    data.push_str("\r\n");
                }
                let _ = arrived.send(Mail { from: from.clone(), to: std::mem::take(&mut to), data });
                "250 taken"
            }
            "QUIT" => "221 bye",
            _ => "250 yes",
        };
        write.write_all(format!("{reply}\r\n").as_bytes()).await?;
    }
    Ok(())
}
