//! Subscribers from a file of any size, in flat memory. Enter: CSV with a header or NDJSON, in chunks as they come. Leave:
//! subscribers in the store, and a Report of each bad row by line and reason; the good ones are imported whatever stands
//! beside them. The same file again writes nothing, and an import tells nobody anything.

mod column;
mod draft;
mod reader;
mod row;
mod split;
#[cfg(test)]
mod tests;
mod value;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

pub use self::row::Row;
use self::split::{Csv, Lines, Record};
use crate::clock::Clock;
use crate::config::Config;
use crate::dispatch::Engine;
use crate::id::SubscriberId;
use crate::incident::words;
use crate::store::{Imported, Store, StoreError};

words!(Format { Csv = "csv", Ndjson = "ndjson" });

/// Says whether a text is an address of its kind, and gives it back as it is kept.
pub type Validator = Arc<dyn Fn(&str) -> Result<String, String> + Send + Sync>;
pub type Validators = BTreeMap<String, Validator>;

#[derive(Clone)]
pub struct Options {
    /// Addresses whose row does not say so count as verified: the operator vouches for them.
    pub verified: bool,
    /// For rows that name none.
    pub audience: Option<String>,
    pub locale: String,
    pub zone: String,
    /// Those registered.
    pub audiences: BTreeSet<String>,
    /// By kind of address.
    pub validators: Validators,
}

impl Options {
    pub fn new(config: &Config, validators: Validators, verified: bool, audience: Option<String>) -> Options {
        Options {
            verified,
            audience,
            locale: config.sender.locale.clone(),
            zone: config.sender.zone.clone(),
            audiences: config.audiences.keys().cloned().collect(),
            validators,
        }
    }
}

/// Rows written by one job of the store, beside a process that sends: an event waits for no more than a job.
const BATCH: usize = 1000;
/// And where nobody else writes: fewer, larger transactions write each page of the index of addresses less often.
const ALONE: usize = 10_000;
/// Jobs waiting for the store at one time: they share a transaction.
const JOBS: usize = 4;
/// Bad rows that are listed; all are counted.
pub const LISTED: usize = 10_000;
/// Bytes taken apart before what they gave goes to the store.
const BITE: usize = 64 * 1024;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub rows: u64,
    pub created: u64,
    pub updated: u64,
    pub unchanged: u64,
    pub bad: u64,
    /// Addresses that nothing is sent to before they are verified.
    pub unverified: u64,
    /// The first bad rows, in the order of the file.
    pub bad_rows: Vec<BadRow>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadRow {
    pub line: u64,
    pub reason: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The header: nothing was imported.
    #[error("line {line}: {reason}")]
    Header { line: u64, reason: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whom this import has written: one bit a subscriber, so that a second row for the same one is noticed however long the file.
#[derive(Debug, Default)]
pub struct Seen(BTreeMap<u64, Box<[u64; 512]>>);

impl Seen {
    pub fn has(&self, id: SubscriberId) -> bool {
        let (block, word, bit) = Seen::place(id);
        self.0.get(&block).is_some_and(|words| words[word] & bit != 0)
    }

    pub fn note(&mut self, id: SubscriberId) {
        let (block, word, bit) = Seen::place(id);
        self.0.entry(block).or_insert_with(|| Box::new([0; 512]))[word] |= bit;
    }

    pub fn forget(&mut self, id: SubscriberId) {
        let (block, word, bit) = Seen::place(id);
        if let Some(words) = self.0.get_mut(&block) {
            words[word] &= !bit;
        }
    }

    fn place(id: SubscriberId) -> (u64, usize, u64) {
        let n = (id.0 & ((1 << 48) - 1)) as u64;
        (n >> 15, (n >> 6 & 511) as usize, 1 << (n & 63))
    }
}

type Job = Pin<Box<dyn Future<Output = Result<Vec<Imported>, StoreError>> + Send>>;

enum Splitter {
    Csv(Box<Csv>),
    Lines(Lines),
}

pub struct Importer {
    splitter: Splitter,
    parsed: Parsed,
    seen: Arc<Mutex<Seen>>,
    /// What the store is at work on, and the line of each row.
    jobs: VecDeque<(Job, Vec<u64>)>,
    batch: usize,
    at_once: usize,
    store: Arc<dyn Store>,
    engine: Option<Arc<Engine>>,
    clock: Arc<Clock>,
}

/// What has been read and not yet given to the store.
struct Parsed {
    reader: reader::Reader,
    rows: Vec<Row>,
    lines: Vec<u64>,
    report: Report,
    header: Option<(u64, String)>,
}

impl Parsed {
    fn take(&mut self, line: u64, row: Result<Row, String>) {
        self.report.rows += 1;
        match row {
            Ok(row) => {
                self.report.unverified += row.subscriber.addresses.iter().filter(|a| !a.verified).count() as u64;
                self.rows.push(row);
                self.lines.push(line);
            }
            Err(reason) => self.report.bad(line, reason),
        }
    }

    fn cells(&mut self, record: Record<'_, split::Cells>) {
        let Record { line, content } = record;
        let too_long = || format!("is longer than {} KiB; is a quote missing?", split::LONGEST / 1024);
        if self.header.is_some() {
            return;
        }
        if !self.reader.has_header() {
            let read = content.ok_or_else(too_long).and_then(|cells| self.reader.header(cells));
            self.header = read.err().map(|reason| (line, reason));
            return;
        }
        let row = content.ok_or_else(too_long).and_then(|cells| self.reader.cells(cells));
        self.take(line, row);
    }

    fn line(&mut self, record: Record<'_, [u8]>) {
        let too_long = || format!("is longer than {} KiB", split::LONGEST / 1024);
        let row = record.content.ok_or_else(too_long).and_then(|line| self.reader.line(line));
        self.take(record.line, row);
    }
}

impl Report {
    fn bad(&mut self, line: u64, reason: String) {
        self.bad += 1;
        if self.bad_rows.len() < LISTED {
            self.bad_rows.push(BadRow { line, reason });
        }
    }
}

impl Importer {
    /// `engine`: of the process that sends, so that what it holds in memory for a changed subscriber is decided afresh.
    pub fn new(
        format: Format,
        options: Options,
        store: Arc<dyn Store>,
        engine: Option<Arc<Engine>>,
        clock: Arc<Clock>,
    ) -> Importer {
        Importer {
            splitter: match format {
                Format::Csv => Splitter::Csv(Box::new(Csv::new())),
                Format::Ndjson => Splitter::Lines(Lines::default()),
            },
            parsed: Parsed {
                reader: reader::Reader::new(options),
                rows: Vec::new(),
                lines: Vec::new(),
                report: Report::default(),
                header: None,
            },
            seen: Arc::default(),
            jobs: VecDeque::new(),
            batch: if engine.is_some() { BATCH } else { ALONE },
            at_once: if engine.is_some() { JOBS } else { 1 },
            store,
            engine,
            clock,
        }
    }

    /// Takes the next bytes. When this returns, all but the last few thousand rows of them are on disk.
    pub async fn feed(&mut self, chunk: &[u8]) -> Result<(), ImportError> {
        for bite in chunk.chunks(BITE) {
            let Importer { splitter, parsed, .. } = self;
            match splitter {
                Splitter::Csv(csv) => csv.push(bite, &mut |record| parsed.cells(record)),
                Splitter::Lines(lines) => lines.push(bite, &mut |record| parsed.line(record)),
            }
            self.write(self.batch).await?;
        }
        Ok(())
    }

    /// The file has ended. When this returns, every good row is on disk.
    pub async fn finish(mut self) -> Result<Report, ImportError> {
        let Importer { splitter, parsed, .. } = &mut self;
        match splitter {
            Splitter::Csv(csv) => csv.finish(&mut |record| parsed.cells(record)),
            Splitter::Lines(lines) => lines.finish(&mut |record| parsed.line(record)),
        }
        if matches!(self.splitter, Splitter::Csv(_)) && !self.parsed.reader.has_header() && self.parsed.header.is_none()
        {
            self.parsed.header = Some((1, "the file is empty; its first row names the columns".into()));
        }
        self.cut_off().await
    }

    /// The bytes have ended within the file: the same for the rows that came whole. Nobody can say what the last one was to be.
    pub async fn cut_off(mut self) -> Result<Report, ImportError> {
        self.write(1).await?;
        while !self.jobs.is_empty() {
            self.answered().await?;
        }
        let mut report = self.parsed.report;
        report.bad_rows.sort_by_key(|bad| bad.line);
        Ok(report)
    }

    /// Gives the store whole batches, `least` rows at the fewest.
    async fn write(&mut self, least: usize) -> Result<(), ImportError> {
        if let Some((line, reason)) = self.parsed.header.take() {
            return Err(ImportError::Header { line, reason });
        }
        while self.parsed.rows.len() >= least {
            let count = self.parsed.rows.len().min(self.batch);
            let rows: Arc<Vec<Row>> = Arc::new(self.parsed.rows.drain(..count).collect());
            let lines: Vec<u64> = self.parsed.lines.drain(..count).collect();
            while self.jobs.len() >= self.at_once {
                self.answered().await?;
            }
            let (store, seen, now) = (self.store.clone(), self.seen.clone(), self.clock.calendar());
            let mut job: Job = Box::pin(async move { store.import(rows, seen, now).await });
            // Polled once here, so that the store's queue has the jobs in the order of the file.
            match futures_util::poll!(&mut job) {
                std::task::Poll::Ready(done) => self.jobs.push_back((Box::pin(std::future::ready(done)), lines)),
                std::task::Poll::Pending => self.jobs.push_back((job, lines)),
            }
            if self.at_once == 1 {
                self.answered().await?;
            }
        }
        Ok(())
    }

    /// Waits for the oldest job and counts what came of it.
    async fn answered(&mut self) -> Result<(), ImportError> {
        let Some((job, lines)) = self.jobs.pop_front() else { return Ok(()) };
        let report = &mut self.parsed.report;
        let mut changed = Vec::new();
        for (imported, line) in job.await?.into_iter().zip(lines) {
            match imported {
                Imported::Created(_) => report.created += 1,
                Imported::Unchanged(_) => report.unchanged += 1,
                Imported::Updated(id, version) => {
                    report.updated += 1;
                    changed.push((id, version));
                }
                Imported::Taken { kind } => {
                    report.bad(line, format!("{kind}: the address belongs to another subscriber"))
                }
                Imported::Twice => report.bad(line, "an earlier row of this file is about the same subscriber".into()),
            }
        }
        if let Some(engine) = self.engine.as_ref().filter(|_| !changed.is_empty()) {
            engine.subscribers_changed(&changed).await;
        }
        Ok(())
    }
}
