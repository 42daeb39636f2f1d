//! Bodies and parameters, read within bounds.

use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::{FromRequest, HttpRequest, web};
use bytes::{Bytes, BytesMut};
use futures_util::future::LocalBoxFuture;
use futures_util::{FutureExt, StreamExt};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::gate::Door;
use super::problem::Problem;

/// How long a body may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// A whole body of at most `server.body_limit`.
pub struct Body(pub Bytes);

impl Body {
    /// JSON in which no key stands twice.
    pub fn json(&self) -> Result<Value, Problem> {
        Ok(crate::ingest::read_json(&self.0)?)
    }
}

impl FromRequest for Body {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Body, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let limit = request.app_data::<web::Data<Door>>().map_or(0, |door| door.app.config.server.body_limit.0);
        let declared = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let mut payload = payload.take();
        async move {
            if declared.is_some_and(|length| length > limit) {
                return Err(Problem::too_large(limit));
            }
            let whole = async {
                let mut body = BytesMut::new();
                while let Some(chunk) = payload.next().await {
                    let chunk = chunk.map_err(|_| Problem::bad("", "the body was cut off"))?;
                    if body.len() as u64 + chunk.len() as u64 > limit {
                        return Err(Problem::too_large(limit));
                    }
                    body.extend_from_slice(&chunk);
                }
                Ok(Body(body.freeze()))
            };
            tokio::time::timeout(PATIENCE, whole).await.unwrap_or(Err(Problem::too_slow()))
        }
        .boxed_local()
    }
}

/// The query, with unknown names refused by `T`.
pub fn query<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, Problem> {
    let query = web::Query::<T>::from_query(request.query_string());
    query.map(web::Query::into_inner).map_err(|error| Problem::bad("query", crate::config::nearest(&error.to_string())))
}

/// A list's page: how many, and the cursor of the last one seen.
pub fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked {
        None => Ok(100),
        Some(n @ 1..=1000) => Ok(n),
        Some(_) => Err(Problem::bad("limit", "is 1 to 1000")),
    }
}
