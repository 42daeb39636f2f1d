//! A real browser: headless Chromium, driven through chromium-driver by the W3C's WebDriver over plain HTTP. One for each test,
//! with a profile of its own; it ends with the test, also when that fails.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use serde_json::{Value, json};

use crate::harness::Client;
use crate::peers::peers;

pub struct Browser {
    driver: Child,
    port: u16,
    client: Client,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// `None`: no browser is there, and the test is skipped.
    pub async fn start() -> Option<Browser> {
        let [chromium, chromedriver] = peers(["chromium", "chromedriver"])?;
        let profile = tempfile::tempdir().expect("a folder");
        let mut driver = Command::new(chromedriver)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts");
        let mut lines = BufReader::new(driver.stdout.take().expect("its output")).lines();
        let port = lines.find_map(|line| {
            let line = line.ok()?;
            line.split("on port ").nth(1)?.trim_end_matches('.').trim().parse().ok().filter(|port| *port != 0)
        });
        let port = port.expect("chromedriver says its port");
        // Read on, so that it never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        let profile_folder = format!("--user-data-dir={}", profile.path().display());
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-sync",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-dev-shm-usage",
            "--force-color-profile=srgb",
            "--lang=en-GB",
            &profile_folder,
        ];
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "binary": chromium, "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
            "timeouts": { "script": 25_000, "pageLoad": 25_000, "implicit": 5_000 },
        } } });
        let mut browser = Browser { driver, port, client: Client::to(port), session: String::new(), _profile: profile };
        let answer = browser.client.json("POST", "/session", &capabilities).await;
        browser.session = answer.json()["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("{answer:?}")).into();
        Some(browser)
    }

    async fn command(&self, method: &str, path: &str, body: Value) -> Value {
        let path = format!("/session/{}{path}", self.session);
        let answer = match method {
            "GET" => self.client.get(&path).await,
            method => self.client.json(method, &path, &body).await,
        };
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer.json()["value"].take()
    }

    /// The size of the screen, in the pixels of style sheets; below 600 it is a telephone's.
    pub async fn size(&self, width: u32, height: u32) {
        let screen = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.develop("Emulation.setDeviceMetricsOverride", screen).await;
    }

    pub async fn dark(&self, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        self.develop("Emulation.setEmulatedMedia", features).await;
    }

    async fn develop(&self, command: &str, parameters: Value) -> Value {
        self.command("POST", "/goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await
    }

    pub async fn open(&self, url: &str) {
        self.command("POST", "/url", json!({ "url": url })).await;
    }

    /// What a script returns.
    pub async fn run(&self, script: &str) -> Value {
        self.command("POST", "/execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// What a script calls `done` with.
    pub async fn wait(&self, script: &str) -> Value {
        let script = format!("const done = arguments[arguments.length - 1]; {script}");
        self.command("POST", "/execute/async", json!({ "script": script, "args": [] })).await
    }

    /// Clicks on what the selector finds first, as a person would: where something else lies over it, it fails.
    pub async fn click(&self, selector: &str) {
        let element = self.find(selector).await;
        self.command("POST", &format!("/element/{element}/click"), json!({})).await;
    }

    pub async fn fill(&self, selector: &str, text: &str) {
        let element = self.find(selector).await;
        self.command("POST", &format!("/element/{element}/value"), json!({ "text": text })).await;
    }

    /// Waits until the page has it.
    pub async fn shows(&self, selector: &str) {
        self.find(selector).await;
    }

    /// What is written in it, as it is seen.
    pub async fn text(&self, selector: &str) -> String {
        self.shows(selector).await;
        let text = self.run(&format!("return document.querySelector({selector:?}).innerText")).await;
        text.as_str().unwrap_or_default().into()
    }

    async fn find(&self, selector: &str) -> String {
        let found = self.command("POST", "/element", json!({ "using": "css selector", "value": selector })).await;
        let id = found.as_object().and_then(|found| found.values().next()).and_then(Value::as_str);
        id.unwrap_or_else(|| panic!("{selector}: {found}")).into()
    }

    /// What the browser has complained of since it was last asked.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.command("POST", "/se/log", json!({ "type": "browser" })).await;
        let lines = log.as_array().expect("a log").iter();
        lines.filter(|line| line["level"] != "DEBUG" && line["level"] != "INFO").map(Value::to_string).collect()
    }

    /// Whether the page is wider than the screen.
    pub async fn overflows(&self) -> bool {
        self.run("return document.documentElement.scrollWidth > document.documentElement.clientWidth").await == true
    }

    /// A picture of what is on the screen.
    pub async fn picture(&self, to: &std::path::Path) {
        let picture = self.command("GET", "/screenshot", Value::Null).await;
        let picture = picture.as_str().expect("a picture");
        let bytes = base64::engine::general_purpose::STANDARD.decode(picture).expect("base64");
        std::fs::write(to, bytes).expect("written");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // By hand: a test that failed can't wait for anything any more.
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
            let (session, port) = (&self.session, self.port);
            let asked = write!(
                stream,
                "DELETE /session/{session} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            );
            if asked.is_ok() {
                let _ = stream.read(&mut [0; 512]);
            }
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
