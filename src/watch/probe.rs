//! An URL's answer, as it is expected. Not to be answered at all is what is looked for here, and no failure of the watcher.

use std::collections::BTreeMap;

use regex::Regex;

use super::Finding;
use super::kept::Kept;
use super::words::Speaks;

/// What is wrong with an answer.
pub fn wrong(status: u16, body: &[u8], expected: u16, has: Option<&Regex>) -> Option<String> {
    if status != expected {
        return Some(format!("it answers {status}, not {expected}"));
    }
    let lacks = has.is_some_and(|has| !has.is_match(&String::from_utf8_lossy(body)));
    lacks.then(|| "its answer does not hold what it should".into())
}

/// After so many wrong answers in a row, until the first that is right.
pub fn says(kept: &Kept, speaks: &Speaks, least: u32) -> BTreeMap<String, Finding> {
    let Some(wrong) = kept.wrong.as_ref().filter(|_| kept.failures >= least) else { return BTreeMap::new() };
    let finding = |component: &str| (component.to_string(), Finding { text: wrong.clone(), cause: String::new() });
    speaks.ours().into_iter().map(finding).collect()
}
