//! The real binary as a process: started, asked, killed. Questions have no harness clock to wait by; they are asked again
//! until there is an answer, and not for ever.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(240);

pub const BINARY: &str = env!("CARGO_BIN_EXE_loudhailer");

/// Asks until there is an answer.
///
/// # Panics
/// After four minutes.
pub async fn until<T>(what: &str, mut question: impl AsyncFnMut() -> Option<T>) -> T {
    let since = Instant::now();
    while since.elapsed() < PATIENCE {
        if let Some(answer) = question().await {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never came true that {what}");
}

/// One request on a connection of its own; `None` unless a whole answer came.
pub async fn ask(host: &str, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let asked = async {
        let mut stream = TcpStream::connect(host).await.ok()?;
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut whole = Vec::new();
        stream.read_to_end(&mut whole).await.ok()?;
        let whole = String::from_utf8(whole).ok()?;
        let (head, body) = whole.split_once("\r\n\r\n")?;
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let status = head.split(' ').nth(1)?.parse().ok()?;
        (length.is_none_or(|length: usize| length == body.len())).then(|| (status, body.to_string()))
    };
    tokio::time::timeout(Duration::from_secs(30), asked).await.ok()?
}

/// A folder with a configuration, plans and a store.
pub struct Place {
    pub folder: tempfile::TempDir,
    /// By how much its machine's clock is ahead of ours.
    clock_ahead: Duration,
    program: PathBuf,
}

impl Place {
    pub fn new(mail: &str, plans: &[(&str, &str)]) -> Place {
        let folder = tempfile::tempdir().expect("a folder");
        let at = folder.path();
        std::fs::create_dir(at.join("plans")).expect("a folder");
        for (name, text) in plans {
            std::fs::write(at.join("plans").join(name), text).expect("written");
        }
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nrate = \"100000/s\"\n[store]\nurl = \"sqlite:{store}\"\n\
             [paths]\nplans = \"{plans}\"\n[log]\nfilter = \"warn\"\n\
             [channels.hooks]\nplatform = \"webhook\"\nallow_private = true\n\
             [channels.mail]\nplatform = \"smtp\"\n[channels.mail.settings]\nurl = \"smtp://{mail}\"\ntls = \"none\"\n",
            store = at.join("loudhailer.db").display(),
            plans = at.join("plans").display(),
        );
        std::fs::write(at.join("loudhailer.toml"), text).expect("written");
        Place { folder, clock_ahead: Duration::ZERO, program: BINARY.into() }
    }

    /// The same on a machine whose clock is ahead. A build without deliberate faults has the true one.
    pub fn with_clock(self, clock_ahead: Duration) -> Place {
        Place { clock_ahead, ..self }
    }

    /// The same, where another program serves.
    pub fn with_program(self, program: &Path) -> Place {
        Place { program: program.into(), ..self }
    }

    /// The same, with the store at `url`.
    pub fn with_store(self, url: &str, password: &str) -> Place {
        let file = self.path("loudhailer.toml");
        let text = std::fs::read_to_string(&file).expect("read");
        let own = format!("url = \"sqlite:{}\"", self.path("loudhailer.db").display());
        assert!(text.contains(&own));
        let other = format!("url = \"{url}\"\npassword = {{ file = \"{}\" }}", self.path("password").display());
        std::fs::write(self.path("password"), format!("{password}\n")).expect("written");
        std::fs::write(file, text.replace(&own, &other)).expect("written");
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// `loudhailer serve`, running.
pub struct Process {
    child: Child,
    /// Kept, so that what the process prints has somewhere to go.
    output: BufReader<ChildStdout>,
    pub host: String,
}

impl Process {
    pub fn serve(place: &Place) -> Process {
        Process::start(Command::new(&place.program), place)
    }

    /// `command`: the binary, or something that becomes it.
    #[allow(clippy::zombie_processes)] // every way out either waits for it or panics the test
    pub fn start(mut command: Command, place: &Place) -> Process {
        let log = std::fs::File::options().create(true).append(true).open(place.path("log")).expect("a file");
        let mut child = command
            .arg("serve")
            .arg("--config")
            .arg(place.path("loudhailer.toml"))
            .env("CLOCK_AHEAD", place.clock_ahead.as_millis().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("starts");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut process = Process { child, output, host: String::new() };
        let mut line = String::new();
        loop {
            line.clear();
            if process.output.read_line(&mut line).expect("read") == 0 {
                panic!("it ended: {}", std::fs::read_to_string(place.path("log")).unwrap_or_default());
            }
            let at = line.trim().strip_prefix("listening on ").and_then(|url| url.split_once("://"));
            if let Some((_, host)) = at {
                process.host = host.to_string();
                return process;
            }
        }
    }

    /// What it answers with 200, as JSON.
    pub async fn get(&self, path: &str) -> Option<Value> {
        let (status, text) = ask(&self.host, "GET", path, "").await?;
        (status == 200).then(|| serde_json::from_str(&text).expect("JSON"))
    }

    /// Attempts on the wire, over all channels.
    pub async fn on_wire(&self) -> Option<u64> {
        let channels = self.get("/v1/channels").await?;
        Some(channels["items"].as_array()?.iter().filter_map(|channel| channel["on_wire"].as_u64()).sum())
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("dead");
    }

    pub fn number(&self) -> u32 {
        self.child.id()
    }

    /// Whether it says that it is ready; `None`: it does not answer.
    pub async fn ready(&self) -> Option<bool> {
        match ask(&self.host, "GET", "/readyz", "").await?.0 {
            200 => Some(true),
            503 => Some(false),
            other => panic!("ready is {other}"),
        }
    }

    /// Waits until every broadcast has ended or is held.
    pub async fn settled(&self) {
        until("all was sent", async || {
            let running = self.get("/v1/broadcasts?state=running").await?;
            running["items"].as_array()?.is_empty().then_some(())
        })
        .await;
    }

    /// SIGTERM to this process alone.
    pub fn terminate(&self) {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("kill runs");
        assert!(status.success());
    }

    pub async fn ended(&mut self) -> ExitStatus {
        until("the process ended", async || self.child.try_wait().expect("asked")).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command of the binary to its end.
pub fn command(place: &Place, arguments: &[&str], file: &Path) {
    let output = Command::new(BINARY)
        .args(arguments)
        .arg(file)
        .arg("--config")
        .arg(place.path("loudhailer.toml"))
        .output()
        .expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
