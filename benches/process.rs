//! Processes of a measurement: each on a core of its own choice, watched through /proc, ended with us. The roles are this
//! binary once more, with a name and a JSON argument; they answer in lines of JSON.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};

/// Where the broker and the bare loops run, and where the sinks do.
pub const MEASURED: usize = 0;
pub const OTHER: usize = 1;

/// As the results name it.
pub fn pins() -> Value {
    json!({ "measured": MEASURED, "other": OTHER })
}

pub struct Process {
    child: Child,
    output: Option<BufReader<ChildStdout>>,
}

impl Process {
    pub fn start(core: usize, program: &str, arguments: &[&str]) -> anyhow::Result<Process> {
        let mut child = Process::command(core, program, arguments).stdout(Stdio::piped()).spawn().context("taskset")?;
        let output = BufReader::new(child.stdout.take().context("its output")?);
        Ok(Process { child, output: Some(output) })
    }

    /// The same, with its output in a file.
    pub fn into_file(core: usize, program: &str, arguments: &[&str], file: std::fs::File) -> anyhow::Result<Process> {
        let child = Process::command(core, program, arguments).stdout(file).spawn().context("taskset")?;
        Ok(Process { child, output: None })
    }

    fn command(core: usize, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("taskset");
        command.args(["-c", &core.to_string(), program]).args(arguments);
        // Nothing but our own pipes: a role ends when its standard input does.
        command.stdin(Stdio::piped());
        command
    }

    pub fn role(core: usize, name: &str, input: &Value) -> anyhow::Result<Process> {
        let own = std::env::current_exe()?;
        Process::start(core, own.to_str().context("our own path")?, &["role", name, &input.to_string()])
    }

    pub fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        match self.output.as_mut().context("its output")?.read_line(&mut line)? {
            0 => bail!("a process ended without its answer"),
            _ => Ok(line.trim().to_string()),
        }
    }

    pub fn json(&mut self) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.line()?)?)
    }

    /// Seconds of user and system time so far, in steps of 10 ms.
    pub fn cpu(&self) -> anyhow::Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let after = text.rsplit_once(')').context("stat")?.1;
        let fields: Vec<&str> = after.split_whitespace().collect();
        let field = |at: usize| anyhow::Ok(fields.get(at).context("stat")?.parse::<u64>()?);
        Ok((field(11)? + field(12)?) as f64 / 100.0)
    }

    /// The most memory it ever had, in MiB; `None` once it has ended.
    pub fn peak(&self) -> Option<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().trim_end_matches(" kB").parse::<f64>().ok()? / 1024.0)
    }

    /// Waits until it ends well, and answers its peak and what it printed. The peak is read every few milliseconds, since it
    /// goes with the process.
    pub fn into_end(mut self) -> anyhow::Result<(f64, String)> {
        let mut peak: f64 = 0.0;
        let status = loop {
            peak = self.peak().map_or(peak, |now| peak.max(now));
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let mut printed = String::new();
        if let Some(output) = &mut self.output {
            output.read_to_string(&mut printed)?;
        }
        match status.success() {
            true => Ok((peak, printed)),
            false => bail!("it ended with {status}"),
        }
    }
}

impl Process {
    /// Waits until it ends well, and answers the processor time that it had, as far as that was seen.
    pub fn last_cpu(mut self) -> anyhow::Result<f64> {
        let mut cpu: f64 = 0.0;
        loop {
            cpu = self.cpu().map_or(cpu, |now| cpu.max(now));
            match self.child.try_wait()? {
                None => std::thread::sleep(Duration::from_millis(2)),
                Some(status) if status.success() => return Ok(cpu),
                Some(status) => bail!("it ended with {status}"),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request on a connection of its own.
pub fn ask(host: &str, method: &str, path: &str, body: &str) -> anyhow::Result<(u16, Value)> {
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut whole = String::new();
    stream.read_to_string(&mut whole)?;
    let (head, body) = whole.split_once("\r\n\r\n").context("an answer")?;
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    Ok((status, serde_json::from_str(body)?))
}
