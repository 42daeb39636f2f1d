//! Signature Version 4 of AWS (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>): a keyed
//! digest of the method, the path, the query, some headers and the body, by a key that is another each day, service and region.

use std::sync::{Mutex, PoisonError};

use hyper::Method;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::Uri;
use ring::{digest, hmac};

use super::auth::Encoding;
use crate::clock::Time;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// Of one access key, for one service in one region.
pub struct Sigv4 {
    pub key_id: String,
    pub secret: String,
    /// Of temporary credentials.
    pub token: Option<String>,
    pub region: String,
    pub service: String,
    /// The day, and its key: made once a day.
    today: Mutex<Option<(String, hmac::Key)>>,
}

impl Sigv4 {
    pub fn new(key_id: String, secret: String, token: Option<String>, region: String, service: String) -> Sigv4 {
        Sigv4 { key_id, secret, token, region, service, today: Mutex::default() }
    }

    /// Adds the headers that sign the request. Of those that are there, `host` and `content-type` are signed.
    pub fn sign(
        &self,
        method: &Method,
        uri: &Uri,
        body: &[u8],
        now: Time,
        headers: &mut HeaderMap,
    ) -> Result<(), String> {
        let wrong = |_| "a value does not fit into a header".to_string();
        let at = now.timestamp().strftime("%Y%m%dT%H%M%SZ").to_string();
        let (day, _) = at.split_once('T').ok_or("the time has no day")?;
        headers.insert(DATE, HeaderValue::from_str(&at).map_err(wrong)?);
        if let Some(token) = &self.token {
            let mut token = HeaderValue::from_str(token).map_err(wrong)?;
            token.set_sensitive(true);
            headers.insert(TOKEN, token);
        }
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let (canonical, signed) = canonical(method, uri, body, headers);
        let text = format!("{ALGORITHM}\n{at}\n{scope}\n{}", hex(canonical.as_bytes()));
        let signature = Encoding::Hex.write(hmac::sign(&self.key(day), text.as_bytes()).as_ref());
        let authorization =
            format!("{ALGORITHM} Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}", self.key_id);
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&authorization).map_err(wrong)?);
        Ok(())
    }

    fn key(&self, day: &str) -> hmac::Key {
        let mut today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, key)) = &*today
            && of == day
        {
            return key.clone();
        }
        let first = format!("AWS4{}", self.secret);
        let key = [day, &self.region, &self.service, "aws4_request"]
            .iter()
            .fold(hmac::Key::new(hmac::HMAC_SHA256, first.as_bytes()), |key, text| {
                hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, text.as_bytes()).as_ref())
            });
        *today = Some((day.to_string(), key.clone()));
        key
    }
}

fn hex(bytes: &[u8]) -> String {
    Encoding::Hex.write(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// The request in the form that both sides can make, and the names of the headers in it.
fn canonical(method: &Method, uri: &Uri, body: &[u8], headers: &HeaderMap) -> (String, String) {
    let mut query: Vec<&str> = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).collect();
    query.sort_unstable();
    let mut text = String::with_capacity(512);
    text.extend([method.as_str(), "\n"]);
    encode(uri.path(), &mut text);
    text.push('\n');
    for (at, pair) in query.into_iter().enumerate() {
        // A name without a value has an empty one.
        text.extend([if at > 0 { "&" } else { "" }, pair, if pair.contains('=') { "" } else { "=" }]);
    }
    text.push('\n');
    let mut signed = String::with_capacity(64);
    // In the order of the alphabet.
    for name in [CONTENT_TYPE, HOST, DATE, TOKEN] {
        if let Some(value) = headers.get(&name) {
            text.extend([name.as_str(), ":"]);
            for (at, word) in value.to_str().unwrap_or_default().split_whitespace().enumerate() {
                text.extend([if at > 0 { " " } else { "" }, word]);
            }
            text.push('\n');
            signed.extend([if signed.is_empty() { "" } else { ";" }, name.as_str()]);
        }
    }
    text.extend(["\n", &signed, "\n", &hex(body)]);
    (text, signed)
}

/// A path that is encoded already, once more, as every service but S3 has it.
fn encode(path: &str, out: &mut String) {
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 30 August 2015, 12:36:00, of the key that AWS publishes with its vectors.
    fn signed(method: Method, uri: &str, token: Option<&str>, more: &[(HeaderName, &str)], body: &str) -> HeaderMap {
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let token = token.map(String::from);
        let key = Sigv4::new("AKIDEXAMPLE".into(), secret.into(), token, "us-east-1".into(), "service".into());
        let mut headers = HeaderMap::new();
        for (name, value) in more.iter().chain([&(HOST, "example.amazonaws.com")]) {
            headers.insert(name, HeaderValue::from_str(value).expect("a value"));
        }
        let at = Time::parse("2015-08-30T12:36:00Z").expect("a time");
        key.sign(&method, &uri.parse().expect("a path"), body.as_bytes(), at, &mut headers).expect("signed");
        headers
    }

    /// Of the suite that AWS publishes, by the names of its folders; and of botocore, which is AWS's own.
    #[test]
    fn signatures_are_those_of_the_vectors_that_aws_publishes() {
        let form = (CONTENT_TYPE, "application/x-www-form-urlencoded");
        let (get, post) = (Method::GET, Method::POST);
        for (name, headers, signed_headers, signature) in [
            (
                "get-vanilla",
                signed(get.clone(), "/", None, &[], ""),
                "host;x-amz-date",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "post-vanilla",
                signed(post.clone(), "/", None, &[], ""),
                "host;x-amz-date",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "get-vanilla-query-order-key-case",
                signed(get.clone(), "/?Param2=value2&Param1=value1", None, &[], ""),
                "host;x-amz-date",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "post-x-www-form-urlencoded",
                signed(post.clone(), "/", None, std::slice::from_ref(&form), "Param1=value1"),
                "content-type;host;x-amz-date",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
            (
                "botocore, a path to be encoded again",
                signed(get.clone(), "/v2/a%20b/~c", None, &[], ""),
                "host;x-amz-date",
                "9c1ea64668d5aea58673824ab2d4f2f047dd6a9837b560dd0c86f0df0fc1608e",
            ),
            (
                "botocore, temporary credentials",
                signed(
                    post.clone(),
                    "/?a",
                    Some("AQoDYXdzEPT//////////wEXAMPLE=="),
                    std::slice::from_ref(&form),
                    "a=%C3%A5",
                ),
                "content-type;host;x-amz-date;x-amz-security-token",
                "7505a98002b8259b82ee99f3e7978c3fe711a46e8d0e65f9c20b2304042bf3a1",
            ),
        ] {
            let shown = headers[AUTHORIZATION].to_str().expect("text");
            let expected = format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                 SignedHeaders={signed_headers}, Signature={signature}"
            );
            assert_eq!(shown, expected, "{name}");
            assert_eq!(headers[DATE], "20150830T123600Z");
        }
    }

    #[test]
    fn the_key_of_a_day_is_made_once_and_the_next_day_has_another() {
        let key = Sigv4::new("a".into(), "b".into(), None, "eu".into(), "ses".into());
        let of = |day: &str| hmac::sign(&key.key(day), b"x").as_ref().to_vec();
        let known = || key.today.lock().expect("alone").as_ref().map(|(day, _)| day.clone());
        assert_eq!(known(), None);
        assert_eq!(of("20150830"), of("20150830"));
        assert_eq!(known().as_deref(), Some("20150830"));
        assert_ne!(of("20150830"), of("20150831"));
    }
}
