//! `loudhailer channel report`: a mail from standard input to the running server. A mail server runs it for whatever comes to the
//! address of bounces, and goes by its exit status (sysexits): 0 is done, 75 to be tried again. Nothing is ever answered to the sender:
//! what reports nothing is done, and whatever an operator can mend waits in the mail server's queue.

use std::io::{self, Read};

use anyhow::{Context, anyhow};

use crate::cli::client::{Client, Server};
use crate::cli::{Failure, runtime};
use crate::config::Config;
use crate::receipt::mail;

pub fn run(config: &Config, server: &Server, name: &str) -> Result<(), Failure> {
    report(config, server, name).map_err(|failure| match failure {
        Failure::Failed(error) | Failure::Later(error) => Failure::Later(error),
        Failure::Wrong(message) => Failure::Later(anyhow!(message)),
    })
}

fn report(config: &Config, server: &Server, name: &str) -> Result<(), Failure> {
    let client = Client::new(server, config)?;
    let mut bytes = Vec::new();
    let mut input = io::stdin().lock();
    input.by_ref().take(mail::LIMIT as u64).read_to_end(&mut bytes).context("standard input")?;
    // The rest of it, so that nobody who writes it is cut off.
    io::copy(&mut input, &mut io::sink()).context("standard input")?;
    let name: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
    let path = format!("/v1/receipts/{name}");
    let (status, answer) = runtime()?.block_on(client.hand_in(&path, "message/rfc822", bytes))?;
    let detail = answer["detail"].as_str();
    match (status, detail) {
        (200, _) => {
            let count = |key: &str| answer[key].as_i64().unwrap_or_default();
            println!("{}", said(count("matched"), count("kept")));
            Ok(())
        }
        // It says nothing that we could use, however often it is said.
        (400 | 403, Some(detail)) => {
            println!("nothing was taken: {detail}");
            Ok(())
        }
        (_, Some(detail)) => Err(Failure::Later(anyhow!("{detail}"))),
        (_, None) => Err(Failure::Later(anyhow!("the server answered {status}"))),
    }
}

fn said(matched: i64, kept: i64) -> &'static str {
    match (matched, kept) {
        (0, 0) => "nothing is reported",
        (0, _) => "kept until its delivery is known",
        _ => "taken",
    }
}
