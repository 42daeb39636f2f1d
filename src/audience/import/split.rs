//! From bytes, in chunks as they come, to records: rows of CSV, lines of NDJSON. A record is bounded; one that is longer is
//! read over and told.

/// The most bytes of one record.
pub const LONGEST: usize = 64 * 1024;
const MOST_COLUMNS: usize = 512;

/// A record and the line that it begins at. `None`: it is too long.
pub struct Record<'a, T: ?Sized> {
    pub line: u64,
    pub content: Option<&'a T>,
}

/// The cells of a CSV row, as they stand in one buffer.
pub struct Cells {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    count: usize,
}

impl Cells {
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.count).map(|n| {
            let from = if n == 0 { 0 } else { self.ends[n - 1] };
            self.bytes.get(from..self.ends[n]).unwrap_or_default()
        })
    }
}

/// Rows of CSV (RFC 4180): quotes, line ends within them, CRLF or LF.
pub struct Csv {
    reader: csv_core::Reader,
    cells: Cells,
    filled: usize,
    line: u64,
    /// Where the row that is being read begins.
    begun: Option<u64>,
    too_long: bool,
}

impl Csv {
    pub fn new() -> Csv {
        Csv {
            reader: csv_core::Reader::new(),
            cells: Cells { bytes: vec![0; LONGEST], ends: vec![0; MOST_COLUMNS], count: 0 },
            filled: 0,
            line: 1,
            begun: None,
            too_long: false,
        }
    }

    pub fn push(&mut self, mut input: &[u8], each: &mut dyn FnMut(Record<'_, Cells>)) {
        while let Some(first) = input.first() {
            if self.begun.is_none() {
                if matches!(first, b'\n' | b'\r') {
                    self.line += u64::from(*first == b'\n');
                    input = &input[1..];
                    continue;
                }
                self.begun = Some(self.line);
            }
            let read = self.read(input, each);
            input = &input[read..];
        }
    }

    /// The last row may have no line end.
    pub fn finish(&mut self, each: &mut dyn FnMut(Record<'_, Cells>)) {
        if self.begun.is_some() {
            self.read(&[], each);
        }
    }

    fn read(&mut self, input: &[u8], each: &mut dyn FnMut(Record<'_, Cells>)) -> usize {
        let Cells { bytes, ends, count } = &mut self.cells;
        let (result, read, wrote, ended) =
            self.reader.read_record(input, &mut bytes[self.filled..], &mut ends[*count..]);
        self.line += input[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
        self.filled += wrote;
        *count += ended;
        match result {
            csv_core::ReadRecordResult::OutputFull | csv_core::ReadRecordResult::OutputEndsFull => {
                (self.filled, *count, self.too_long) = (0, 0, true);
            }
            csv_core::ReadRecordResult::Record => {
                let content = (!self.too_long).then_some(&self.cells);
                each(Record { line: self.begun.take().unwrap_or(self.line), content });
                (self.filled, self.cells.count, self.too_long) = (0, 0, false);
            }
            csv_core::ReadRecordResult::InputEmpty | csv_core::ReadRecordResult::End => {}
        }
        read
    }
}

/// Lines, without their ends; empty ones are no records.
#[derive(Default)]
pub struct Lines {
    held: Vec<u8>,
    line: u64,
    too_long: bool,
}

impl Lines {
    pub fn push(&mut self, input: &[u8], each: &mut dyn FnMut(Record<'_, [u8]>)) {
        let mut pieces = input.split(|byte| *byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            let whole = pieces.peek().is_some();
            if self.held.len() + piece.len() > LONGEST {
                self.held.clear();
                self.too_long = true;
            }
            match (self.too_long, whole && self.held.is_empty()) {
                (false, true) => self.end(Some(piece), each),
                (false, false) => {
                    self.held.extend_from_slice(piece);
                    if whole {
                        self.end(None, each);
                    }
                }
                (true, _) if whole => self.end(None, each),
                (true, _) => {}
            }
        }
    }

    pub fn finish(&mut self, each: &mut dyn FnMut(Record<'_, [u8]>)) {
        if self.too_long || !self.held.is_empty() {
            self.end(None, each);
        }
    }

    fn end(&mut self, line: Option<&[u8]>, each: &mut dyn FnMut(Record<'_, [u8]>)) {
        self.line += 1;
        let content = line.unwrap_or(&self.held);
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        if self.too_long {
            each(Record { line: self.line, content: None });
        } else if !content.iter().all(u8::is_ascii_whitespace) {
            each(Record { line: self.line, content: Some(content) });
        }
        self.held.clear();
        self.too_long = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of `text`, pushed in pieces of every small size: they must not depend on it.
    fn rows(text: &str) -> Vec<(u64, Option<Vec<String>>)> {
        let read = |size: usize| {
            let mut rows = Vec::new();
            let mut each = |record: Record<'_, Cells>| {
                let cells =
                    record.content.map(|cells| cells.iter().map(|c| String::from_utf8_lossy(c).into()).collect());
                rows.push((record.line, cells));
            };
            let mut csv = Csv::new();
            text.as_bytes().chunks(size).for_each(|chunk| csv.push(chunk, &mut each));
            csv.finish(&mut each);
            rows
        };
        let whole = read(usize::MAX);
        for size in 1..8 {
            assert_eq!(read(size), whole, "in pieces of {size}");
        }
        whole
    }

    fn row(line: u64, cells: &[&str]) -> (u64, Option<Vec<String>>) {
        (line, Some(cells.iter().map(|cell| cell.to_string()).collect()))
    }

    #[test]
    fn rows_are_told_by_the_line_that_they_begin_at() {
        let text = "a,b\r\n\r\n1,\"x\r\ny\"\n\n\"2\",\"say \"\"hi\"\"\"\n3,";
        let expected =
            [row(1, &["a", "b"]), row(3, &["1", "x\r\ny"]), row(6, &["2", "say \"hi\""]), row(7, &["3", ""])];
        assert_eq!(rows(text), expected);
        assert_eq!(rows(""), []);
    }

    #[test]
    fn what_is_too_long_is_one_record_and_those_after_it_are_read() {
        let text = format!("a\n{}\nb\n", "x".repeat(LONGEST + 5));
        assert_eq!(rows(&text), [row(1, &["a"]), (2, None), row(3, &["b"])]);
        for size in [1000, usize::MAX] {
            let mut seen = Vec::new();
            let mut each = |record: Record<'_, [u8]>| seen.push((record.line, record.content.map(<[u8]>::to_vec)));
            let mut lines = Lines::default();
            text.as_bytes().chunks(size).for_each(|chunk| lines.push(chunk, &mut each));
            lines.finish(&mut each);
            assert_eq!(seen, [(1, Some(b"a".to_vec())), (2, None), (3, Some(b"b".to_vec()))]);
        }
    }

    #[test]
    fn lines_are_counted_with_the_empty_ones() {
        for size in 1..6 {
            let mut seen = Vec::new();
            let mut each = |record: Record<'_, [u8]>| {
                seen.push((record.line, record.content.map(<[u8]>::to_vec).unwrap_or_default()))
            };
            let mut lines = Lines::default();
            b"one\r\n\n  \ntwo\nthree".chunks(size).for_each(|chunk| lines.push(chunk, &mut each));
            lines.finish(&mut each);
            assert_eq!(seen, [(1, b"one".to_vec()), (4, b"two".to_vec()), (5, b"three".to_vec())]);
        }
    }
}
