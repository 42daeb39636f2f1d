//! What may stand under `[watchers.NAME]`, and how what is wrong is said.

use super::settings::Reads;
use super::{Settings, line};
use crate::config::Config;

const COMPONENTS: &str = "[components.web]\ntitle = \"W\"\n[components.api]\ntitle = \"A\"\n";

fn read(watcher: &str) -> Result<Settings, String> {
    let text = format!("{COMPONENTS}[watchers.w]\n{watcher}\n");
    let config = Config::from_toml(&text, "own.toml", std::iter::empty()).map_err(|error| error.to_string())?;
    Ok(Settings::of("w", &config.watchers["w"], &config).expect("it was checked"))
}

#[test]
fn what_is_wrong_with_a_watcher_is_said_with_its_line() {
    let page = "kind = \"statuspage\"\nurl = \"https://a.example\"\ncomponent = \"web\"\n";
    let feed = page.replace("statuspage", "feed");
    let probe = page.replace("statuspage", "url");
    let posts = page.replace("statuspage", "mastodon");
    for (watcher, line, message) in [
        ("url = \"https://a.example\"".to_string(), 5, "watchers.w: missing field `kind`"),
        (page.replace("statuspage", "pages"), 6, "unknown variant `pages`, expected one of `statuspage`, `feed`, "),
        (format!("{page}intervall = \"60s\""), 9, "unknown key \"intervall\"; did you mean \"interval\"?"),
        (page.replace("https", "ftp"), 7, "watchers.w.url: \"ftp\" is neither http nor https"),
        (page.replace("//a.", "//u:p@a."), 7, "watchers.w.url: a URL with a user's name or password in it is refused"),
        (
            page.replace("\"web\"", "\"wbe\""),
            8,
            "watchers.w.component: there is no component \"wbe\"; did you mean \"web\"?",
        ),
        (page.replace("component = \"web\"", ""), 6, "watchers.w.kind: needs component"),
        (format!("{page}components = {{ A = \"api\" }}"), 8, "watchers.w.component: stands beside components"),
        (
            page.replace("component = \"web\"", "components = { A = \"apu\" }"),
            8,
            "watchers.w.components: there is no component",
        ),
        (
            format!("{probe}components = {{ A = \"api\" }}"),
            9,
            "watchers.w.components: is only for a watcher of kind statuspage, feed",
        ),
        (format!("{page}words = [\"a\"]"), 9, "watchers.w.words: is only for a watcher of kind feed, cap, mastodon"),
        (format!("{page}interval = \"10s\""), 9, "watchers.w.interval: is shorter than 30s"),
        (format!("{probe}interval = \"1s\""), 9, "watchers.w.interval: is shorter than 5s"),
        (format!("{page}interval = \"8m\""), 9, "watchers.w.interval: is longer than half of signals.window"),
        (format!("{page}token = \"a b\""), 9, "watchers.w.token: has characters that no header may hold"),
        (format!("{feed}words = [\" \"]"), 9, "watchers.w.words: has an empty word"),
        (format!("{feed}lasts = \"1s\""), 9, "watchers.w.lasts: is from 1m to 30d"),
        (posts.clone(), 6, "watchers.w.kind: needs tag"),
        (format!("{posts}tag = \"#\""), 9, "watchers.w.tag: is empty"),
        (format!("{posts}tag = \"{}\"", "t".repeat(101)), 9, "watchers.w.tag: has at most 100 characters"),
        (format!("{posts}tag = \"t\"\nposts = 41"), 10, "watchers.w.posts: is from 1 to 40"),
        (format!("{posts}tag = \"t\"\nwithin = \"2d\""), 10, "watchers.w.within: is from 1m to 1d"),
        (
            format!("{posts}tag = \"t\"").replace("a.example", "a.example/@b"),
            7,
            "watchers.w.url: is that of the server alone",
        ),
        (format!("{probe}status = 99"), 9, "watchers.w.status: is from 200 to 599"),
        (format!("{probe}has = \"a\"\npattern = \"b\""), 10, "watchers.w.pattern: stands beside has"),
        (format!("{probe}pattern = \"(\""), 9, "watchers.w.pattern: is no pattern: "),
        (format!("{probe}failures = 0"), 9, "watchers.w.failures: is 1 or more"),
        (format!("{probe}time_limit = \"2m\""), 9, "watchers.w.time_limit: is from 100ms to 1m"),
    ] {
        let error = read(&watcher).map(|_| ()).expect_err(&watcher);
        let expected = format!("own.toml:{line}: {message}");
        assert!(error.starts_with(&expected), "{error:?} is not {expected:?}");
    }
    let named = format!("{COMPONENTS}[watchers.\"a/b\"]\n{page}");
    let error = Config::from_toml(&named, "own.toml", std::iter::empty()).expect_err("refused").to_string();
    assert!(error.starts_with("own.toml:6: watchers.a/b.kind: a watcher's name has letters"), "{error}");
}

#[test]
fn what_is_asked_for_and_by_what_it_is_read() {
    let server = "kind = \"mastodon\"\nurl = \"https://a.example/\"\ncomponent = \"web\"\ntag = \"#große störung\"";
    let target = read(server).expect("fits").target();
    assert_eq!(target, "https://a.example/api/v1/timelines/tag/gro%C3%9Fe%20st%C3%B6rung?limit=40");
    let feed = "kind = \"feed\"\nurl = \"https://a.example\"\ncomponent = \"web\"";
    let digest = |more: &str| read(&format!("{feed}\n{more}")).expect("fits").digest();
    assert_eq!(digest(""), digest("interval = \"2m\""), "how often it is asked changes nothing of what is read");
    assert_ne!(digest(""), digest("words = [\"a\"]"));
    assert_ne!(digest(""), digest("lasts = \"3h\""));
    let Reads::Url { has: Some(has), .. } =
        read("kind = \"url\"\nurl = \"https://a.example\"\ncomponent = \"web\"\nhas = \"a.b\"").expect("fits").reads
    else {
        panic!("an URL")
    };
    assert!(has.is_match("a.b") && !has.is_match("axb"), "a text is no pattern");
    let settings = format!(
        "{:?}",
        read("kind = \"feed\"\nurl = \"https://a.example/?key=k-1\"\ncomponent = \"web\"\ntoken = \"t-1\"")
    );
    assert!(!settings.contains("k-1") && !settings.contains("t-1"), "{settings}");
}

#[test]
fn what_a_stranger_wrote_is_one_line_of_bounded_length() {
    assert_eq!(line(" a\n\u{1b}[31m b\u{0}\tc "), "a [31m b c");
    assert_eq!(line(&"ä".repeat(400)), format!("{}…", "ä".repeat(300)));
}
