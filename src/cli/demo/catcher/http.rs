//! The HTTP sides of the demo: receivers of webhooks that check signatures, the chat platforms' APIs as far as we use them, and
//! an SMS gateway that answers as Kannel does. `GET /messages` shows what came.

use std::net::TcpListener;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::web::{self, Bytes, Data, Json, Path, Query};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, Responder};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Basket;

/// However busy the machine is, a catcher hangs up on nobody: an attempt cut off has an unknown outcome.
const IDLE: Duration = Duration::from_secs(600);

/// Webhooks, chats, and a look into the basket.
pub fn receiver(listener: TcpListener, basket: Basket) -> std::io::Result<Server> {
    let server = HttpServer::new(move || {
        App::new()
            .app_data(Data::new(basket.clone()))
            .route("/", web::get().to(newest))
            .route("/messages", web::get().to(newest))
            .route("/messages/{number}", web::get().to(one))
            .route("/hooks/{name}", web::post().to(webhook))
            .route("/slack/api/chat.postMessage", web::post().to(slack))
            .route("/telegram/{bot}/sendMessage", web::post().to(telegram))
            .route("/whatsapp/{number}/messages", web::post().to(whatsapp))
            .route("/ntfy/", web::post().to(ntfy))
    });
    let server = server.workers(1).keep_alive(IDLE).client_request_timeout(IDLE).disable_signals().shutdown_timeout(1);
    Ok(server.listen(listener)?.run())
}

/// Kannel's `sendsms`.
pub fn gateway(listener: TcpListener, basket: Basket) -> std::io::Result<Server> {
    let server = HttpServer::new(move || {
        App::new().app_data(Data::new(basket.clone())).route("/cgi-bin/sendsms", web::get().to(sms))
    });
    let server = server.workers(1).keep_alive(IDLE).client_request_timeout(IDLE).disable_signals().shutdown_timeout(1);
    Ok(server.listen(listener)?.run())
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    contains: String,
    #[serde(default = "twenty")]
    limit: usize,
    /// Seconds to wait for a first one.
    #[serde(default)]
    wait: u64,
}

fn twenty() -> usize {
    20
}

async fn newest(basket: Data<Basket>, asked: Query<Asked>) -> impl Responder {
    let search = async {
        loop {
            let came = basket.came();
            let items = basket.newest(&asked.contains, asked.limit.min(1000));
            if !items.is_empty() {
                return items;
            }
            came.await;
        }
    };
    let items = tokio::time::timeout(Duration::from_secs(asked.wait.min(600)), search).await.unwrap_or_default();
    let document = json!({
        "distinct": basket.distinct(), "duplicates": basket.duplicates(), "complaints": basket.complaints(),
        "newest": items,
    });
    pretty(&document)
}

async fn one(basket: Data<Basket>, number: Path<u64>) -> impl Responder {
    match basket.number(*number) {
        Some(caught) => pretty(&json!(caught)),
        None => HttpResponse::NotFound().body("there is no such message\n"),
    }
}

fn pretty(document: &Value) -> HttpResponse {
    let text = serde_json::to_string_pretty(document).unwrap_or_default() + "\n";
    HttpResponse::Ok().content_type("application/json").body(text)
}

/// A receiver that believes only what is signed with its own secret (Standard Webhooks).
async fn webhook(basket: Data<Basket>, request: HttpRequest, body: Bytes) -> impl Responder {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (id, timestamp, signatures) = (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"));
    let path = request.path();
    let stamp = timestamp.parse::<i64>().unwrap_or_default();
    let signed = basket.lock().keys.get(path).is_some_and(|keys| {
        let ours: Vec<String> = keys.iter().map(|key| key.sign(id, stamp, &body)).collect();
        signatures.split(' ').any(|theirs| ours.iter().any(|own| own == theirs))
    });
    if id.is_empty() || !signed {
        basket.complain(format!("a webhook at {path} is not signed with its secret"));
        return HttpResponse::Unauthorized().finish();
    }
    basket.take("webhook", Some(id), path, None, String::from_utf8_lossy(&body).into_owned());
    HttpResponse::NoContent().finish()
}

fn text(body: &Value, pointer: &str) -> String {
    body.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_string()
}

async fn slack(basket: Data<Basket>, body: Json<Value>) -> impl Responder {
    let channel = text(&body, "/channel");
    basket.take("slack", None, &channel, None, text(&body, "/text"));
    HttpResponse::Ok().json(json!({ "ok": true, "channel": channel, "ts": "1633362660.000100" }))
}

async fn telegram(basket: Data<Basket>, body: Json<Value>) -> impl Responder {
    basket.take("telegram", None, &text(&body, "/chat_id"), None, text(&body, "/text"));
    HttpResponse::Ok().json(json!({ "ok": true, "result": { "message_id": basket.lock().taken } }))
}

async fn whatsapp(basket: Data<Basket>, body: Json<Value>) -> impl Responder {
    basket.lock().whatsapp_attempts += 1;
    basket.take("whatsapp", None, &text(&body, "/to"), None, text(&body, "/text/body"));
    let id = format!("wamid.{}", basket.lock().taken);
    HttpResponse::Ok().json(json!({ "messaging_product": "whatsapp", "messages": [{ "id": id }] }))
}

async fn ntfy(basket: Data<Basket>, body: Json<Value>) -> impl Responder {
    basket.take("ntfy", None, &text(&body, "/topic"), Some(text(&body, "/title")), text(&body, "/message"));
    HttpResponse::Ok().json(json!({ "id": format!("n{}", basket.lock().taken), "event": "message" }))
}

#[derive(Deserialize)]
struct Sms {
    to: String,
    text: String,
    #[serde(rename = "dlr-url", default)]
    dlr_url: String,
}

async fn sms(basket: Data<Basket>, query: Query<Sms>) -> impl Responder {
    let Query(Sms { to, text, dlr_url }) = query;
    let id = dlr_url.split_once("delivery=").map(|(_, rest)| rest.split('&').next().unwrap_or(rest));
    basket.take("sms", id, &to, None, text);
    HttpResponse::Accepted().body("0: Accepted for delivery")
}
