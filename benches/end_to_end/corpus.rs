//! What applications log, made up.
//!
//! In:  the shape of a line, how many megabytes
//! Out: files of such lines, the same ones in each run

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The most ordinary line.
pub(crate) const ORDINARY: Shape = Shape { name: "JSON, 400 bytes", line: ordinary };

/// Every shape there is.
pub(crate) const SHAPES: [Shape; 4] = [
    ORDINARY,
    Shape { name: "short, 110 bytes", line: short },
    Shape { name: "escapes, not ASCII", line: escaped },
    Shape { name: "stack traces, 2.7 KB", line: stack_trace },
];

/// A kind of line.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    /// Its line of a number, without the newline.
    line: fn(u32) -> String,
}

impl Shape {
    /// The first `count` lines.
    pub(crate) fn lines(self, count: u32) -> Vec<String> {
        (0..count).map(self.line).collect()
    }

    /// The line of a number, which says besides when it was written.
    pub(crate) fn line_written_at(self, nanoseconds: u128, number: u32) -> String {
        let line = (self.line)(number);
        let rest = line.strip_prefix('{').expect("a line is an object");
        format!(r#"{{"written":"{MARK}{nanoseconds}",{rest}"#)
    }
}

/// Every corpus that was asked for, until the end.
pub(crate) struct Corpora {
    directory: TempDir,
    /// Bytes in each.
    bytes: u64,
    written: Vec<(&'static str, u64, Corpus)>,
}

impl Corpora {
    /// None yet; each will have so many bytes.
    pub(crate) fn new(bytes: u64) -> io::Result<Self> {
        Ok(Self { directory: tempfile::tempdir()?, bytes, written: Vec::new() })
    }

    /// Lines of a shape in so many files, written when they are asked for first.
    pub(crate) fn get(&mut self, shape: Shape, files: u64) -> io::Result<&Corpus> {
        let is_it = |(name, count, _): &(_, _, _)| *name == shape.name && *count == files;
        let at = match self.written.iter().position(is_it) {
            Some(at) => at,
            None => {
                let directory = self.directory.path().join(self.written.len().to_string());
                let corpus = Corpus::write(&directory, shape, self.bytes, files)?;
                self.written.push((shape.name, files, corpus));
                self.written.len() - 1
            }
        };
        Ok(&self.written[at].2)
    }
}

/// Files of lines.
pub(crate) struct Corpus {
    directory: PathBuf,
    pub(crate) lines: u64,
    pub(crate) bytes: u64,
}

impl Corpus {
    /// Writes `bytes` of lines, or a little more, evenly into `files` files of a new directory.
    fn write(directory: &Path, shape: Shape, bytes: u64, files: u64) -> io::Result<Self> {
        // A line that is no JSON would go out as text, and something else would be measured.
        serde_json::from_str::<serde_json::Value>(&(shape.line)(0))?;
        fs::create_dir(directory)?;
        let mut corpus = Self { directory: directory.to_owned(), lines: 0, bytes: 0 };
        for number in 0..files {
            let file = File::create(directory.join(format!("application-{number}.log")))?;
            corpus.fill(file, shape, bytes / files)?;
        }
        Ok(corpus)
    }

    /// What a configuration says to follow all of its files.
    pub(crate) fn path(&self) -> String {
        self.directory.join("*.log").display().to_string()
    }

    fn fill(&mut self, file: File, shape: Shape, bytes: u64) -> io::Result<()> {
        let mut file = BufWriter::new(file);
        let end = self.bytes + bytes;
        while self.bytes < end {
            let number = u32::try_from(self.lines % u64::from(u32::MAX)).unwrap_or_default();
            let line = (shape.line)(number);
            writeln!(file, "{line}")?;
            self.lines += 1;
            self.bytes += line.len() as u64 + 1;
        }
        file.flush()
    }
}

/// What stands before that time in the line, and hence in the event.
pub(crate) const MARK: &str = "written at ";

fn ordinary(n: u32) -> String {
    format!(
        r#"{{"timestamp":"{}","level":"{}","logger":"com.example.shop.checkout.CheckoutService","thread":"http-nio-8080-exec-{}","message":"{}","traceId":"{:016x}{:016x}","spanId":"{:016x}","userId":{},"durationMs":{}.{},"status":200,"cached":{},"http":{{"method":"POST","path":"/api/v1/orders/{}","bytes":{}}}}}"#,
        time(n),
        level(n),
        n % 64,
        sentence(n, 6 + n % 5),
        scattered(n),
        scattered(n ^ 0x5555),
        scattered(n ^ 0xaaaa),
        n % 1_000_003,
        n % 900,
        n % 97,
        n.is_multiple_of(3),
        n % 100_019,
        n % 65_521,
    )
}

fn short(n: u32) -> String {
    format!(
        r#"{{"timestamp":"{}","level":"{}","msg":"{}","n":{n}}}"#,
        time(n),
        level(n),
        sentence(n, 4),
    )
}

fn escaped(n: u32) -> String {
    format!(
        r#"{{"timestamp":"{}","level":"{}","message":"Kunde \"{}\" bestätigt: größer als 5 €\n\t{}","path":"C:\\data\\{}","query":"{{\"id\":{n},\"name\":\"J\u00fcrgen\"}}","note":"{} 注文を受け付けました \ud83d\ude80 — {}"}}"#,
        time(n),
        level(n),
        sentence(n, 2),
        sentence(n + 1, 6),
        n % 4_099,
        sentence(n + 2, 3),
        sentence(n + 3, 8),
    )
}

fn stack_trace(n: u32) -> String {
    let frame = |i: u32| {
        let line = scattered(n + i) % 900;
        format!(
            r"\n\tat com.example.shop.{}.Handler{i}.invoke(Handler{i}.java:{line})",
            word(n + i)
        )
    };
    let frames: String = (0..34).map(frame).collect();
    format!(
        r#"{{"timestamp":"{}","level":"ERROR","message":"{}","exception":"java.lang.IllegalStateException: order {n}{frames}"}}"#,
        time(n),
        sentence(n, 8),
    )
}

fn time(n: u32) -> String {
    let (day, hour) = (n / 86_400_000 % 28 + 1, n / 3_600_000 % 24);
    let (minute, second, milli) = (n / 60_000 % 60, n / 1_000 % 60, n % 1_000);
    format!("2026-11-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}")
}

fn level(n: u32) -> &'static str {
    ["INFO", "WARN", "DEBUG", "ERROR"][(scattered(n) % 4) as usize]
}

/// `count` words, others for each `n`.
fn sentence(n: u32, count: u32) -> String {
    let words = (0..count).map(|i| word(n.wrapping_mul(31).wrapping_add(i)));
    words.collect::<Vec<_>>().join(" ")
}

fn word(n: u32) -> &'static str {
    const WORDS: [&str; 8] = [
        "order",
        "accepted",
        "customer",
        "shipment",
        "inventory",
        "retrying",
        "checkout",
        "completed",
    ];
    WORDS[(scattered(n) % 8) as usize]
}

/// Another number for each number, all over the place, so that no branch is learnt by heart.
fn scattered(n: u32) -> u64 {
    let mixed = (u64::from(n) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}
