//! The conversation, with a protocol of lines over a pipe in memory and a paused clock: what a real broker can't be made to show.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::conversation::{Lost, QUIET, converse};
use super::target::Line;
use super::{Job, Letter, Session};
use crate::channel::{Holds, Outcome};

const PATIENCE: Duration = Duration::from_secs(5);

/// A message is `KEY BODY`, its answer `KEY`, each a line.
struct Lines<const SILENCE_ENDS: bool>;

impl<const SILENCE_ENDS: bool> Session for Lines<SILENCE_ENDS> {
    const SILENCE_ENDS: bool = SILENCE_ENDS;

    fn publish(&mut self, key: u64, letter: &Letter, out: &mut BytesMut) -> Result<(), Outcome> {
        out.extend_from_slice(format!("{key} ").as_bytes());
        out.extend_from_slice(&letter.body);
        out.extend_from_slice(b"\n");
        Ok(())
    }

    fn forget(&mut self, _: u64, _: &mut BytesMut) {}

    fn ping(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(b"ping\n");
    }

    fn read(
        &mut self,
        incoming: &mut BytesMut,
        _: &mut BytesMut,
        answers: &mut Vec<(u64, Outcome)>,
    ) -> Result<(), Lost> {
        while let Some(end) = incoming.iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&incoming.split_to(end)).into_owned();
            incoming.advance(1);
            match line.parse() {
                Ok(key) => answers.push((key, Outcome::Accepted { reference: None })),
                Err(_) if line == "pong" => {}
                Err(_) => return Err(Lost::Garbled),
            }
        }
        Ok(())
    }
}

/// A connection with `room`, the broker's end of it, and what waits for it.
struct Talking {
    broker: DuplexStream,
    jobs: mpsc::Sender<Job>,
    ended: JoinHandle<()>,
}

fn job(body: &str) -> (Job, oneshot::Receiver<Outcome>) {
    let (answer, outcome) = oneshot::channel();
    let letter =
        Letter { id: "dlv_1".into(), broadcast: None, to: "a".into(), body: Bytes::copy_from_slice(body.as_bytes()) };
    (Job { letter, answer }, outcome)
}

/// The pipe holds so many bytes. The first message is under way.
fn talking<const SILENCE_ENDS: bool>(room: usize, pipe: usize, first: Job) -> Talking {
    let (ours, broker) = tokio::io::duplex(pipe);
    let (jobs, mut waiting) = mpsc::channel(8);
    let ended = tokio::spawn(async move {
        converse(Line::over(ours), Lines::<SILENCE_ENDS>, Some(first), &mut waiting, room, PATIENCE).await;
    });
    Talking { broker, jobs, ended }
}

impl Talking {
    async fn send(&self, body: &str) -> oneshot::Receiver<Outcome> {
        let (job, outcome) = job(body);
        assert!(self.jobs.send(job).await.is_ok(), "not taken");
        outcome
    }

    async fn hears(&mut self, expected: &str) {
        let mut heard = vec![0; expected.len()];
        timeout(PATIENCE, self.broker.read_exact(&mut heard)).await.expect("in time").expect("read");
        assert_eq!(String::from_utf8_lossy(&heard), expected);
    }

    async fn says(&mut self, text: &str) {
        self.broker.write_all(text.as_bytes()).await.expect("written");
    }
}

fn accepted() -> Outcome {
    Outcome::Accepted { reference: None }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_its_messages_own_in_whatever_order_and_what_has_none_when_the_connection_ends_is_unknown() {
    let (first, one) = job("one");
    let mut talking = talking::<true>(8, 1024, first);
    let two = talking.send("two").await;
    let three = talking.send("three").await;
    talking.hears("0 one\n1 two\n2 three\n").await;
    talking.says("2\n0\n9\n").await;
    assert_eq!((three.await, one.await), (Ok(accepted()), Ok(accepted())));
    drop(talking.broker);
    let Ok(Outcome::Unknown { detail }) = two.await else { panic!("it may have arrived") };
    assert_eq!(detail, "the server closed the connection");
    talking.ended.await.expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn a_message_of_which_no_byte_was_written_waits_for_the_next_connection() {
    let (first, one) = job(&"x".repeat(100));
    let talking = talking::<true>(8, 10, first);
    let two = talking.send("two").await;
    // Until the pipe is full and the second waits behind the first.
    while talking.jobs.capacity() < talking.jobs.max_capacity() {
        tokio::task::yield_now().await;
    }
    drop(talking.broker);
    assert!(matches!(one.await, Ok(Outcome::Unknown { .. })));
    let two = two.await;
    assert!(matches!(two, Ok(Outcome::Deferred { holds: Holds::Channel, throttled: false, .. })), "{two:?}");
}

#[tokio::test(start_paused = true)]
async fn no_more_are_under_way_than_there_is_room_for() {
    let (first, one) = job("one");
    let mut talking = talking::<true>(1, 1024, first);
    let two = talking.send("two").await;
    talking.hears("0 one\n").await;
    let mut more = [0];
    assert!(timeout(Duration::from_secs(1), talking.broker.read(&mut more)).await.is_err(), "{more:?}");
    talking.says("0\n").await;
    talking.hears("1 two\n").await;
    talking.says("1\n").await;
    assert_eq!((one.await, two.await), (Ok(accepted()), Ok(accepted())));
}

#[tokio::test(start_paused = true)]
async fn who_has_given_up_while_it_waited_is_not_published() {
    let (first, one) = job("one");
    let mut talking = talking::<true>(1, 1024, first);
    drop(talking.send("two").await);
    let three = talking.send("three").await;
    talking.hears("0 one\n").await;
    talking.says("0\n").await;
    talking.hears("1 three\n").await;
    talking.says("1\n").await;
    assert_eq!((one.await, three.await), (Ok(accepted()), Ok(accepted())));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come_ends_the_wait_and_where_silence_says_so_the_connection() {
    let began = Instant::now();
    let (first, one) = job("one");
    let mut silent = talking::<true>(8, 1024, first);
    silent.hears("0 one\n").await;
    assert!(matches!(one.await, Ok(Outcome::Unknown { .. })));
    assert_eq!(began.elapsed(), PATIENCE);
    silent.ended.await.expect("ended");

    let (first, one) = job("one");
    let mut partly = talking::<false>(8, 1024, first);
    partly.hears("0 one\n").await;
    assert!(matches!(one.await, Ok(Outcome::Unknown { .. })));
    let two = partly.send("two").await;
    partly.hears("1 two\n").await;
    // What comes too late is nobody's.
    partly.says("0\n1\n").await;
    assert_eq!(two.await, Ok(accepted()));
    assert!(!partly.ended.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_quiet_broker_is_asked_whether_it_is_there() {
    let (first, one) = job("one");
    let mut talking = talking::<true>(8, 1024, first);
    talking.hears("0 one\n").await;
    talking.says("0\n").await;
    assert_eq!(one.await, Ok(accepted()));
    for _ in 0..2 {
        let quiet = Instant::now();
        sleep_until(quiet + QUIET).await;
        talking.hears("ping\n").await;
        talking.says("pong\n").await;
    }
    sleep_until(Instant::now() + QUIET).await;
    talking.hears("ping\n").await;
    let asked = Instant::now();
    talking.ended.await.expect("ended");
    assert_eq!(asked.elapsed(), PATIENCE);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_of_the_protocol_or_never_ends_ends_the_connection() {
    for said in ["what?\n".to_string(), "x".repeat(100_000)] {
        let (first, one) = job("one");
        let mut talking = talking::<true>(8, 1024, first);
        talking.hears("0 one\n").await;
        let _ = talking.broker.write_all(said.as_bytes()).await;
        let Ok(Outcome::Unknown { detail }) = one.await else { panic!("unknown") };
        assert_eq!(detail, Lost::Garbled.to_string());
        talking.ended.await.expect("ended");
    }
}
