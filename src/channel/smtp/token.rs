//! A token of OAuth that stands in a file. It lives for about an hour, and whoever renews it writes the file, so it is read for every
//! connection anew.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Longer than any provider's.
const LONGEST: u64 = 8 * 1024;

pub(super) fn read(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(LONGEST + 1).read_to_string(&mut text)?;
    let token = text.trim();
    match !token.is_empty() && token.len() as u64 <= LONGEST && token.bytes().all(|b| b.is_ascii_graphic()) {
        true => Ok(token.into()),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "holds no token")),
    }
}
