//! Ingest's two other sides: a bare actix route that reads and decides as the broker does and answers at once instead of
//! committing, and the client that posts to either.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use actix_web::http::header::CONTENT_TYPE;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use anyhow::{Context, ensure};
use loudhailer::clock::Time;
use loudhailer::config::Config;
use loudhailer::incident::{self, Incident};
use loudhailer::ingest::cloudevents::{Incoming, read_http};
use loudhailer::ingest::event::Principal;
use loudhailer::plan::{self, Plans};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::broker;

struct Desk {
    plans: Plans,
    incidents: Mutex<HashMap<String, Incident>>,
}

pub async fn serve() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    broker::write_plans(folder.path())?;
    let text = format!("[paths]\nplans = \"{}\"\n", folder.path().join("plans").display());
    let config = Config::from_toml(&text, "the route's configuration", std::iter::empty())?;
    let desk = web::Data::new(Desk { plans: loudhailer::app::load_plans(&config)?, incidents: Mutex::default() });
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", json!(listener.local_addr()?.to_string()));
    let app = move || App::new().app_data(desk.clone()).route("/v1/events", web::post().to(take));
    HttpServer::new(app).workers(1).listen(listener)?.run().await?;
    Ok(())
}

async fn take(desk: web::Data<Desk>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let headers = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let Ok(Incoming::One(event)) = read_http(content_type, headers, &body, &Principal::Machine("bench".into())) else {
        return HttpResponse::BadRequest().finish();
    };
    let now = Time(jiff::Timestamp::now().as_millisecond());
    let mut incidents = desk.incidents.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let known = incidents.get(&event.incident).cloned();
    let Ok(change) = incident::apply(known, &event, now, Duration::from_secs(86_400)) else {
        return HttpResponse::UnprocessableEntity().finish();
    };
    let draws = plan::draw(&change, &[], &desk.plans, None, now, &mut fastrand::Rng::with_seed(1));
    let answer = json!({ "incident": change.incident.key, "update": change.incident.last_number,
        "broadcasts": draws.iter().map(|draw| &draw.plan).collect::<Vec<_>>(), "duplicate": false });
    incidents.insert(event.incident, change.incident);
    HttpResponse::Accepted().json(answer)
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Posting {
    pub host: String,
    pub connections: usize,
    pub count: u64,
    pub incidents: u64,
}

/// Posts new events over keep-alive connections, each as soon as the one before is answered.
pub async fn post(posting: Posting) -> anyhow::Result<()> {
    let posting = Rc::new(posting);
    let next = Rc::new(Cell::new(0));
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..posting.connections {
        tasks.spawn_local(connection(posting.clone(), next.clone()));
    }
    let mut accepted = 0;
    while let Some(ended) = tasks.join_next().await {
        accepted += ended??;
    }
    println!("{}", json!({ "seconds": began.elapsed().as_secs_f64(), "accepted": accepted }));
    Ok(())
}

async fn connection(posting: Rc<Posting>, next: Rc<Cell<u64>>) -> anyhow::Result<u64> {
    let mut stream = TcpStream::connect(&posting.host).await?;
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(4096);
    let mut accepted = 0;
    loop {
        let n = next.get();
        if n >= posting.count {
            return Ok(accepted);
        }
        next.set(n + 1);
        let body = broker::event(&format!("e{n}"), &format!("i{}", n % posting.incidents), "minor").to_string();
        let request = format!(
            "POST /v1/events HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            posting.host,
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let (status, end) = loop {
            ensure!(stream.read_buf(&mut buffer).await? > 0, "closed");
            if let Some(answer) = answer(&buffer)? {
                break answer;
            }
        };
        ensure!(status == 202, "{}", String::from_utf8_lossy(&buffer));
        buffer.drain(..end);
        accepted += 1;
    }
}

fn answer(buffer: &[u8]) -> anyhow::Result<Option<(u16, usize)>> {
    let text = std::str::from_utf8(buffer)?;
    let Some((head, rest)) = text.split_once("\r\n\r\n") else { return Ok(None) };
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let length: usize = length.context("a length")?;
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    Ok((rest.len() >= length).then_some((status, head.len() + 4 + length)))
}
