//! `GET /v1/stream`: server-sent events. Each row of the journal as it is written (`event:` its kind, `id:` its sequence, by which
//! `Last-Event-ID` resumes), and `progress` with the counts of what runs, a few times a second at most. Without `Last-Event-ID` it
//! begins now. A stream ends when the process stops.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::watch::Receiver;

use super::broadcasts;
use super::gate::Door;
use super::problem::Problem;
use crate::id::BroadcastId;

/// Journal rows in one piece.
const ROWS: usize = 256;

/// Between two pieces: what happens meanwhile comes together.
const PAUSE: Duration = Duration::from_millis(200);

/// A comment keeps proxies from closing a quiet stream, and finds out that nobody reads it any more: who looks at one page after
/// another leaves a stream behind at each.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

struct Reader {
    door: web::Data<Door>,
    happenings: Receiver<u64>,
    after: i64,
    shown: BTreeMap<BroadcastId, Value>,
    begun: bool,
    _place: OwnedSemaphorePermit,
}

pub async fn follow(door: web::Data<Door>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let place = door.streams.clone().try_acquire_owned();
    let place = place.map_err(|_| Problem::unavailable("too many streams are open", 10))?;
    let happenings = door.app.engine.happenings();
    let last = request.headers().get("last-event-id").and_then(|value| value.to_str().ok()?.parse().ok());
    let after = match last {
        Some(last) => last,
        None => door.app.store.journal_end().await?,
    };
    let reader = Reader { door, happenings, after, shown: BTreeMap::new(), begun: false, _place: place };
    let pieces = stream::unfold(reader, |mut reader| async move {
        let piece = reader.next().await?;
        Some((Ok::<Bytes, actix_web::Error>(Bytes::from(piece)), reader))
    });
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header(("x-accel-buffering", "no"))
        .streaming(Box::pin(pieces)))
}

impl Reader {
    /// `None`: it ends.
    async fn next(&mut self) -> Option<String> {
        let stop = self.door.app.stop.clone();
        if !self.begun {
            self.begun = true;
            self.happenings.mark_unchanged();
            let piece = self.read().await?;
            return Some(format!("retry: 1000\n: here\n\n{piece}"));
        }
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                changed = self.happenings.changed() => changed.ok()?,
                () = tokio::time::sleep(KEEP_ALIVE) => return Some(": still here\n\n".into()),
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                () = tokio::time::sleep(PAUSE) => {}
            }
            self.happenings.mark_unchanged();
            let piece = self.read().await?;
            if !piece.is_empty() {
                return Some(piece);
            }
        }
    }

    async fn read(&mut self) -> Option<String> {
        match self.piece().await {
            Ok(piece) => Some(piece),
            Err(problem) => {
                tracing::warn!(%problem, "a stream ends");
                None
            }
        }
    }

    async fn piece(&mut self) -> Result<String, Problem> {
        let store = &self.door.app.store;
        let mut piece = String::new();
        let rows = store.journal(self.after, ROWS, false).await?;
        if rows.len() == ROWS {
            self.happenings.mark_changed(); // there is more
        }
        let mut ended: BTreeSet<BroadcastId> = self.shown.keys().copied().collect();
        for row in rows {
            if row.kind == "broadcast" {
                ended.extend(row.body["broadcast"].as_str().and_then(|id| id.parse::<BroadcastId>().ok()));
            }
            self.after = row.sequence;
            let mut body = row.body;
            body["at"] = json!(row.at);
            piece.push_str(&format!("id: {}\nevent: {}\ndata: {body}\n\n", row.sequence, row.kind));
        }
        let mut running = BTreeMap::new();
        for broadcast in store.live().await? {
            let mut whole = broadcasts::whole(&self.door, &broadcast).await?;
            let counts = whole["counts"].take();
            let progress = json!({ "broadcast": broadcast.id, "state": broadcast.state, "counts": counts,
                "rate": whole["rate"], "seconds_left": whole["seconds_left"] });
            running.insert(broadcast.id, progress);
        }
        // One that ended meanwhile is shown a last time, however short it ran.
        for id in ended.into_iter().filter(|id| !running.contains_key(id)) {
            if let Some(broadcast) = store.broadcast(id).await? {
                let mut whole = broadcasts::whole(&self.door, &broadcast).await?;
                let progress = json!({ "broadcast": id, "state": broadcast.state, "counts": whole["counts"].take() });
                piece.push_str(&format!("event: progress\ndata: {progress}\n\n"));
            }
        }
        for (id, progress) in &running {
            if self.shown.get(id) != Some(progress) {
                piece.push_str(&format!("event: progress\ndata: {progress}\n\n"));
            }
        }
        self.shown = running;
        Ok(piece)
    }
}
