//! What comes with the binary: the pages' templates, and the few files that pages load, under names that change with their
//! content, so that a browser may keep them.

use std::sync::OnceLock;

use actix_web::http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use actix_web::{HttpRequest, HttpResponse, web};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "src/web/pages/"]
pub struct Pages;

impl Pages {
    /// Name without `.hbs`, and text.
    pub fn all() -> impl Iterator<Item = (String, String)> {
        Pages::iter().filter_map(|path| {
            let name = path.strip_suffix(".hbs")?.to_string();
            let text = String::from_utf8(Pages::get(&path)?.data.into_owned()).ok()?;
            Some((name, text))
        })
    }
}

#[derive(RustEmbed)]
#[folder = "src/web/assets/"]
struct Assets;

/// The address of one of the files, with the beginning of its digest.
pub fn linked(name: &str) -> String {
    static DIGESTS: OnceLock<Vec<(String, String)>> = OnceLock::new();
    let digests = DIGESTS.get_or_init(|| {
        let digest = |path: &str| Assets::get(path).map(|file| hex(&file.metadata.sha256_hash()[..6]));
        Assets::iter().filter_map(|path| Some((path.to_string(), digest(&path)?))).collect()
    });
    match digests.iter().find(|(known, _)| known == name) {
        Some((_, digest)) => format!("/assets/{name}?{digest}"),
        None => format!("/assets/{name}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub async fn send(request: HttpRequest, name: web::Path<String>) -> HttpResponse {
    let Some(file) = Assets::get(&name) else { return HttpResponse::NotFound().finish() };
    let kind = match name.rsplit_once('.') {
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        _ => "application/octet-stream",
    };
    let digest = hex(&file.metadata.sha256_hash()[..6]);
    // Under an older name the newest file is sent, and not kept.
    let kept = if request.query_string() == digest { "public, max-age=31536000, immutable" } else { "no-cache" };
    let tag = format!("\"{digest}\"");
    let known = request.headers().get(IF_NONE_MATCH).is_some_and(|given| given.as_bytes() == tag.as_bytes());
    let mut response = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header((CACHE_CONTROL, kept))
        .insert_header((ETAG, tag))
        .insert_header(("x-content-type-options", "nosniff"));
    match known {
        true => response.finish(),
        false => response.content_type(kind).body(file.data.into_owned()),
    }
}
