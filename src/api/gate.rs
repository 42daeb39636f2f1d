//! What every request passes first: whose it is, how many there were, and whether it may. Enters: a request. Leaves: the
//! same with its `Caller`, or a problem.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{AUTHORIZATION, HOST, HeaderMap, ORIGIN};
use actix_web::middleware::Next;
use actix_web::{FromRequest, HttpMessage, HttpRequest, web};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use tokio::sync::Semaphore;

use super::problem::Problem;
use super::proxy::{self, Network};
use super::ticks::{Tick, Ticks};
use super::token::{self, Caller, Tokens};
use crate::app::App;
use crate::channel::platforms::Platforms;
use crate::quantity::Limit;
use crate::store::TokenRow;
use crate::web::session::{self, COOKIE};
use crate::web::{Refused, is_page};

/// At most so many streams are open at one time.
const STREAMS: usize = 256;

/// What all handlers share.
pub struct Door {
    pub app: Arc<App>,
    pub platforms: Platforms,
    /// Bounds the events that wait for the store.
    pub waiting: Arc<Semaphore>,
    pub streams: Arc<Semaphore>,
    /// The engine's: what is sent from a handler outlives the handler's thread.
    pub runtime: tokio::runtime::Handle,
    pub web: crate::web::Web,
    tokens: Tokens,
    rate: Rate,
    reports: Rate,
    proxies: Vec<Network>,
}

impl Door {
    pub fn new(app: Arc<App>) -> anyhow::Result<Door> {
        crate::telemetry::metrics(); // counts from here on, whoever started us
        let server = &app.config.server;
        let proxies = server.trusted_proxies.iter().map(|text| Network::parse(text)).collect::<Result<_, _>>();
        Ok(Door {
            platforms: crate::app::load_platforms(&app.config)?,
            waiting: Arc::new(Semaphore::new(server.queue.max(1))),
            streams: Arc::new(Semaphore::new(STREAMS)),
            runtime: tokio::runtime::Handle::current(),
            web: crate::web::Web::default(),
            tokens: Tokens::new(app.store.clone(), app.clock.clone()),
            rate: Rate::new("server.rate", server.rate, Ticks::of(app.clock.clone())),
            reports: Rate::new("signals.rate", app.config.signals.rate, Ticks::of(app.clock.clone())),
            proxies: proxies.map_err(anyhow::Error::msg)?,
            app,
        })
    }

    fn client(&self, request: &HttpRequest) -> IpAddr {
        let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
        let forwarded: Vec<&str> =
            request.headers().get_all("x-forwarded-for").filter_map(|value| value.to_str().ok()).collect();
        proxy::client(peer, &forwarded, &self.proxies)
    }

    /// The network of somebody who reports a problem without a token, if it may do so now.
    pub fn may_report(&self, request: &HttpRequest) -> Result<IpAddr, Problem> {
        let network = proxy::network(self.client(request));
        self.reports.check(Key::Client(network))?;
        Ok(network)
    }

    async fn admit(&self, request: &HttpRequest) -> Result<Option<Caller>, Problem> {
        let client = proxy::counted(self.client(request));
        let needed = token::needed(request.method().as_str(), place(request));
        let given = match needed {
            Some(_) => match self.bearer(request)? {
                None => self.session(request, client).await?,
                bearer => bearer,
            },
            None => None,
        };
        // Tokens are looked up only where one is needed, and after the client was counted: guessing is bounded.
        let known = match (needed, &given) {
            (None, _) => None,
            (Some(_), Some(hash)) if self.tokens.has(hash) => Some(self.tokens.all(Some(hash)).await?),
            (Some(_), hash) => {
                self.rate.check(Key::Client(client))?;
                Some(self.tokens.all(hash.as_ref()).await?)
            }
        };
        let (Some(needed), Some(known)) = (needed, known) else {
            self.rate.check(Key::Client(client))?;
            return Ok(None);
        };
        let caller = self.known(request, given, &known)?;
        caller.needs(needed)?;
        Ok(Some(caller))
    }

    fn known(
        &self,
        request: &HttpRequest,
        given: Option<[u8; 32]>,
        known: &HashMap<[u8; 32], TokenRow>,
    ) -> Result<Caller, Problem> {
        match given.map(|hash| (hash, known.get(&hash))) {
            Some((hash, Some(row))) => {
                self.rate.check(Key::Token(hash))?;
                Ok(token::caller(row))
            }
            Some((_, None)) if !known.is_empty() => Err(Problem::unauthorized("the token is not known")),
            _ if known.is_empty() && self.app.config.server.listen.ip().is_loopback() => {
                ours(request.headers(), &self.app.config.public_url())?;
                Ok(Caller::local())
            }
            _ => Err(Problem::unauthorized("send a token as Authorization: Bearer …")),
        }
    }

    /// Whose request it is, at a place that asks for itself: vendors send a token as they can, also as the password of HTTP Basic
    /// or as `?token=` in the URL.
    pub async fn caller(&self, request: &HttpRequest) -> Result<Caller, Problem> {
        let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let basic = header.and_then(|text| {
            let (scheme, encoded) = text.split_once(' ')?;
            let decoded = STANDARD.decode(encoded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
            Some(String::from_utf8(decoded).ok()?.split_once(':')?.1.to_string())
        });
        let query = || url::form_urlencoded::parse(request.query_string().as_bytes()).find(|(name, _)| name == "token");
        let given = match (basic, header) {
            (Some(password), _) => Some(token::hash(&password)),
            (None, Some(_)) => self.bearer(request)?,
            (None, None) => query().map(|(_, token)| token::hash(&token)),
        };
        let known = self.tokens.all(given.as_ref()).await?;
        self.known(request, given, &known)
    }

    /// The digest of the token that came with a request.
    fn bearer(&self, request: &HttpRequest) -> Result<Option<[u8; 32]>, Problem> {
        if let Some(header) = request.headers().get(AUTHORIZATION) {
            let token = header.to_str().ok().and_then(|text| {
                let (scheme, token) = text.split_once(' ')?;
                scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
            });
            return token
                .filter(|token| !token.is_empty())
                .map(|token| Some(token::hash(token)))
                .ok_or_else(|| Problem::unauthorized("Authorization is not of the form Bearer …"));
        }
        Ok(None)
    }

    /// That of a browser's session, which is for reading only. The client is counted before it is looked up: guessing is bounded.
    async fn session(&self, request: &HttpRequest, client: IpAddr) -> Result<Option<[u8; 32]>, Problem> {
        let Some(cookie) = request.cookie(COOKIE).filter(|_| request.method().is_safe()) else { return Ok(None) };
        self.rate.check(Key::Client(client))?;
        Ok(session::token(&*self.app.store, cookie.value(), self.app.clock.calendar()).await?)
    }

    /// Whose token this is.
    pub async fn token(&self, hash: &[u8; 32]) -> Result<Option<Caller>, Problem> {
        Ok(self.tokens.all(Some(hash)).await?.get(hash).map(token::caller))
    }
}

/// The path as places are found by it: what it encodes without need is decoded, `/%761` is `/v1`.
fn place(request: &HttpRequest) -> &str {
    request.match_info().as_str()
}

/// An open server is for this machine's own programs: not for a page of somebody else's that a browser here shows.
fn ours(headers: &HeaderMap, public_url: &str) -> Result<(), Problem> {
    let text = |name| headers.get(name).and_then(|value: &actix_web::http::header::HeaderValue| value.to_str().ok());
    let public = public_url.split_once("://").map_or(public_url, |(_, host)| host);
    let known = |host: &str| {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        };
        let bare = name.trim_matches(['[', ']']);
        host == public || name == "localhost" || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    };
    let host_is_ours = text(HOST).is_none_or(known);
    let origin_is_ours =
        text(ORIGIN).is_none_or(|origin| origin.split_once("://").is_some_and(|(_, host)| known(host)));
    match host_is_ours && origin_is_ours {
        true => Ok(()),
        false => Err(Problem::forbidden("without tokens only programs and pages of this machine are served")),
    }
}

pub async fn gate<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    if let Some(door) = request.app_data::<web::Data<Door>>().cloned() {
        match door.admit(request.request()).await {
            Ok(Some(caller)) => drop(request.extensions_mut().insert(caller)),
            Ok(None) => {}
            // People get a page, or the way to the door.
            Err(problem) if is_page(place(request.request())) => {
                return Err(Refused::at(place(request.request()), problem).into());
            }
            Err(problem) => return Err(problem.into()),
        }
    }
    next.call(request).await
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = std::future::Ready<Result<Caller, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut actix_web::dev::Payload) -> Self::Future {
        let caller = request.extensions().get::<Caller>().cloned();
        std::future::ready(caller.ok_or_else(|| Problem::unauthorized("send a token as Authorization: Bearer …")))
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    Token([u8; 32]),
    Client(IpAddr),
}

/// A limit for each token or client. What has not asked for a while is forgotten.
struct Rate {
    /// The key of the configuration that sets it.
    name: &'static str,
    limiter: RateLimiter<Key, HashMapStateStore<Key>, Ticks, NoOpMiddleware<Tick>>,
    ticks: Ticks,
    asked: AtomicU32,
}

/// Requests between two times at which idle keys are forgotten.
const SWEEP: u32 = 8192;

impl Rate {
    fn new(name: &'static str, limit: Limit, ticks: Ticks) -> Rate {
        let burst = NonZeroU32::new(limit.count).unwrap_or(NonZeroU32::MIN);
        let each = limit.window / burst.get();
        let quota = Quota::with_period(each).unwrap_or(Quota::per_second(burst)).allow_burst(burst);
        Rate {
            name,
            limiter: RateLimiter::new(quota, HashMapStateStore::default(), ticks.clone()),
            ticks,
            asked: AtomicU32::new(0),
        }
    }

    fn check(&self, key: Key) -> Result<(), Problem> {
        if self.asked.fetch_add(1, Ordering::Relaxed) % SWEEP == SWEEP - 1 {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(&key).map_err(|until| {
            Problem::too_many(self.name, until.wait_time_from(self.ticks.now()).as_millis().div_ceil(1000) as u64)
        })
    }
}
