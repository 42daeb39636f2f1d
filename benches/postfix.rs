//! Postfix's own test programs: smtp-sink, which takes mail and counts it, and smtp-source, which sends.

use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::compare::Leg;
use super::process::{MEASURED, OTHER, Process};

const BACKLOG: &str = "256";

fn program(name: &str) -> anyhow::Result<String> {
    let known = ["/usr/sbin", "/usr/local/sbin", "/usr/bin"].map(|folder| format!("{folder}/{name}"));
    let found = known.into_iter().find(|path| Path::new(path).exists());
    found.with_context(|| format!("{name} is not there; it comes with postfix"))
}

pub struct SmtpSink {
    /// Ends with us.
    _process: Process,
    pub place: String,
    counters: PathBuf,
}

impl SmtpSink {
    /// `-c` writes its counters at every final dot; they go into a file of `folder`.
    pub fn start(folder: &Path) -> anyhow::Result<SmtpSink> {
        let place = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let mut arguments = vec!["-c", "-m", "1024"];
        if std::fs::metadata("/proc/self")?.uid() == 0 {
            arguments.extend(["-u", "nobody"]);
        }
        arguments.extend([place.as_str(), BACKLOG]);
        let counters = folder.join("smtp-sink");
        let file = std::fs::File::create(&counters)?;
        let process = Process::into_file(OTHER, &program("smtp-sink")?, &arguments, file)?;
        let began = Instant::now();
        while std::net::TcpStream::connect(&place).is_err() {
            if began.elapsed() > Duration::from_secs(5) {
                bail!("smtp-sink does not listen on {place}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(SmtpSink { _process: process, place, counters })
    }

    /// Messages since it started, as it counts them itself.
    pub fn messages(&self) -> anyhow::Result<u64> {
        let mut file = std::fs::File::open(&self.counters)?;
        let length = file.metadata()?.len();
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(length.saturating_sub(256)))?;
        let mut text = String::new();
        std::io::Read::read_to_string(&mut file, &mut text)?;
        // The last line may be half written.
        let numbers = text.rsplit("mesg=").filter_map(|rest| rest.split_once(['\r', '\n'])?.0.trim().parse().ok());
        Ok(numbers.max().unwrap_or(0))
    }
}

/// `smtp-source -d`: as many sessions, and a message of the same bytes.
pub fn smtp_source(sink: &SmtpSink, sessions: usize, count: u64, message: &Path) -> anyhow::Result<Leg> {
    let (sessions, messages) = (sessions.to_string(), count.to_string());
    let message = message.display().to_string();
    let arguments = [
        "-d",
        "-s",
        &sessions,
        "-m",
        &messages,
        "-f",
        "status@localhost",
        "-t",
        "s1@example.org",
        "-F",
        &message,
        &sink.place,
    ];
    let before = sink.messages()?;
    let began = Instant::now();
    let process = Process::start(MEASURED, &program("smtp-source")?, &arguments)?;
    let cpu = process.last_cpu()?;
    let seconds = began.elapsed().as_secs_f64();
    let came = sink.messages()? - before;
    anyhow::ensure!(came == count, "smtp-sink has {came} of {count} messages");
    Ok(Leg { seconds, cpu, count })
}
