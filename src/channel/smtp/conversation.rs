//! One connection's talk, mail after mail. Where the server offers PIPELINING (RFC 2920), a body, its final dot and the next
//! envelope go out in one write, and replies are matched strictly in order; else each command waits for its reply.
//!
//! The same mail to several who wait for it goes to them in one transaction. Each has the answer to its own RCPT, and those whom
//! the server took have the answer to the final dot.
//!
//! A mail is lost to knowledge (`Unknown`) only between its final dot and the answer. Before, the server must not deliver what it
//! has (RFC 5321 section 4.1.1.4), so the mail is safe to send again.

use std::time::Duration;

use super::connection::{Connection, Lost};
use super::mail::Mail;
use super::queue::{Job, Next, Queue, Serving};
use super::reply::Reply;
use super::settings::{Dsn, ReturnPath, Settings};
use super::verdict::{Phase, refusal, too_many_recipients};
use crate::channel::{Fault, Holds, Outcome};

/// How long a connection waits for a mail.
const IDLE: Duration = Duration::from_secs(60);
/// Mails on one connection, and its life: servers have limits, and a relay behind a load balancer is met anew.
const MAILS: usize = 500;
const LIFE: Duration = Duration::from_secs(5 * 60);

/// What goes in one transaction: one mail, or the same one to several. Whom the server refuses has the answer, and is no more
/// among them.
type Transaction = Vec<Job>;

/// What the server said to an envelope.
enum Envelope {
    /// 354: it waits for the body, for those who are left.
    Open,
    /// All are refused; `dot` where it waits for a body all the same, and then gets an empty one (RFC 2920 section 3.1).
    Refused { dot: bool },
    /// It ends the session; `others` where it had refused somebody else in this envelope, whose errors it may have counted.
    Farewell { outcome: Outcome, others: bool },
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
    let mut transaction = fit(first, &connection, queue);
    // Whether its envelope went out behind the body before it.
    let mut announced = false;
    // Since when the connection is free for it.
    let mut free = clock.monotonic();
    loop {
        if let Some(mut jobs) = transaction {
            let envelope = match envelope(&mut connection, settings, &mut jobs, announced, &mut out, queue).await {
                Ok(envelope) => envelope,
                Err(lost) => return never_begun(jobs, lost, mails, queue),
            };
            let body: &[u8] = match envelope {
                Envelope::Farewell { outcome, others } => return farewell(jobs, &outcome, others || mails > 0, queue),
                Envelope::Refused { dot: true } => b".\r\n",
                Envelope::Refused { dot: false } => b"RSET\r\n",
                Envelope::Open => jobs.first().map_or(&[], |job| &*job.mail.bytes),
            };
            mails += 1;
            out.clear();
            out.extend_from_slice(body);
            let dot = out.len();
            let next = if worn_out(mails) { None } else { follower(&connection, queue, *serving) };
            if let Some(next) = &next {
                write_envelope(next, settings, &connection, &mut out);
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
            // Nobody is left to hear what a server says to an empty body or RSET.
            answer(
                jobs,
                match &reply {
                    Ok(reply) => content(reply),
                    Err((true, lost)) => Outcome::Unknown { detail: lost.to_string() },
                    Err((false, lost)) => deferred(*lost),
                },
            );
            match (lost, next) {
                (Some(lost), Some(next)) => return never_begun(next, lost, mails, queue),
                (Some(_), None) => return,
                (None, Some(next)) => {
                    transaction = Some(next);
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
            Some(next) => (transaction, free) = (fit(next, &connection, queue), clock.monotonic()),
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

/// What may go out behind a body.
fn follower(connection: &Connection, queue: &Queue, serving: Serving) -> Option<Transaction> {
    if !connection.offers.pipelining {
        return None;
    }
    loop {
        let fit = fit(queue.take_behind(serving)?, connection, queue);
        if fit.is_some() {
            return fit;
        }
    }
}

/// A mail with whoever waits for the same; what this server can't take is answered, and nothing left.
fn fit(job: Job, connection: &Connection, queue: &Queue) -> Option<Transaction> {
    match unfit(&job.mail, connection) {
        None => Some(queue.together(job, connection.recipients)),
        Some(outcome) => {
            job.answer(outcome);
            None
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
    let return_path = match (&mail.return_path, &settings.return_path) {
        (Some(own), _) => own,
        (None, ReturnPath::Same(path)) => path,
        (None, ReturnPath::Each(..)) => "",
    };
    for piece in ["MAIL FROM:<", return_path, ">"] {
        out.extend_from_slice(piece.as_bytes());
    }
    if let (Some(id), true) = (&mail.envelope, connection.offers.dsn) {
        for piece in [" RET=HDRS ENVID=", id] {
            out.extend_from_slice(piece.as_bytes());
        }
    }
    if connection.offers.declares_size {
        out.extend_from_slice(format!(" SIZE={}", mail.bytes.len()).as_bytes());
    }
    if mail.utf8 {
        out.extend_from_slice(b" SMTPUTF8");
    }
    out.extend_from_slice(b"\r\n");
}

fn write_rcpt_to(mail: &Mail, settings: &Settings, connection: &Connection, out: &mut Vec<u8>) {
    let notify = match settings.dsn.filter(|_| connection.offers.dsn) {
        None => "",
        Some(Dsn::Failure) => " NOTIFY=FAILURE",
        Some(Dsn::Success) => " NOTIFY=SUCCESS,FAILURE",
    };
    for piece in ["RCPT TO:<", &mail.to, ">", notify, "\r\n"] {
        out.extend_from_slice(piece.as_bytes());
    }
}

fn write_envelope(jobs: &[Job], settings: &Settings, connection: &Connection, out: &mut Vec<u8>) {
    let Some(first) = jobs.first() else { return };
    write_mail_from(&first.mail, settings, connection, out);
    jobs.iter().for_each(|job| write_rcpt_to(&job.mail, settings, connection, out));
    out.extend_from_slice(b"DATA\r\n");
}

/// Says the envelope, unless it was said behind the body before, and hears what the server makes of it.
async fn envelope(
    connection: &mut Connection,
    settings: &Settings,
    jobs: &mut Transaction,
    announced: bool,
    out: &mut Vec<u8>,
    queue: &Queue,
) -> Result<Envelope, Lost> {
    let pipelining = connection.offers.pipelining;
    out.clear();
    if pipelining && !announced {
        write_envelope(jobs, settings, connection, out);
    } else if let (false, Some(job)) = (pipelining, jobs.first()) {
        write_mail_from(&job.mail, settings, connection, out);
    }
    // What all of them are refused for. The first refusal is the reason; those after it only follow from it.
    let mut refused = said(connection, settings, Phase::Sender, out).await?.map(|(outcome, _)| outcome);
    let (all, mut taken) = (jobs.len(), 0);
    for _ in 0..all {
        if connection.closing || (refused.is_some() && !pipelining) {
            break;
        }
        out.clear();
        if !pipelining {
            write_rcpt_to(&jobs[taken].mail, settings, connection, out);
        }
        match said(connection, settings, Phase::Recipient, out).await? {
            Some((outcome, _)) if connection.closing => refused = refused.or(Some(outcome)),
            Some(_) if refused.is_some() => taken += 1,
            Some((_, true)) if taken > 0 => {
                connection.recipients = taken;
                queue.put_first(jobs.remove(taken));
            }
            Some((outcome, _)) => jobs.remove(taken).answer(outcome),
            None => taken += 1,
        }
    }
    let mut dot = false;
    if !connection.closing && (pipelining || (refused.is_none() && !jobs.is_empty())) {
        out.clear();
        if !pipelining {
            out.extend_from_slice(b"DATA\r\n");
        }
        match said(connection, settings, Phase::Content, out).await? {
            None if refused.is_none() && !jobs.is_empty() => return Ok(Envelope::Open),
            None => dot = true,
            Some((outcome, _)) => refused = refused.or(Some(outcome)),
        }
    }
    match refused {
        Some(outcome) if connection.closing => {
            return Ok(Envelope::Farewell { outcome, others: jobs.len() < all });
        }
        Some(outcome) => answer(std::mem::take(jobs), outcome),
        None => {}
    }
    Ok(Envelope::Refused { dot })
}

/// Says what is to be said, if anything, and hears the next answer: `None` is well, else the refusal, and whether it is only that
/// the transaction is full.
async fn said(
    connection: &mut Connection,
    settings: &Settings,
    phase: Phase,
    out: &[u8],
) -> Result<Option<(Outcome, bool)>, Lost> {
    if !out.is_empty() {
        connection.write(out, settings.timeout).await.map_err(|cut| cut.lost)?;
    }
    let reply = connection.reply(settings.timeout).await?;
    match (phase, reply.code) {
        (Phase::Content, 354) | (Phase::Sender | Phase::Recipient, 200..300) => Ok(None),
        (_, 400..600) => Ok(Some((refusal(phase, &reply), too_many_recipients(&reply)))),
        // Whose answer is that? Nothing after it can be matched.
        _ => Err(Lost::Garbled),
    }
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

fn answer(jobs: Transaction, outcome: Outcome) {
    let mut jobs = jobs.into_iter();
    let last = jobs.next_back();
    jobs.for_each(|job| job.answer(outcome.clone()));
    if let Some(job) = last {
        job.answer(outcome);
    }
}

/// The envelope may have been heard, but no body followed. On a connection that was good before, this says nothing about the
/// server: servers close what has been idle, and the mail gets another connection, once.
fn never_begun(jobs: Transaction, lost: Lost, mails: usize, queue: &Queue) {
    let once_more = matches!(lost, Lost::Closed | Lost::Failed(_)) && mails > 0;
    for job in jobs.into_iter().rev() {
        if once_more && !job.again { queue.put_back(job) } else { job.answer(deferred(lost)) }
    }
}

/// A server that ends a session that was good until now, says so to the next mail, but not about it.
fn farewell(jobs: Transaction, outcome: &Outcome, good: bool, queue: &Queue) {
    for job in jobs.into_iter().rev() {
        if !good || job.again { job.answer(outcome.clone()) } else { queue.put_back(job) }
    }
}
