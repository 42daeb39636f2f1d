use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::peers::eventually;

/// A server on a port of its own, in a folder of its own, that a test stops and starts.
pub struct Server {
    program: String,
    arguments: Vec<String>,
    pub port: u16,
    child: Option<Child>,
}

impl Server {
    /// Started with the file that `config` writes, given port and folder.
    pub fn new(program: &str, config: impl FnOnce(u16, &Path) -> String, folder: &Path) -> Server {
        Server::with_arguments(program, &["-c"], config, folder)
    }

    /// The file's name comes after them.
    pub fn with_arguments(
        program: &str,
        arguments: &[&str],
        config: impl FnOnce(u16, &Path) -> String,
        folder: &Path,
    ) -> Server {
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
        let file: PathBuf = folder.join("server.conf");
        std::fs::write(&file, config(port, folder)).expect("written");
        let file = file.display().to_string();
        let arguments = arguments.iter().map(|argument| argument.to_string()).chain([file]).collect();
        let mut server = Server { program: program.into(), arguments, port, child: None };
        server.start();
        server
    }

    pub fn start(&mut self) {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("starts"));
        let answers = eventually(|| TcpStream::connect(("127.0.0.1", self.port)).ok());
        assert!(answers.is_some(), "{} does not answer", self.program);
    }

    pub fn signal(&self, name: &str) {
        let number = self.child.as_ref().expect("running").id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &number]).status().expect("kill runs").success());
    }

    /// By a signal, also where it was stopped before.
    pub fn end(&mut self, signal: &str) {
        self.signal(signal);
        self.signal("CONT");
        self.child.take().expect("running").wait().expect("ended");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
