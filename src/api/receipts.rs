//! `/v1/receipts/{channel}`: what platforms report. Verified by the platform's signature, matched to deliveries, kept where they
//! match nothing yet. Of a channel that is compromised none counts.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::body::Body;
use super::gate::Door;
use super::problem::Problem;
use crate::app::NotKept;
use crate::receipt::{Arrived, BadReceipt, Reading};

/// Whoever has a channel's credentials can report what never was: that a message arrived, or that an address is gone, to which then
/// nothing more would be sent. A platform that repeats its reports is heard once the channel goes on.
const COMPROMISED: &str = "the channel is compromised: nobody knows who reports, and nothing was taken";
const AGAIN: u64 = 600;

pub async fn take(
    door: web::Data<Door>,
    name: web::Path<String>,
    request: HttpRequest,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let app = &door.app;
    let missing = || Problem::not_found(format!("no channel {:?} takes receipts", name.as_str()));
    let (id, channel) = app.channel(&name).ok_or_else(missing)?;
    let path = request.uri().path_and_query().map_or(request.path(), |path| path.as_str());
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).map(String::from);
    let arrived = Arrived { method: request.method().as_str(), path, header: &header, body: &body.0 };
    let receipts = match channel.receipts(&arrived).ok_or_else(missing)? {
        Ok(Reading::Challenge(answer)) => return Ok(HttpResponse::Ok().content_type("text/plain").body(answer)),
        Ok(Reading::Receipts(_)) if app.is_compromised(*id) => {
            metrics::counter!("loudhailer_receipts_refused_total", "channel" => channel.name.clone()).increment(1);
            return Err(Problem::unavailable(COMPROMISED, AGAIN));
        }
        Ok(Reading::Receipts(receipts)) => receipts,
        Err(BadReceipt::Signature) => return Err(Problem::forbidden(BadReceipt::Signature.to_string())),
        Err(bad) => return Err(Problem::bad("", bad.to_string())),
    };
    let (mut matched, mut kept) = (0, 0);
    for receipt in receipts {
        match app.keep(*id, channel, receipt).await {
            Ok(true) => matched += 1,
            Ok(false) => kept += 1,
            Err(NotKept::Foreign) => return Err(Problem::forbidden(NotKept::Foreign.to_string())),
            Err(NotKept::Store(error)) => return Err(error.into()),
        }
    }
    Ok(HttpResponse::Ok().json(json!({ "matched": matched, "kept": kept })))
}
