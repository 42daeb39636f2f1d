//! A bound session: parts out while the window has room, answers and receipts in. A message has its outcome once each of its parts has
//! an answer. What was accepted of one that is deferred is not sent again with the rest.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use rusmpp_core::CommandStatus;
use rusmpp_core::pdus::borrowed::{DeliverSmResp, Pdu};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::super::conversation::Lost;
use super::super::{Kept, Letter, Session};
use super::pdu::{self, Frame, ID};
use super::receipt::{self, Delivered, Receipt};
use super::settings::Own;
use super::status;
use super::submit::Draft;
use crate::channel::{Outcome, Report};

/// Receipts that wait to be kept; above them nothing more is read.
const MOST_REPORTS: usize = 256;
/// What a number of a PDU may be (section 5.1.4).
const LAST_NUMBER: u32 = 0x7fff_ffff;

/// What is known beyond a connection; the oldest is forgotten first.
#[derive(Default)]
pub struct Memory {
    /// Of deliveries that were deferred with some of their parts accepted: the ids of those.
    begun: Bounded<String, Vec<Option<String>>>,
    /// Of messages in parts: by the id of a part, that of the last, which names the message.
    parts: Bounded<String, String>,
}

/// At most so many entries.
struct Bounded<K, V> {
    entries: HashMap<K, V>,
    order: VecDeque<K>,
}

const MOST_REMEMBERED: usize = 65_536;

impl<K, V> Default for Bounded<K, V> {
    fn default() -> Self {
        Bounded { entries: HashMap::new(), order: VecDeque::new() }
    }
}

impl<K: Clone + Eq + std::hash::Hash, V> Bounded<K, V> {
    fn put(&mut self, key: K, value: V) {
        if self.order.len() == MOST_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.entries.insert(key, value);
    }
}

/// A message whose parts have not all been answered.
struct Message {
    id: String,
    /// The centre's id of each part that was accepted.
    accepted: Vec<Option<String>>,
    open: usize,
    refused: Option<Outcome>,
}

/// A part that waits for room in the window.
struct Waiting {
    number: u32,
    key: u64,
    at: usize,
    bytes: BytesMut,
}

pub struct Bound {
    own: Arc<Own>,
    memory: Arc<Mutex<Memory>>,
    window: usize,
    reports: Option<mpsc::Sender<Report>>,
    last: u32,
    waiting: VecDeque<Waiting>,
    /// By the number of its `submit_sm`: the message and the part.
    awaited: BTreeMap<u32, (u64, usize)>,
    messages: BTreeMap<u64, Message>,
    unkept: FuturesUnordered<BoxFuture<'static, Kept>>,
}

impl Bound {
    pub fn new(
        own: Arc<Own>,
        memory: Arc<Mutex<Memory>>,
        window: usize,
        reports: Option<mpsc::Sender<Report>>,
    ) -> Bound {
        Bound {
            own,
            memory,
            window,
            reports,
            last: 0,
            waiting: VecDeque::new(),
            awaited: BTreeMap::new(),
            messages: BTreeMap::new(),
            unkept: FuturesUnordered::new(),
        }
    }

    pub fn number(&mut self) -> u32 {
        self.last = if self.last == LAST_NUMBER { 1 } else { self.last + 1 };
        self.last
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As many parts as the window has room for.
    fn flush(&mut self, out: &mut BytesMut) {
        while self.awaited.len() < self.window
            && let Some(part) = self.waiting.pop_front()
        {
            out.extend_from_slice(&part.bytes);
            self.awaited.insert(part.number, (part.key, part.at));
        }
    }

    fn answered(&mut self, frame: &Frame, answers: &mut Vec<(u64, Outcome)>) {
        // One that nobody waits for any more, or an answer to something else.
        let Some((key, at)) = self.awaited.remove(&frame.number) else { return };
        let Some(message) = self.messages.get_mut(&key) else { return };
        message.open -= 1;
        match status::submitted(frame.status) {
            // Without an id it has been accepted all the same.
            Ok(()) => message.accepted[at] = Some(self.own.ids.answered(frame.text()).unwrap_or_default()),
            Err(refused) => {
                let unsent = self.waiting.len();
                self.waiting.retain(|part| part.key != key);
                message.open -= unsent - self.waiting.len();
                if message.refused.is_none() || matches!(refused, Outcome::Rejected { .. }) {
                    message.refused = Some(refused);
                }
            }
        }
        if message.open == 0
            && let Some(message) = self.messages.remove(&key)
        {
            answers.push((key, self.outcome(message)));
        }
    }

    fn outcome(&self, message: Message) -> Outcome {
        let Message { id, accepted, refused, .. } = message;
        match refused {
            Some(refused) => {
                if matches!(refused, Outcome::Deferred { .. }) && accepted.iter().any(Option::is_some) {
                    self.memory().begun.put(id, accepted);
                }
                refused
            }
            None => {
                let mut ids: Vec<String> = accepted.into_iter().flatten().collect();
                let last = ids.pop().filter(|id| !id.is_empty());
                if let Some(last) = &last {
                    let mut memory = self.memory();
                    ids.into_iter().for_each(|part| memory.parts.put(part, last.clone()));
                }
                Outcome::Accepted { reference: last }
            }
        }
    }

    /// `None`: nothing is to be waited for, and this is the answer.
    fn reported(&mut self, number: u32, receipt: Receipt) -> Option<CommandStatus> {
        let whole = self.memory().parts.entries.get(&receipt.id).cloned();
        let of = if whole.is_some() { "part" } else { "message" };
        let said = json!({ "id": whole.unwrap_or(receipt.id), "of": of, "stat": receipt.stat, "err": receipt.err });
        let (kept, answer) = oneshot::channel();
        match self.reports.as_ref().map(|reports| reports.try_send(Report { said, kept })) {
            Some(Ok(())) => {
                let kept = answer.map(move |kept| Kept { number, kept: kept.unwrap_or(false) });
                self.unkept.push(kept.boxed());
                None
            }
            _ => Some(CommandStatus::EsmeRxTAppn),
        }
    }

    fn delivered(&mut self, frame: &Frame, out: &mut BytesMut) {
        let status = match receipt::read(frame, self.own.ids) {
            Delivered::Receipt(receipt) => self.reported(frame.number, receipt),
            Delivered::Other => Some(CommandStatus::EsmeRok),
            // It would be no better the next time.
            Delivered::Unreadable => {
                tracing::warn!("an SMS centre delivered what is neither a receipt nor a message");
                Some(CommandStatus::EsmeRxPAppn)
            }
        };
        if let Some(status) = status {
            pdu::write(out, status, frame.number, DeliverSmResp::<0>::default());
        }
    }
}

impl Session for Bound {
    /// Whether the centre is there, `enquire_link` asks.
    const SILENCE_ENDS: bool = false;

    fn publish(&mut self, key: u64, letter: &Letter, out: &mut BytesMut) -> Result<(), Outcome> {
        let draft = Draft::of(letter, self.own.long)?;
        let begun = self.memory().begun.entries.remove(&letter.id).filter(|begun| begun.len() == draft.parts.len());
        let accepted = begun.unwrap_or_else(|| vec![None; draft.parts.len()]);
        let missing: Vec<usize> = (0..accepted.len()).filter(|at| accepted[*at].is_none()).collect();
        for at in &missing {
            let number = self.number();
            let mut bytes = BytesMut::new();
            draft.write(&mut bytes, number, *at, &self.own);
            self.waiting.push_back(Waiting { number, key, at: *at, bytes });
        }
        let message = Message { id: letter.id.clone(), accepted, open: missing.len(), refused: None };
        self.messages.insert(key, message);
        self.flush(out);
        Ok(())
    }

    fn forget(&mut self, key: u64, out: &mut BytesMut) {
        self.messages.remove(&key);
        self.waiting.retain(|part| part.key != key);
        self.awaited.retain(|_, (of, _)| *of != key);
        self.flush(out);
    }

    /// So the first part of whatever is published next is written at once.
    fn full(&self) -> bool {
        !self.waiting.is_empty() || self.awaited.len() >= self.window
    }

    fn hears(&self) -> bool {
        self.unkept.len() < MOST_REPORTS
    }

    async fn kept(&mut self) -> Kept {
        match self.unkept.next().await {
            Some(kept) => kept,
            None => std::future::pending().await,
        }
    }

    fn acknowledge(&mut self, Kept { number, kept }: Kept, out: &mut BytesMut) {
        let status = if kept { CommandStatus::EsmeRok } else { CommandStatus::EsmeRxTAppn };
        pdu::write(out, status, number, DeliverSmResp::<0>::default());
    }

    fn ping(&mut self, out: &mut BytesMut) {
        let number = self.number();
        pdu::write(out, CommandStatus::EsmeRok, number, Pdu::<0>::EnquireLink);
    }

    fn read(
        &mut self,
        incoming: &mut BytesMut,
        out: &mut BytesMut,
        answers: &mut Vec<(u64, Outcome)>,
    ) -> Result<(), Lost> {
        while self.hears()
            && let Some(frame) = Frame::take(incoming)?
        {
            match frame.id {
                // A centre that does not know what it was sent answers so.
                ID::SUBMIT_SM_RESP | ID::NACK => self.answered(&frame, answers),
                ID::DELIVER_SM => self.delivered(&frame, out),
                ID::ENQUIRE_LINK => pdu::write(out, CommandStatus::EsmeRok, frame.number, Pdu::<0>::EnquireLinkResp),
                ID::UNBIND => return Err(Lost::Closed),
                id if id & ID::ANSWER != 0 => {}
                _ => pdu::write(out, CommandStatus::EsmeRinvcmdid, frame.number, Pdu::<0>::GenericNack),
            }
        }
        self.flush(out);
        Ok(())
    }
}
