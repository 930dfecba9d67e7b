//! Records of text files by position: lines (NDJSON) or RFC 4180 records (CSV), in blocks that chunks share without copying. A block begins with what
//! the one before it had left over, and only that is ever copied.
//!
//! Blank lines are no records and a carriage return before the line end belongs to it (S5.2). A record longer than the reader holds is skipped in pieces:
//! its first bytes, its length and its digest remain, which are those it would have had in one piece.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use crate::codecs::{CsvHeader, Cut, MAX_KEPT, Span, TextChunk};
use crate::error::{Error, Exit, Result};

/// Least bytes read at a time, and those of a record that is too long.
const LEAST_READ: usize = 64 << 10;
const SKIPPED: usize = 1 << 20;
/// Most blocks given out that are remembered: more than are under way at any time.
const MOST_GIVEN: usize = 32;
/// The byte order mark that some programs put before CSV.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// How records are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// Every line feed ends a record.
    Lines,
    /// A line feed outside of quotes ends a record.
    Csv,
}

/// Finds the ends of records; remembers where it is in a record that is not complete.
#[derive(Clone, Copy, Debug)]
struct Boundary {
    framing: Framing,
    state: Quotes,
}

/// Where in a CSV record we are; the same rules as the `csv` crate's: a quote counts only where a field begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quotes {
    FieldStart,
    Plain,
    Quoted,
    QuoteInQuoted,
}

impl Boundary {
    fn new(framing: Framing) -> Self {
        Self { framing, state: Quotes::FieldStart }
    }

    /// The position of the line feed that ends the record, if it is in `bytes`, which go on where the last call ended.
    fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        if self.framing == Framing::Lines {
            return memchr::memchr(b'\n', bytes);
        }
        let mut at = 0;
        while at < bytes.len() {
            match self.state {
                Quotes::Quoted => match memchr::memchr(b'"', &bytes[at..]) {
                    None => return None,
                    Some(quote) => {
                        at += quote + 1;
                        self.state = Quotes::QuoteInQuoted;
                    }
                },
                Quotes::Plain => match memchr::memchr2(b',', b'\n', &bytes[at..]) {
                    None => return None,
                    Some(stop) => {
                        at += stop;
                        self.state = Quotes::FieldStart;
                        if bytes[at] == b'\n' {
                            return Some(at);
                        }
                        at += 1;
                    }
                },
                Quotes::FieldStart | Quotes::QuoteInQuoted => {
                    self.state = match (self.state, bytes[at]) {
                        (_, b'\n') => {
                            self.state = Quotes::FieldStart;
                            return Some(at);
                        }
                        (_, b',') => Quotes::FieldStart,
                        (_, b'"') => Quotes::Quoted,
                        _ => Quotes::Plain,
                    };
                    at += 1;
                }
            }
        }
        None
    }
}

/// A record without the carriage return before its line end.
fn trimmed(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

/// Whether a line is blank.
fn is_blank(framing: Framing, line: &[u8]) -> bool {
    match framing {
        Framing::Lines => line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r')),
        Framing::Csv => trimmed(line).is_empty(),
    }
}

/// A text file being read.
pub(super) struct TextCursor {
    file: File,
    path: PathBuf,
    framing: Framing,
    max_record: usize,
    header: Option<Arc<CsvHeader>>,
    /// Bytes of the file, from position `base` on, in the first `filled` bytes; those before `at` are done.
    block: Arc<Vec<u8>>,
    filled: usize,
    base: u64,
    at: usize,
    /// Whether the file has nothing behind the block.
    ended: bool,
    /// Bytes of a record with its line end, as the last chunk had them: only how much to read at a time.
    typical: usize,
    /// Blocks of chunks given out, oldest first. One whose chunks are gone is used again: its memory is there and warm.
    given: VecDeque<Arc<Vec<u8>>>,
}

impl TextCursor {
    /// Opens `path` at a position, which must be the first byte of a record or behind the end. `header` is that of a CSV file.
    pub fn open(path: &Path, framing: Framing, max_record: usize, start: u64, header: Option<(CsvHeader, u64)>) -> Result<Self> {
        let mut file = File::open(path).map_err(|error| Error::io("read", path, &error))?;
        let (header, first) = header.map_or((None, 0), |(header, end)| (Some(Arc::new(header)), end));
        let start = start.max(first);
        let length = file.metadata().map_err(|error| Error::io("read", path, &error))?.len();
        if start > length {
            return Err(Error::new(
                Exit::Data,
                format!("{} has {length} bytes, but was read up to byte {start} before", super::absolute(path)),
                "the file was changed since; put it back, or start over with --fresh",
            ));
        }
        file.seek(SeekFrom::Start(start)).map_err(|error| Error::io("read", path, &error))?;
        Ok(Self {
            file,
            path: path.to_path_buf(),
            framing,
            max_record,
            header,
            block: Arc::default(),
            filled: 0,
            base: start,
            at: 0,
            ended: false,
            typical: 128,
            given: VecDeque::new(),
        })
    }

    /// The next records and the position behind them; `None` at the end of the file. A chunk is as full as the limits and the file allow, so that whoever
    /// cuts by rows gets whole chunks; only before a record that is too long it is shorter.
    pub fn next(&mut self, max_rows: usize, max_bytes: usize) -> Result<Option<(TextChunk, u64)>> {
        let max_rows = max_rows.max(1);
        let mut spans = Vec::with_capacity(max_rows.min(1 << 16));
        let (mut bytes, mut begin) = (0, self.at);
        loop {
            bytes += self.split(&mut spans, max_rows, max_bytes.saturating_sub(bytes));
            let full = spans.len() == max_rows || (bytes >= max_bytes && !spans.is_empty());
            // A record that is longer than allowed is given up once it is sure, and not much more than the limit was held for it.
            let rest = self.filled - self.at;
            let too_long = rest > self.max_record.saturating_add(2);
            if full || ((self.ended || too_long) && !spans.is_empty()) {
                self.typical = (self.at - begin) / spans.len() + 1;
                let chunk = TextChunk { data: self.block.clone(), spans, cut: None, header: self.header.clone() };
                return Ok(Some((chunk, self.base + self.at as u64)));
            }
            if self.ended {
                return Ok(None);
            }
            if too_long {
                return self.skip().map(Some);
            }
            if spans.is_empty() {
                begin = self.at;
            }
            let rows = max_rows - spans.len();
            let wanted = rows.saturating_mul(self.typical).min(max_bytes.saturating_sub(bytes)).saturating_sub(rest);
            self.refill(begin, wanted.max(rest))?;
            spans.iter_mut().for_each(|span| (span.start, span.end) = (span.start - begin as u32, span.end - begin as u32));
            begin = 0;
        }
    }

    /// Appends the complete records of the block, as many as allowed; returns their bytes.
    fn split(&mut self, spans: &mut Vec<Span>, max_rows: usize, max_bytes: usize) -> usize {
        let block = &self.block[..self.filled];
        let mut bytes = 0;
        while spans.len() < max_rows && self.at < block.len() && (bytes < max_bytes || spans.is_empty()) {
            let rest = &block[self.at..];
            let (end, next) = match Boundary::new(self.framing).find(rest) {
                Some(end) => (end, end + 1),
                None if self.ended => (rest.len(), rest.len()),
                None => break,
            };
            let line = &rest[..end];
            if !is_blank(self.framing, line) {
                let (start, length) = (self.at as u32, trimmed(line).len());
                spans.push(Span { offset: self.base + self.at as u64, start, end: start + length as u32 });
                bytes += length;
            }
            self.at += next;
        }
        bytes
    }

    /// Reads on by about `wanted` bytes; what the block holds from `begin` on stays, at its beginning.
    fn refill(&mut self, begin: usize, wanted: usize) -> Result<()> {
        let wanted = wanted.max(1).next_multiple_of(LEAST_READ);
        let kept = self.filled - begin;
        // A block that no chunk shares and that has room goes on; else what is left of it begins another.
        if begin > 0 || self.block.len() < kept + wanted || Arc::get_mut(&mut self.block).is_none() {
            let mut next = self.unused();
            if let Some(next) = Arc::get_mut(&mut next) {
                if next.len() < kept + wanted {
                    next.resize(kept + wanted, 0);
                }
                next[..kept].copy_from_slice(&self.block[begin..self.filled]);
            }
            self.given.push_back(std::mem::replace(&mut self.block, next));
            self.base += begin as u64;
            (self.at, self.filled) = (self.at - begin, kept);
        }
        let block = Arc::get_mut(&mut self.block).ok_or_else(|| Error::internal("a block being read into is shared"))?;
        let stop = self.filled + wanted;
        while self.filled < stop && !self.ended {
            match self.file.read(&mut block[self.filled..stop]) {
                Ok(0) => self.ended = true,
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("read", &self.path, &error)),
            }
        }
        Ok(())
    }

    /// A block that nobody shares: one that was given out and has come back, or a new one.
    fn unused(&mut self) -> Arc<Vec<u8>> {
        let free = self.given.iter_mut().position(|block| Arc::get_mut(block).is_some());
        let block = free.and_then(|free| self.given.remove(free)).unwrap_or_default();
        // Those still shared are freed by the last chunk over them.
        self.given.truncate(MOST_GIVEN);
        block
    }

    /// Passes over a record that is too long, which begins at `at`, in pieces.
    fn skip(&mut self) -> Result<(TextChunk, u64)> {
        let offset = self.base + self.at as u64;
        let mut kept = Vec::new();
        let (mut size, mut digest, mut held_return) = (0u64, Xxh3::new(), false);
        let mut boundary = Boundary::new(self.framing);
        loop {
            let rest = &self.block[self.at..self.filled];
            let found = boundary.find(rest);
            let piece = &rest[..found.unwrap_or(rest.len())];
            // A carriage return counts only if the record goes on behind it.
            if held_return && !piece.is_empty() {
                take(b"\r", &mut kept, &mut size, &mut digest);
                held_return = false;
            }
            let content = trimmed(piece);
            take(content, &mut kept, &mut size, &mut digest);
            held_return |= content.len() < piece.len();
            self.at += found.map_or(rest.len(), |end| end + 1);
            if found.is_some() || self.ended {
                break;
            }
            self.refill(self.at, SKIPPED)?;
        }
        let spans = vec![Span { offset, start: 0, end: kept.len() as u32 }];
        let cut = Some(Cut { size, digest: digest.digest() });
        Ok((TextChunk { data: Arc::new(kept), spans, cut, header: self.header.clone() }, self.base + self.at as u64))
    }
}

/// Adds a piece of a record that is too long.
fn take(piece: &[u8], kept: &mut Vec<u8>, size: &mut u64, digest: &mut Xxh3) {
    let room = MAX_KEPT - kept.len().min(MAX_KEPT);
    kept.extend_from_slice(&piece[..piece.len().min(room)]);
    *size += piece.len() as u64;
    digest.update(piece);
}

/// The names in the header line of a CSV file, and the position behind it.
pub(super) fn header_fields(path: &Path) -> Result<(Vec<String>, u64)> {
    let mut cursor = TextCursor::open(path, Framing::Csv, 1 << 20, 0, None)?;
    let broken =
        |what: &str| Error::new(Exit::Data, format!("{} {what}", super::absolute(path)), "the first line of a CSV file names its columns");
    let Some((chunk, end)) = cursor.next(1, 1)? else { return Err(broken("is empty: it has no header line")) };
    let line = chunk.spans.first().and_then(|span| chunk.data.get(span.start as usize..span.end as usize)).unwrap_or(&[]);
    let line = line.strip_prefix(MARK).unwrap_or(line);
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line);
    let mut record = csv::StringRecord::new();
    match reader.read_record(&mut record) {
        Ok(true) if chunk.cut.is_none() => Ok((record.iter().map(String::from).collect(), end)),
        _ => Err(broken("has no header line that can be read")),
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{RngCore, SeedableRng};
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;

    /// All records of a file as (offset, bytes), with chunks of so many rows, beginning at `start`.
    fn read(path: &Path, framing: Framing, max_record: usize, start: u64, rows: usize) -> Vec<(u64, Vec<u8>)> {
        let mut cursor = TextCursor::open(path, framing, max_record, start, None).unwrap();
        let mut records = Vec::new();
        let mut last = start;
        while let Some((chunk, end)) = cursor.next(rows, 1 << 20).unwrap() {
            assert!(end > last && chunk.spans.len() <= rows);
            last = end;
            records.extend(chunk.spans.iter().map(|span| (span.offset, chunk.data[span.start as usize..span.end as usize].to_vec())));
        }
        assert!(last <= std::fs::metadata(path).unwrap().len());
        records
    }

    #[test]
    fn lines_crlf_blank_lines_and_a_last_line_without_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "a\r\n\n  \t\r\nbb\nccc").unwrap();
        let expected = vec![(0, b"a".to_vec()), (9, b"bb".to_vec()), (12, b"ccc".to_vec())];
        for rows in [1, 2, 100] {
            assert_eq!(read(file.path(), Framing::Lines, 100, 0, rows), expected);
        }
        assert_eq!(read(file.path(), Framing::Lines, 100, 9, 1), expected[1..]);
        assert_eq!(read(file.path(), Framing::Lines, 100, 15, 1), []);
        assert!(TextCursor::open(file.path(), Framing::Lines, 100, 16, None).is_err());
        std::fs::write(file.path(), "").unwrap();
        assert_eq!(read(file.path(), Framing::Lines, 100, 0, 1), []);
    }

    #[test]
    fn a_record_that_is_too_long_leaves_its_beginning_length_and_digest() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let long: Vec<u8> = (0..10 << 20).map(|i| if i % 97 == 0 { b'\r' } else { b'a' + (i % 26) as u8 }).collect();
        for ending in [&b"\n"[..], b"\r\n", b""] {
            let mut text = b"first\n".to_vec();
            text.extend_from_slice(&long);
            text.extend_from_slice(ending);
            if !ending.is_empty() {
                text.extend_from_slice(b"last");
            }
            std::fs::write(file.path(), &text).unwrap();
            let mut cursor = TextCursor::open(file.path(), Framing::Lines, 1 << 20, 0, None).unwrap();
            let mut chunks = Vec::new();
            while let Some(chunk) = cursor.next(100, 1 << 20).unwrap() {
                assert!(chunk.0.data.len() <= (1 << 20) + 3 * SKIPPED, "{} bytes held", chunk.0.data.len());
                chunks.push(chunk);
            }
            assert_eq!(chunks.len(), if ending.is_empty() { 2 } else { 3 });
            let (cut, end) = &chunks[1];
            assert_eq!(cut.cut, Some(Cut { size: long.len() as u64, digest: xxh3_64(&long) }));
            assert_eq!((cut.spans[0].offset, cut.data.as_slice()), (6, &long[..MAX_KEPT]));
            assert_eq!(*end, 6 + (long.len() + ending.len()) as u64);
        }
    }

    #[test]
    fn csv_records_are_those_of_the_csv_crate() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut random = ChaCha8Rng::from_seed([5; 32]);
        for _ in 0..300 {
            let parts = ["a", "\"", "\"\"", ",", "\n", "\r\n", "x y", "\"a\nb\"", "\"a,\"\"b\"\"\""];
            let text: String = (0..random.next_u32() % 40).map(|_| parts[random.next_u32() as usize % parts.len()]).collect();
            std::fs::write(file.path(), &text).unwrap();
            let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
            let expected: Vec<csv::ByteRecord> = reader.byte_records().map(Result::unwrap).collect();
            let parse = |bytes: &[u8]| {
                csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes).byte_records().next().unwrap().unwrap()
            };
            let found: Vec<csv::ByteRecord> = read(file.path(), Framing::Csv, 1000, 0, 3).iter().map(|(_, bytes)| parse(bytes)).collect();
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn positions_do_not_depend_on_blocks() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let lines: Vec<String> = (0..60_000).map(|i| format!("{{\"n\":{i},\"pad\":\"{}\"}}", "x".repeat(i % 80))).collect();
        std::fs::write(file.path(), lines.join("\n")).unwrap();
        let all = read(file.path(), Framing::Lines, 1000, 0, 100_000);
        assert_eq!(all.iter().map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).collect::<Vec<_>>(), lines);
        assert_eq!(read(file.path(), Framing::Lines, 1000, all[31_234].0, 777), all[31_234..]);
    }
}
