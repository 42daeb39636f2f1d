//! The people's door: the console and the public pages.

use actix_web::web::ServiceConfig;

/// Adds the people's routes to the server's.
pub fn configure(_config: &mut ServiceConfig) {}
