//! The places that the server has: each is registered, and noted, by one call, so that what is documented can be held against
//! what is there. A place answers other methods with 405.

use actix_web::http::Method;
use actix_web::web::{self, ServiceConfig};
use actix_web::{FromRequest, Handler, Responder, Route};

use super::problem::Problem;

/// A method and a path as OpenAPI writes it: `("GET", "/v1/incidents/{id}")`.
pub type Noted = (String, String);

pub struct Places<'a> {
    config: &'a mut ServiceConfig,
    noted: Vec<Noted>,
}

/// What a place does with one method.
pub struct Answer(Method, Route);

pub fn get<F: Handler<Args>, Args: FromRequest + 'static>(handler: F) -> Answer
where
    F::Output: Responder + 'static,
{
    Answer(Method::GET, web::get().to(handler))
}

pub fn post<F: Handler<Args>, Args: FromRequest + 'static>(handler: F) -> Answer
where
    F::Output: Responder + 'static,
{
    Answer(Method::POST, web::post().to(handler))
}

pub fn patch<F: Handler<Args>, Args: FromRequest + 'static>(handler: F) -> Answer
where
    F::Output: Responder + 'static,
{
    Answer(Method::PATCH, web::patch().to(handler))
}

pub fn delete<F: Handler<Args>, Args: FromRequest + 'static>(handler: F) -> Answer
where
    F::Output: Responder + 'static,
{
    Answer(Method::DELETE, web::delete().to(handler))
}

impl Places<'_> {
    pub fn add<const N: usize>(&mut self, path: &str, answers: [Answer; N]) {
        let mut place = web::resource(path).default_service(web::to(async || Problem::method().error()));
        for Answer(method, route) in answers {
            self.noted.push((method.to_string(), without_patterns(path)));
            place = place.route(route);
        }
        self.config.service(place);
    }

    /// What answers for all paths of a pattern that are no place: not noted, since nothing is there.
    pub fn nothing<F: Handler<Args>, Args: FromRequest + 'static>(&mut self, pattern: &str, handler: F)
    where
        F::Output: Responder + 'static,
    {
        self.config.service(web::resource(pattern).to(handler));
    }
}

/// Registers everything, and says what that is.
pub fn register(config: &mut ServiceConfig) -> Vec<Noted> {
    let mut places = Places { config, noted: Vec::new() };
    super::routes(&mut places);
    crate::web::pages(&mut places);
    places.noted
}

/// Every place of the server, in the order in which they are tried.
pub fn all() -> Vec<Noted> {
    let mut noted = Vec::new();
    let _ = actix_web::App::new().configure(|config| noted = register(config));
    noted
}

/// `/v1/channels/{name:[^/:]+}:pause` is `/v1/channels/{name}:pause`.
fn without_patterns(path: &str) -> String {
    let mut out = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        let name = name.split_once(':').map_or(name, |(name, _)| name);
        out.push_str(&format!("{before}{{{name}}}"));
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_written_without_the_patterns_of_its_parameters() {
        assert_eq!(without_patterns("/v1/a/{id:[^/:]+}/b/{place:[0-9]+}:verify"), "/v1/a/{id}/b/{place}:verify");
        assert_eq!(without_patterns("/v1/a:stop"), "/v1/a:stop");
    }

    #[test]
    fn no_place_is_registered_twice() {
        let all = all();
        for place in &all {
            assert_eq!(all.iter().filter(|other| *other == place).count(), 1, "{place:?}");
        }
    }
}
