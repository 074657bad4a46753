//! What is not written in UTF-8 arrives as the text it is, however it is torn, cut or met again.

#![allow(clippy::unwrap_used, reason = "a helper that fails should fail its test")]

mod support;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use log_ambassador::ingest::Encoder;
use log_ambassador::ingest::encode::Origin;
use log_ambassador::model::{EventTime, FileId, Tag};
use log_ambassador::parse::{Definition, Format, Parser, Type};
use log_ambassador::tail::encoding::{ByteOrder, Charset, Encoding};
use log_ambassador::tail::{FollowedFile, ReadBuffer, Reading, Settings, lines};
use proptest::prelude::*;
use serde_json::Value;
use support::{FakeFluentd, LogDir, SOON, Told, wait_until};

const LITTLE: Encoding = Encoding::Utf16(ByteOrder::Little);
const BIG: Encoding = Encoding::Utf16(ByteOrder::Big);

fn utf_16(order: ByteOrder, text: &str) -> Vec<u8> {
    let bytes = |unit: u16| match order {
        ByteOrder::Little => unit.to_le_bytes(),
        ByteOrder::Big => unit.to_be_bytes(),
    };
    text.encode_utf16().flat_map(bytes).collect()
}

fn little(text: &str) -> Vec<u8> {
    utf_16(ByteOrder::Little, text)
}

/// The records that arrived, without what the filter of these tests adds.
fn records(fluentd: &FakeFluentd) -> Vec<Value> {
    let own = |mut record: Value| {
        let map = record.as_object_mut().unwrap();
        map.remove("hostname");
        map.remove("namespace");
        record
    };
    fluentd.events().into_iter().map(|event| own(event.record)).collect()
}

fn fixtures(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(format!("fixtures/encodings/{folder}")).unwrap();
    let mut logs: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.sort();
    assert!(!logs.is_empty());
    logs
}

/// The name of a fixture, up to the first dot, is the value of the key.
fn arrives_as_written_beside(key: &str, log: &Path) {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let value = log.file_name().unwrap().to_str().unwrap().split('.').next().unwrap();
    fs::copy(log, logs.file("app.log")).unwrap();
    let expected = fs::read_to_string(log.with_extension("json")).unwrap();
    let expected: Vec<Value> =
        expected.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let agent = Told::to_follow(&logs, &fluentd).input(&format!("{key} {value}")).start();
    fluentd.wait_for_records(expected.len() as u64, SOON);
    assert_eq!(records(&fluentd), expected, "{}", log.display());
    let (status, log) = agent.stop_and_log();
    let has_bad = expected.iter().any(|record| record["log"] == "a\u{fffd}b");
    assert_eq!(log.contains("they are replaced by U+FFFD"), has_bad, "{log}");
    assert_eq!(status, 0);
}

#[test]
fn files_in_every_unicode_encoding_arrive_as_the_fixtures_say() {
    for log in fixtures("unicode") {
        arrives_as_written_beside("Unicode.Encoding", &log);
    }
}

#[test]
fn files_in_every_generic_encoding_arrive_as_the_fixtures_say() {
    let logs = fixtures("generic");
    let names: Vec<_> = logs.iter().map(|log| log.file_stem().unwrap().to_str().unwrap()).collect();
    assert!(Encoding::GENERIC.iter().all(|name| names.contains(name)), "{names:?}");
    for log in &logs {
        arrives_as_written_beside("Generic.Encoding", log);
    }
}

#[test]
fn a_byte_order_mark_at_the_head_of_a_utf_8_file_is_no_part_of_its_first_line() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    logs.append("app.log", "\u{feff}{\"n\":1}\n");
    let agent = Told::to_follow(&logs, &fluentd).input("Offset_Key at").start();
    fluentd.wait_for_records(1, SOON);
    logs.copy_and_truncate("app.log", "app.log.1");
    logs.append("app.log", "\u{feff}{\"n\":2}\n{\"n\":3}\n");
    fluentd.wait_for_records(3, SOON);
    let expected = [(1, 3), (2, 3), (3, 11)].map(|(n, at)| serde_json::json!({"n": n, "at": at}));
    assert_eq!(records(&fluentd), expected);
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_restart_in_the_middle_of_a_file_still_knows_its_byte_order() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let database = tempfile::tempdir().unwrap();
    let told = Told::to_follow(&logs, &fluentd)
        .input("Unicode.Encoding auto")
        .input(&format!("DB {}", database.path().join("positions").display()));
    let long = "ab".repeat(200);
    for (number, order) in [ByteOrder::Little, ByteOrder::Big].into_iter().enumerate() {
        logs.append(&format!("{number}.log"), utf_16(order, &format!("\u{feff}{long}\n")));
    }
    let agent = told.start();
    fluentd.wait_for_records(2, SOON);
    assert_eq!(agent.stop(), 0);
    for (number, order) in [ByteOrder::Little, ByteOrder::Big].into_iter().enumerate() {
        logs.append(&format!("{number}.log"), utf_16(order, "{\"n\":\"Ċ\"}\n"));
    }
    let agent = told.start();
    fluentd.wait_for_records(4, SOON);
    assert_eq!(
        records(&fluentd)[2..],
        [serde_json::json!({"n": "Ċ"}), serde_json::json!({"n": "Ċ"})]
    );
    assert_eq!(agent.stop(), 0);
}

#[test]
fn long_lines_of_utf_16_are_cut_or_left_out_and_their_neighbours_arrive() {
    for (key, expects_beginning) in
        [("Skip_Long_Lines On", false), ("Truncate_Long_Lines On", true)]
    {
        let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
        let told = Told::to_follow(&logs, &fluentd)
            .input("Unicode.Encoding utf-16le")
            .input("Buffer_Max_Size 100001")
            .input(key);
        let agent = told.start();
        let long = "ਊ😀".repeat(60_000);
        logs.append("app.log", little(&format!("{{\"n\":1}}\n{long}\n{{\"n\":2}}\n")));
        // One that is seen before its newline comes, and torn inside of a code unit.
        let torn = little(&format!("{long}\n{{\"n\":3}}\n"));
        logs.append("app.log", &torn[..250_001]);
        let beginnings = if expects_beginning { 2 } else { 0 };
        fluentd.wait_for_records(2 + beginnings, SOON);
        logs.append("app.log", &torn[250_001..]);
        fluentd.wait_for_records(3 + beginnings, SOON);
        let (cut, whole): (Vec<_>, Vec<_>) =
            records(&fluentd).into_iter().partition(|record| record.get("truncated").is_some());
        let numbers: Vec<_> = whole.iter().map(|record| record["n"].as_u64().unwrap()).collect();
        assert_eq!(numbers, [1, 2, 3], "{key}");
        assert_eq!(cut.len() as u64, beginnings);
        for record in cut {
            let text = record["log"].as_str().unwrap();
            let taken = text.encode_utf16().count() * 2;
            assert!(long.starts_with(text) && (99_996..=99_999).contains(&taken), "{taken}");
        }
        assert_eq!(agent.stop(), 0);
    }
}

#[test]
fn lines_that_are_joined_are_converted_first_and_once() {
    let docker = r#"{"log":"Größe Ċ ","stream":"stdout"}
{"log":"日本語\n","stream":"stdout"}
"#;
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    logs.append("app.log", little(&format!("\u{feff}{docker}")));
    let told = Told::to_follow(&logs, &fluentd).input("Unicode.Encoding auto");
    let agent = told.input("Docker_Mode On").start();
    let log = &fluentd.wait_for_records(1, SOON)[0].record["log"];
    assert_eq!(log.as_str().unwrap().trim_end(), "Größe Ċ 日本語");
    assert_eq!(agent.stop(), 0);
}

#[test]
fn an_unterminated_last_line_of_utf_16_arrives_at_the_stop_with_its_torn_end_marked() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    logs.append("app.log", [little("one\ntwo\r").as_slice(), b"x"].concat());
    let agent = Told::to_follow(&logs, &fluentd).input("Unicode.Encoding utf-16le").start();
    fluentd.wait_for_records(1, SOON);
    assert_eq!(agent.stop(), 0);
    let texts: Vec<_> = records(&fluentd).iter().map(|record| record["log"].clone()).collect();
    assert_eq!(texts, ["one", "two\r\u{fffd}"]);
}

#[test]
fn a_file_whose_last_character_is_torn_at_the_start_is_read_from_before_it() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let text = little("old\n{\"n\":1}\n");
    logs.append("app.log", &text[..9]);
    let told = Told::to_follow(&logs, &fluentd)
        .input("Unicode.Encoding utf-16le")
        .input("Read_from_Head Off");
    let agent = told.start();
    agent.wait_for_log("connected");
    let file = logs.file("app.log");
    wait_until("the file is open", || agent.open_files().contains(&file));
    logs.append("app.log", &text[9..]);
    fluentd.wait_for_records(1, SOON);
    assert_eq!(records(&fluentd), [serde_json::json!({"n": 1})]);
    assert_eq!(agent.stop(), 0);
}

// === One followed file, by itself

struct Followed {
    directory: tempfile::TempDir,
    encoding: Encoding,
    file: FollowedFile,
    buffer: ReadBuffer,
    slice: usize,
}

impl Followed {
    fn new(encoding: Encoding, slice: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("app.log"), "").unwrap();
        let file = open(&directory, encoding);
        Self { directory, encoding, file, buffer: ReadBuffer::default(), slice }
    }

    fn append(&self, bytes: &[u8]) {
        let path = self.directory.path().join("app.log");
        OpenOptions::new().append(true).open(path).unwrap().write_all(bytes).unwrap();
    }

    fn replace(&self, bytes: &[u8]) {
        fs::write(self.directory.path().join("app.log"), bytes).unwrap();
    }

    /// As after a restart: what is known is what a position store keeps.
    fn restart(&mut self) {
        let position = self.file.stored_position();
        self.file = open(&self.directory, self.encoding);
        self.file.start_at(position.mark, position.generation, position.head);
    }

    /// The lines that are complete by now.
    fn take_all(&mut self) -> Vec<String> {
        let mut taken = Vec::new();
        loop {
            match self.file.read(&mut self.buffer, self.slice, 1 << 20, |_| ()).unwrap() {
                Reading::AtEnd => return taken,
                Reading::Longer => {}
                Reading::Lines { offset, end } => {
                    let bytes = &self.buffer.from(offset)[..usize::try_from(end - offset).unwrap()];
                    self.cut(bytes, &mut taken);
                    self.file.take(&self.buffer, end, 0, Instant::now());
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn cut(&self, mut bytes: &[u8], taken: &mut Vec<String>) {
        let charset = self.file.charset();
        while let Some(line) = lines::first_line(bytes, charset) {
            let text = charset.as_text(line.content).map(str::to_owned);
            let text = text.unwrap_or_else(|| charset.decode(line.content).0.into_owned());
            taken.push(text);
            bytes = &bytes[line.taken..];
        }
    }
}

fn open(directory: &tempfile::TempDir, encoding: Encoding) -> FollowedFile {
    let path = directory.path().join("app.log");
    let opened = File::open(&path).unwrap();
    let mut file =
        FollowedFile::new(FileId(1), path, Tag::new("a"), opened, Instant::now()).unwrap();
    file.encoding = encoding;
    file
}

#[test]
fn a_hole_in_a_utf_16_file_ends_where_a_character_begins() {
    for (encoding, order) in [
        (LITTLE, ByteOrder::Little),
        (BIG, ByteOrder::Big),
        (Encoding::Auto, ByteOrder::Little),
        (Encoding::Auto, ByteOrder::Big),
    ] {
        let mut followed = Followed::new(encoding, 64);
        followed.append(&utf_16(order, "before\n"));
        assert_eq!(followed.take_all(), ["before"]);
        followed.replace(&[vec![0; 200], utf_16(order, "after\n")].concat());
        assert_eq!(followed.take_all(), ["after"], "{encoding:?} {order:?}");
    }
}

#[test]
fn a_position_inside_of_a_character_goes_on_at_the_next_one() {
    // As it is when the file was taken for UTF-8 before: its newline ended at an odd offset.
    let mut followed = Followed::new(Encoding::Utf8, 64);
    followed.append(&little("one\n"));
    followed.take_all();
    assert_eq!(followed.file.position().offset, 7);
    followed.encoding = LITTLE;
    followed.restart();
    followed.append(&little("two\n"));
    assert_eq!(followed.take_all(), ["two"]);
}

#[test]
fn a_mark_that_comes_torn_is_no_part_of_the_first_line() {
    for text in ["\u{feff}one\n".as_bytes().to_vec(), little("\u{feff}one\n")] {
        let mut followed = Followed::new(Encoding::Auto, 64);
        let mut taken = Vec::new();
        for byte in text {
            followed.append(&[byte]);
            taken.extend(followed.take_all());
        }
        assert_eq!(taken, ["one"]);
    }
}

/// What files can be: what the input is told, what they are written in, and whether they begin
/// with a byte order mark.
fn kinds() -> Vec<(Encoding, Charset, bool)> {
    let utf_16 = [ByteOrder::Little, ByteOrder::Big].map(Charset::Utf16);
    let mut kinds =
        vec![(Encoding::Utf8, Charset::Utf8, false), (Encoding::Utf8, Charset::Utf8, true)];
    for has_mark in [false, true] {
        kinds.push((Encoding::Auto, Charset::Utf8, has_mark));
        kinds.extend(utf_16.map(|charset| (Encoding::Auto, charset, has_mark)));
        kinds.push((LITTLE, utf_16[0], has_mark));
        kinds.push((BIG, utf_16[1], has_mark));
    }
    kinds.push((LITTLE, utf_16[1], true));
    for encoding in Encoding::GENERIC.iter().filter_map(|name| Encoding::named(name)) {
        kinds.extend(encoding.of_file(b"").map(|charset| (encoding, charset, false)));
    }
    kinds
}

/// The bytes of a character. `None`: it has none there, or they are those of another.
fn encode(charset: Charset, character: char) -> Option<Vec<u8>> {
    let text = character.to_string();
    match charset {
        Charset::Utf8 => Some(text.into_bytes()),
        Charset::Utf16(order) => Some(utf_16(order, &text)),
        Charset::Legacy(encoding) => {
            let bytes = encoding.encode(&text).0.into_owned();
            let is_same = encoding.decode_without_bom_handling(&bytes) == (text.into(), false);
            is_same.then_some(bytes)
        }
    }
}

/// What lines are made of that grow: bytes that are long characters in some encoding, and values
/// that are longer as MessagePack, with `Types` or without.
const PIECES: &[&[u8]] = &[
    b"\x80",
    b"\xb1",
    b"\xd2\0",
    b"\xa4\xa4",
    b"\xff",
    b"=",
    b" ",
    b"1",
    b"\x80=1 ",
    b"\x80= ",
    b"\x80:1\t",
    b"{\"\x80\":1e1",
    b",\"\x80\":1e1",
    b"}",
    b"\x80\0=\x001\0 \0",
    b"\xac\x20=\x001\0 \0",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn text_in_any_encoding_torn_at_any_byte_is_the_text(
        lines in prop::collection::vec(r"([a-z\{\\\|]|[Ċਊߊ\x0b日本語кот漢字한글ｱカไทยéşعא😀])(\PC|[ -~]|[Ċਊߊ日本語кот漢字한글ｱカไทยéşعא😀\x00\r]){0,40}", 1..8),
        tears in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..12),
        slice in 5..200_usize,
    ) {
        for (encoding, charset, has_mark) in kinds() {
            let keeps = |c: &char| encode(charset, *c).is_some();
            let guessed = encoding == Encoding::Auto && !has_mark;
            let lines: Vec<String> = lines.iter().map(|line| {
                let kept: String = line.chars().filter(keeps).collect();
                // The first character of a file is what `auto` has to go by.
                let ascii = if guessed { "a" } else { "" };
                format!("{ascii}{}", kept.trim_end_matches('\r'))
            }).collect();
            let mark = if has_mark { "\u{feff}" } else { "" };
            let text = format!("{mark}{}\n", lines.join("\n"));
            let bytes: Vec<u8> = text.chars().filter_map(|c| encode(charset, c)).flatten().collect();

            let mut followed = Followed::new(encoding, slice);
            let mut tears: Vec<_> = tears.iter().map(|(at, stops)| (at.index(bytes.len()), *stops)).collect();
            tears.sort_unstable();
            tears.push((bytes.len(), false));
            let (mut written, mut taken) = (0, Vec::new());
            for (tear, stops) in tears {
                followed.append(&bytes[written..tear]);
                written = tear;
                taken.extend(followed.take_all());
                if stops {
                    followed.restart();
                }
            }
            prop_assert_eq!(&taken, &lines, "{:?} {:?} {}", encoding, charset, has_mark);
            prop_assert_eq!(followed.file.next_offset(), bytes.len() as u64);
        }
    }

    #[test]
    fn an_event_never_takes_more_than_was_asked_for_before_it_was_read(
        pieces in prop::collection::vec((prop::sample::select(PIECES), 1..300_usize), 0..4),
    ) {
        let line: Vec<u8> = pieces.iter().flat_map(|(piece, times)| piece.repeat(*times)).collect();
        for (encoding, charset, _) in kinds().into_iter().filter(|kind| kind.1 != Charset::Utf8) {
            for format in [Format::Json, Format::Logfmt { no_bare_keys: false }, Format::Ltsv] {
                let mut definition = Definition::new("p", format);
                definition.types = ["\u{fffd}", "€", "\u{80}"].map(|key| (key.to_owned(), Type::Float)).to_vec();
                let parser = Parser::compile(&definition).unwrap();
                let mut settings = Settings::new("tail.0", Vec::new());
                settings.encoding = encoding;
                let mut encoder = Encoder::new(&settings, Some(parser), 0, std::sync::Arc::default());
                let path = Path::new("/app.log");
                let worst = encoder.worst_case(line.len(), path);
                let read_at = EventTime::default();
                let origin = Origin { file: FileId(1), path, offset: 0, charset, read_at, filters: &[] };
                let mut out = Vec::new();
                encoder.encode_bytes(&line, origin, &mut [], &mut out);
                prop_assert!(out.len() <= worst, "{} > {worst}: {charset:?} {line:x?}", out.len());
                out.clear();
                encoder.encode_cut(&line, origin, &mut [], &mut out);
                prop_assert!(out.len() <= worst, "{} > {worst}: {charset:?} {line:x?}", out.len());
            }
        }
    }
}
