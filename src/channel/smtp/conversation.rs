//! One connection's talk, mail after mail. Where the server offers PIPELINING (RFC 2920), a body, its final dot and the next
//! envelope go out in one write, and replies are matched strictly in order; else each command waits for its reply.
//!
//! A mail is lost to knowledge (`Unknown`) only between its final dot and the answer. Before, the server must not deliver what it
//! has (RFC 5321 section 4.1.1.4), so the mail is safe to send again.

use std::time::Duration;

use super::connection::{Connection, Lost};
use super::mail::Mail;
use super::queue::{Job, Next, Queue, Serving};
use super::reply::Reply;
use super::settings::Settings;
use super::verdict::{Phase, refusal};
use crate::channel::{Fault, Holds, Outcome};

/// How long a connection waits for a mail.
const IDLE: Duration = Duration::from_secs(60);
/// Mails on one connection, and its life: servers have limits, and a relay behind a load balancer is met anew.
const MAILS: usize = 500;
const LIFE: Duration = Duration::from_secs(5 * 60);

/// What the server said to an envelope.
enum Envelope {
    /// 354: it waits for the body.
    Open,
    /// Refused; `dot` where it waits for a body all the same, and then gets an empty one (RFC 2920 section 3.1).
    Refused { outcome: Outcome, dot: bool },
}

/// Talks until the connection is worn out, idle, or lost. All jobs taken are answered or put back.
pub(super) async fn converse(
    mut connection: Connection,
    first: Job,
    serving: &mut Serving,
    settings: &Settings,
    queue: &Queue,
) {
    let clock = &*queue.clock;
    let end = clock.monotonic() + LIFE;
    let worn_out = |mails: usize| mails >= MAILS || clock.monotonic() >= end;
    let mut mails = 0;
    let mut out: Vec<u8> = Vec::with_capacity(16 * 1024);
    let mut job = first;
    // Since when the connection is free for the job.
    let mut free = clock.monotonic();
    // Whether the job's envelope went out behind the body before it.
    let mut announced = false;
    loop {
        if let Some(outcome) = unfit(&job.mail, &connection) {
            job.answer(outcome);
        } else {
            let envelope = match envelope(&mut connection, settings, &job.mail, announced, &mut out).await {
                Ok(envelope) => envelope,
                Err(lost) => return never_begun(job, lost, mails, queue),
            };
            if connection.closing {
                // A server that ends a session that was good until now, says so to the next mail, but not about it.
                return match envelope {
                    Envelope::Refused { outcome, .. } if mails == 0 || job.again => job.answer(outcome),
                    _ => queue.put_back(job),
                };
            }
            mails += 1;
            let (body, refused) = match envelope {
                Envelope::Open => (job.mail.bytes.as_slice(), None),
                Envelope::Refused { outcome, dot } => (if dot { b".\r\n" } else { &b"RSET\r\n"[..] }, Some(outcome)),
            };
            out.clear();
            out.extend_from_slice(body);
            let dot = out.len();
            let next = if worn_out(mails) { None } else { follower(&connection, queue, *serving) };
            if let Some(next) = &next {
                write_envelope(&next.mail, settings, &connection, &mut out);
            }
            let reply = match connection.write(&out, settings.timeout).await {
                Ok(()) => connection.reply(settings.timeout * 5).await.map_err(|lost| (true, lost)),
                Err(cut) => Err((cut.written >= dot, cut.lost)),
            };
            if reply.is_ok() {
                let now = clock.monotonic();
                queue.took(now - std::mem::replace(&mut free, now));
            }
            let lost = match &reply {
                Err((_, lost)) => Some(*lost),
                Ok(reply) if reply.code / 100 == 3 => Some(Lost::Garbled),
                Ok(_) => connection.closing.then_some(Lost::Closed),
            };
            job.answer(match (refused, reply) {
                // What a server says to an empty body or RSET changes nothing.
                (Some(outcome), _) => outcome,
                (None, Ok(reply)) => content(&reply),
                (None, Err((true, lost))) => Outcome::Unknown { detail: lost.to_string() },
                (None, Err((false, lost))) => deferred(lost),
            });
            match (lost, next) {
                (Some(lost), Some(next)) => return never_begun(next, lost, mails, queue),
                (Some(_), None) => return,
                (None, Some(next)) => {
                    job = next;
                    announced = true;
                    continue;
                }
                (None, None) => {}
            }
        }
        if worn_out(mails) {
            return connection.quit().await;
        }
        announced = false;
        match wait(&mut connection, serving, queue).await {
            Some(next) => (job, free) = (next, clock.monotonic()),
            None => return connection.quit().await,
        }
    }
}

/// Until a mail comes (`Some`), or the connection has been idle for long enough or is closed from the other side.
async fn wait(connection: &mut Connection, serving: &mut Serving, queue: &Queue) -> Option<Job> {
    let mut receiver = match queue.take_or_wait(serving) {
        Next::Job(job) => return Some(job),
        Next::Wait(receiver) => receiver,
    };
    let given = tokio::select! {
        biased;
        given = &mut receiver => given.ok(),
        () = connection.farewell() => None,
        () = queue.clock.sleep(IDLE) => None,
    };
    // One may have been handed over in the moment of giving up.
    let given = given.or_else(|| {
        receiver.close();
        receiver.try_recv().ok()
    });
    if let Some(job) = &given {
        *serving = if job.urgent { Serving::Urgent } else { Serving::Bulk };
    }
    given
}

/// What may go out behind a body. What this server can't take is answered on the way.
fn follower(connection: &Connection, queue: &Queue, serving: Serving) -> Option<Job> {
    if !connection.offers.pipelining {
        return None;
    }
    loop {
        let job = queue.take_behind(serving)?;
        match unfit(&job.mail, connection) {
            None => return Some(job),
            Some(outcome) => job.answer(outcome),
        }
    }
}

fn unfit(mail: &Mail, connection: &Connection) -> Option<Outcome> {
    let rejected = |fault, detail: &str| Some(Outcome::Rejected { fault, detail: detail.into() });
    if mail.utf8 && !connection.offers.utf8 {
        return rejected(Fault::Address, "the address needs SMTPUTF8, which the server does not offer");
    }
    if connection.offers.size.is_some_and(|size| mail.bytes.len() > size) {
        return rejected(Fault::Message, "larger than the server takes");
    }
    None
}

fn write_mail_from(mail: &Mail, settings: &Settings, connection: &Connection, out: &mut Vec<u8>) {
    for piece in ["MAIL FROM:<", &settings.return_path, ">"] {
        out.extend_from_slice(piece.as_bytes());
    }
    if connection.offers.declares_size {
        out.extend_from_slice(format!(" SIZE={}", mail.bytes.len()).as_bytes());
    }
    if mail.utf8 {
        out.extend_from_slice(b" SMTPUTF8");
    }
    out.extend_from_slice(b"\r\n");
}

fn write_rcpt_to(mail: &Mail, out: &mut Vec<u8>) {
    for piece in ["RCPT TO:<", &mail.to, ">\r\n"] {
        out.extend_from_slice(piece.as_bytes());
    }
}

fn write_envelope(mail: &Mail, settings: &Settings, connection: &Connection, out: &mut Vec<u8>) {
    write_mail_from(mail, settings, connection, out);
    write_rcpt_to(mail, out);
    out.extend_from_slice(b"DATA\r\n");
}

/// Says the envelope, unless it was said behind the body before, and hears what the server makes of it.
async fn envelope(
    connection: &mut Connection,
    settings: &Settings,
    mail: &Mail,
    announced: bool,
    out: &mut Vec<u8>,
) -> Result<Envelope, Lost> {
    let pipelining = connection.offers.pipelining;
    if pipelining && !announced {
        out.clear();
        write_envelope(mail, settings, connection, out);
        connection.write(out, settings.timeout).await.map_err(|cut| cut.lost)?;
    }
    let mut refused = None;
    for phase in [Phase::Sender, Phase::Recipient, Phase::Content] {
        if !pipelining {
            out.clear();
            match phase {
                Phase::Sender => write_mail_from(mail, settings, connection, out),
                Phase::Recipient => write_rcpt_to(mail, out),
                _ => out.extend_from_slice(b"DATA\r\n"),
            }
            connection.write(out, settings.timeout).await.map_err(|cut| cut.lost)?;
        }
        let reply = connection.reply(settings.timeout).await?;
        match (phase, reply.code) {
            (Phase::Content, 354) => {
                return Ok(match refused {
                    None => Envelope::Open,
                    Some(outcome) => Envelope::Refused { outcome, dot: true },
                });
            }
            (Phase::Sender | Phase::Recipient, 200..300) => {}
            // The first refusal is the reason; those after it only follow from it.
            (_, 400..600) => refused = refused.or_else(|| Some(refusal(phase, &reply))),
            // Whose answer is that? Nothing after it can be matched.
            _ => return Err(Lost::Garbled),
        }
        if refused.is_some() && (connection.closing || !pipelining) {
            break;
        }
    }
    refused.map(|outcome| Envelope::Refused { outcome, dot: false }).ok_or(Lost::Garbled)
}

/// What the reply to the final dot says.
fn content(reply: &Reply) -> Outcome {
    match reply.code {
        200..300 => Outcome::Accepted { reference: reply.reference() },
        400..600 => refusal(Phase::Content, reply),
        _ => Outcome::Unknown { detail: format!("out of turn: {}", reply.detail()) },
    }
}

fn deferred(lost: Lost) -> Outcome {
    Outcome::Deferred { after: None, holds: Holds::Channel, throttled: false, detail: lost.to_string() }
}

/// The envelope may have been heard, but no body followed. On a connection that was good before, this says nothing about the
/// server: servers close what has been idle, and the mail gets another connection, once.
fn never_begun(job: Job, lost: Lost, mails: usize, queue: &Queue) {
    match lost {
        Lost::Closed | Lost::Failed(_) if mails > 0 && !job.again => queue.put_back(job),
        _ => job.answer(deferred(lost)),
    }
}
