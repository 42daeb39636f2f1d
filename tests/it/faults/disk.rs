//! A small disk that can be filled, for one process of ours: a file system in memory that it alone sees, in a mount namespace of its
//! own. Any user may have one where user namespaces are allowed.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::process::{BINARY, Place, Process};

/// Room for the store of a test.
const SIZE: &str = "size=64m";
const ALONE: [&str; 2] = ["--map-root-user", "--mount"];

pub struct Disk {
    at: PathBuf,
}

impl Disk {
    /// For the store of a place, which is there already. `None`: the system does not let us, and says so.
    pub fn of(place: &Place) -> Option<Disk> {
        let tried = Command::new("unshare").args(ALONE).args(["mount", "-t", "tmpfs", "none", "/mnt"]).output();
        match tried {
            Ok(output) if output.status.success() => {}
            other => {
                println!("no disk of its own for a process: {other:?}");
                return None;
            }
        }
        let at = place.path("disk");
        std::fs::create_dir(&at).expect("a folder");
        let config = std::fs::read_to_string(place.path("loudhailer.toml")).expect("read");
        let (own, other) = (place.path("loudhailer.db"), at.join("loudhailer.db"));
        let moved = config.replace(&format!("sqlite:{}", own.display()), &format!("sqlite:{}", other.display()));
        assert_ne!(config, moved);
        std::fs::write(place.path("loudhailer.toml"), moved).expect("written");
        Some(Disk { at })
    }

    /// The binary over it, with what the place has stored so far.
    pub fn serve(&self, place: &Place) -> Process {
        // All of it into the one file that is copied.
        let store = rusqlite::Connection::open(place.path("loudhailer.db")).expect("opens");
        store.busy_timeout(Duration::from_secs(60)).expect("set");
        store.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("moved");
        drop(store);
        let mut command = Command::new("unshare");
        let script = format!("mount -t tmpfs -o {SIZE} none \"$0\" && cp \"$1\" \"$0\" && shift && exec \"$@\"");
        command.args(ALONE).args(["bash", "-c", &script]).arg(&self.at).arg(place.path("loudhailer.db")).arg(BINARY);
        command.stdin(Stdio::null());
        Process::start(command, place)
    }

    /// As the process sees it.
    fn path(&self, process: &Process, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", process.number()));
        root.join(self.at.strip_prefix("/").expect("it begins at the root")).join(name)
    }

    /// Until nothing more can be written to it.
    pub fn fill(&self, process: &Process) {
        let mut file = File::create(self.path(process, "full")).expect("a file");
        let error = loop {
            if let Err(error) = file.write_all(&[0; 4096]) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    }

    pub fn free(&self, process: &Process) {
        std::fs::remove_file(Path::new(&self.path(process, "full"))).expect("removed");
    }
}
