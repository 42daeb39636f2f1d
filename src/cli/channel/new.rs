//! `loudhailer channel new`: a platform's file to start from. It has what every file needs and nothing that only the platform's
//! documentation can say: where a fact belongs there is a place for it, as a comment or under a name that leads nowhere.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Parser;

use super::super::{Failure, show};
use crate::channel::file::KINDS;
use crate::channel::platforms::Platforms;
use crate::config::{Config, suggest};

#[derive(Parser)]
pub struct Args {
    /// The platform: the file's name, and what a channel's `platform` names.
    name: String,
    /// sms chat push post webhook email voice
    #[arg(long, default_value = "chat", value_parser = kind)]
    kind: String,
    /// Where to; by default paths.channels of the configuration, else ./channels.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

fn kind(text: &str) -> Result<String, String> {
    match KINDS.contains(&text) {
        true => Ok(text.into()),
        false => Err(format!("unknown kind{} (known: {})", suggest(text, KINDS.iter().copied()), KINDS.join(" "))),
    }
}

pub fn run(config: &Config, args: &Args) -> Result<(), Failure> {
    let name = &args.name;
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
        return Err(Failure::Wrong(format!("{name:?}: a platform's name has letters, digits, - and _ only")));
    }
    let shipped = Platforms::load(None).map_err(|error| Failure::Failed(error.into()))?;
    if shipped.get(name).is_ok() {
        return Err(Failure::Wrong(format!(
            "the platform {name:?} comes with loudhailer, and a file of this name would replace it; choose another name"
        )));
    }
    let configured = &config.paths.channels;
    let folder = match &args.folder {
        Some(folder) => folder.clone(),
        None if !configured.as_os_str().is_empty() => configured.clone(),
        None => PathBuf::from("channels"),
    };
    let path = folder.join(format!("{name}.toml"));
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let mut file = match std::fs::OpenOptions::new().write(true).create_new(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Failure::Wrong(format!("{} is there already, and is left alone", path.display())));
        }
        Err(error) => return Err(anyhow::Error::from(error).context(path.display().to_string()).into()),
    };
    file.write_all(text(name, &args.kind).as_bytes()).with_context(|| path.display().to_string())?;
    show::line(&format!("wrote {}", path.display()))?;
    next(&path, name, &args.kind, &folder, configured)
}

fn next(path: &Path, name: &str, kind: &str, folder: &Path, configured: &Path) -> Result<(), Failure> {
    let file = path.display();
    show::line(&format!(
        "1. In {file}: put the address of the platform's documentation into docs, and from that page the request,"
    ))?;
    show::line(
        "   the address, the limits and the answers. Until it has an [[answer]], what was taken reads as unknown.",
    )?;
    let mut lines = Vec::new();
    if folder != configured {
        lines.push(format!("[paths]\nchannels = {:?}", folder.display().to_string()));
    }
    lines.push(format!("[channels.{name}]\nplatform = {name:?}"));
    if kind != "webhook" {
        lines.push("settings.url = \"https://…\"\nsettings.token = { env = \"TOKEN\" }".into());
    }
    show::line("2. In the configuration:")?;
    for line in lines.iter().flat_map(|lines| lines.lines()) {
        show::line(&format!("     {line}"))?;
    }
    show::line("3. Try it: loudhailer check")?;
    show::line(&format!("   loudhailer channel test {name} --to ADDRESS"))
}

/// What differs by kind: format, how the body's Markdown is written, the address, and the body.
struct Shape {
    address: String,
    body: &'static str,
    shown: &'static str,
    to: &'static str,
    url: &'static str,
    shown_url: &'static str,
    title: &'static str,
}

const PHONE: (&str, &str, &str) = ("phone", r"^\+[1-9][0-9]{6,14}$", "+4915112345678");
const EMAIL: (&str, &str, &str) =
    ("email", r#"^[^\s@<>,;:"()\[\]\\]{1,64}@[^\s@<>,;:"()\[\]\\]{1,253}$"#, "alex@example.org");
const URL: (&str, &str, &str) = ("url", r"^https?://[^\s]+$", "https://hooks.example.com/incidents");

fn shape(name: &str, kind: &str) -> Shape {
    const FIXED: &str = "{{settings.url}}/messages";
    const SHOWN: &str = "https://api.example/messages";
    let of = |(kind, pattern, example): (&str, &str, &str)| {
        format!("kind    = \"{kind}\"\npattern = '{pattern}'\nexample = \"{example}\"")
    };
    match kind {
        "sms" | "voice" => Shape {
            address: of(PHONE),
            body: r#"{ to = "{{to}}", text = "{{text}}" }"#,
            shown: r#"{ to = "+4915112345678", text = "We are back." }"#,
            to: PHONE.2,
            url: FIXED,
            shown_url: SHOWN,
            title: "",
        },
        "email" => Shape {
            address: of(EMAIL),
            body: r#"{ to = "{{to}}", subject = "{{title}}", text = "{{text}}", html = "{{html?}}" }"#,
            shown: r#"{ to = "alex@example.org", subject = "Back", text = "We are back." }"#,
            to: EMAIL.2,
            url: FIXED,
            shown_url: SHOWN,
            title: "title   = \"Back\"\n",
        },
        // The text of this format is a whole JSON document.
        "webhook" => {
            Shape { address: of(URL), body: "", shown: "", to: URL.2, url: "{{to}}", shown_url: URL.2, title: "" }
        }
        _ => Shape {
            address: format!(
                "kind    = \"{name}\"                # what subscribers' addresses of it are called\n\
                 pattern = '^[A-Za-z0-9_-]{{1,64}}$'   # TODO: what one looks like\nexample = \"status\""
            ),
            body: r#"{ to = "{{to}}", title = "{{title?}}", text = "{{text}}" }"#,
            shown: r#"{ to = "status", title = "Back", text = "We are back." }"#,
            to: "status",
            url: FIXED,
            shown_url: SHOWN,
            title: "title   = \"Back\"\n",
        },
    }
}

/// What the operator sets, and who we are. A webhook is signed with its subscriber's secret: a token of ours would go to strangers.
const SETTINGS: &str = r#"[settings]
url   = { help = "The server", example = "https://api.example" }    # TODO: or write it into url below
token = { secret = true, help = "Who we are", example = "example-token" }

[auth]                             # TODO: how it knows who we are: bearer, basic, header, query or hmac
type  = "bearer"
token = "{{settings.token}}"

"#;

pub fn text(name: &str, kind: &str) -> String {
    let Shape { address, body, shown, to, url, shown_url, title } = shape(name, kind);
    let (driver, settings) = if kind == "webhook" { ("webhook", "") } else { ("http", SETTINGS) };
    let (body, words, shown) = match kind {
        "webhook" => (
            "text    = \"{{text}}\"\nheaders = { Content-Type = \"application/json\" }".to_string(),
            "text    = '{\"type\":\"incident.update\"}'\nsecrets = [\"whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD\"]",
            "headers = { content-type = \"application/json\" }\nbody    = '{\"type\":\"incident.update\"}'".to_string(),
        ),
        _ => (
            format!("json    = {body}"),
            "text    = \"We are back.\"",
            format!("headers = {{ authorization = \"Bearer example-token\" }}\njson    = {shown}"),
        ),
    };
    format!(
        r#"# TODO: what this platform is, in a sentence.
#
# What is marked TODO is to be filled in from the platform's own documentation; leave out what that does not say. Every key is
# described in the README of channels/. loudhailer check runs the examples below.
title  = "{name}"                  # TODO: its name for people
docs   = "https://docs.example/"   # TODO: the page that this file is written from
driver = "{driver}"
kind   = "{kind}"
format = "{kind}"
markup = "plain"                   # TODO: html, mrkdwn or markdown where it takes one of these
repeat = "unsafe"                  # TODO: "safe" only if it drops an id that it has seen

{settings}[address]
{address}

# TODO: what it allows.
# [limits]
# rate    = ["N/s"]
# address = "N/min"
# size    = {{ chars = N }}

[send]                             # TODO: the request
method  = "POST"
url     = "{url}"
{body}

# TODO: what its answers mean; the first that matches decides. Without one, 401 to 403 stop the channel, 429 and 5xx are tried
# again, any other 4xx ends this message, and everything else is unknown: nobody counts as told. Each needs an example.
# [[answer]]
# when = {{ status = "…", json = {{ "/…" = "…" }} }}
# then = "accepted"
# ref  = {{ id = "/…" }}

[[example]]
to      = "{to}"
{title}{words}
url     = "{shown_url}"
{shown}

# [[example]]
# answer = {{ status = …, json = {{ … }} }}
# then   = "accepted"
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::file::Platform;
    use crate::channel::kit;

    #[test]
    fn a_file_of_every_kind_passes_the_check_as_it_stands() {
        for kind in KINDS {
            let text = text("acme", kind);
            let platform =
                Platform::parse("acme", &text, "acme.toml").unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!(kit::check(&platform), [""; 0], "{text}");
            assert_eq!((platform.kind.as_str(), platform.format.word()), (*kind, *kind));
            assert!(platform.answers.is_empty() && platform.limits.rate.is_empty(), "facts are not guessed");
        }
    }
}
