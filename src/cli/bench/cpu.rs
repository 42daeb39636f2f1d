//! Processor time, where the system tells it in `/proc`.

/// Seconds of user and system time that this process has had, in steps of 10 ms.
pub fn own() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut field = || fields.next()?.parse::<u64>().ok();
    Some((field()? + field()?) as f64 / 100.0)
}

/// Seconds that the threads of this name in this process have had.
pub fn threads(name: &str) -> Option<f64> {
    let mut nanoseconds = 0u64;
    for task in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
        // A thread may end while they are read.
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        if read("comm").trim_end() == name {
            nanoseconds += read("schedstat").split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    Some(nanoseconds as f64 / 1e9)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_works_is_seen_by_its_name_and_in_the_whole() {
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let (ready, works) = std::sync::mpsc::channel();
        let work = move || {
            let mut sum = 0u64;
            (0..40_000_000u64).for_each(|n| sum = std::hint::black_box(sum ^ n.rotate_left(7)));
            ready.send(sum).expect("heard");
            let _ = wait.recv();
        };
        let thread = std::thread::Builder::new().name("a-busy-one".into()).spawn(work).expect("starts");
        works.recv().expect("works");
        assert!(threads("a-busy-one").expect("proc") > 0.0);
        assert_eq!(threads("nobody"), Some(0.0));
        assert!(own().expect("proc") > 0.0);
        drop(done);
        thread.join().expect("ends");
    }
}
