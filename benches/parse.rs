//! Bytes of JSON per second on one core, straight to MessagePack: our reader beside the two it
//! was chosen over. All three write the same bytes (checked before anything is measured).
//!
//! `docs/decisions/0002-our-own-json-reader.md` has the figures.

use std::fmt;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use log_ambassador::model::{EventTime, record};
use log_ambassador::parse::{Definition, Format, Parser};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Writes whatever a serde reader finds as MessagePack.
struct IntoMessagePack<'a>(&'a mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for IntoMessagePack<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for IntoMessagePack<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        record::write_nil(self.0);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        record::write_bool(self.0, value);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        record::write_uint(self.0, value);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        record::write_int(self.0, value);
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        record::write_float(self.0, value);
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        record::write_str(self.0, value);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        let header = self.0.len();
        self.0.push(0);
        let mut count = 0;
        while values.next_element_seed(IntoMessagePack(self.0))?.is_some() {
            count += 1;
        }
        put_header(self.0, header, record::array_header(count));
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<(), A::Error> {
        let header = self.0.len();
        self.0.push(0);
        let mut count = 0;
        while pairs.next_key_seed(IntoMessagePack(self.0))?.is_some() {
            pairs.next_value_seed(IntoMessagePack(self.0))?;
            count += 1;
        }
        put_header(self.0, header, record::map_header(count));
        Ok(())
    }
}

fn put_header(out: &mut Vec<u8>, at: usize, (bytes, length): ([u8; 5], usize)) {
    out.splice(at..=at, bytes[..length].iter().copied());
}

fn with_serde_json(line: &str, out: &mut Vec<u8>) {
    let mut reader = serde_json::Deserializer::from_str(line);
    IntoMessagePack(out).deserialize(&mut reader).expect("the corpus is JSON");
    reader.end().expect("one object a line");
}

fn with_sonic_rs(line: &str, out: &mut Vec<u8>) {
    let mut reader = sonic_rs::Deserializer::from_str(line);
    IntoMessagePack(out).deserialize(&mut reader).expect("the corpus is JSON");
    reader.end().expect("one object a line");
}

/// The reader as the reference configuration sets it up, or with the time key left alone.
fn ours(reads_time: bool) -> Parser {
    let mut definition = Definition::new("json", Format::Json);
    if reads_time {
        definition.time_key = Some("time".to_owned());
        definition.time_format = Some("%Y-%m-%dT%H:%M:%S.%L%z".to_owned());
        definition.time_keep = Some(true);
    }
    Parser::compile(&definition).expect("the definition is right")
}

const READ_AT: EventTime = EventTime { seconds: 1_790_000_000, nanos: 0 };

/// Lines of one kind, enough of them that no branch is learnt by heart.
struct Corpus {
    name: &'static str,
    lines: Vec<String>,
}

impl Corpus {
    fn of(name: &'static str, line: impl Fn(u32) -> String) -> Self {
        Self { name, lines: (0..500).map(line).collect() }
    }

    fn bytes(&self) -> u64 {
        self.lines.iter().map(|line| line.len() as u64).sum()
    }
}

/// A number below `below` that jumps about, the same in each run.
fn shuffled(number: u32, below: u32) -> u32 {
    (number.wrapping_mul(2_654_435_761) >> 8) % below
}

fn time(n: u32) -> String {
    format!("2026-11-{:02}T{:02}:{:02}:{:02}.{:03}Z", n % 28 + 1, n % 24, n % 60, n % 59, n % 1000)
}

const LEVELS: [&str; 4] = ["INFO", "WARN", "DEBUG", "ERROR"];
const WORDS: [&str; 8] =
    ["order", "accepted", "customer", "shipment", "inventory", "retrying", "checkout", "completed"];

/// `count` words, others for each `n`.
fn sentence(n: u32, count: u32) -> String {
    let word = |i: u32| WORDS[shuffled(n * 31 + i, 8) as usize];
    (0..count).map(word).collect::<Vec<_>>().join(" ")
}

fn corpora() -> Vec<Corpus> {
    vec![
        Corpus::of("ordinary, 400 bytes", |n| {
            format!(
                r#"{{"time":"{}","level":"{}","logger":"com.example.shop.checkout.CheckoutService","thread":"http-nio-8080-exec-{}","message":"{}","traceId":"{:016x}{:016x}","spanId":"{:016x}","userId":{},"durationMs":{}.{},"status":200,"cached":{},"http":{{"method":"POST","path":"/api/v1/orders/{}","bytes":{}}}}}"#,
                time(n),
                LEVELS[(n % 4) as usize],
                n % 64,
                sentence(n, 6 + n % 5),
                u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15),
                u64::from(n).wrapping_mul(0xbf58_476d_1ce4_e5b9),
                u64::from(n).wrapping_mul(0x94d0_49bb_1331_11eb),
                n * 977,
                n % 900,
                n % 97,
                n % 3 == 0,
                n * 13,
                n * 31,
            )
        }),
        Corpus::of("short, 110 bytes", |n| {
            format!(
                r#"{{"time":"{}","level":"{}","msg":"{}","n":{}}}"#,
                time(n),
                LEVELS[(n % 4) as usize],
                sentence(n, 4),
                n * 7,
            )
        }),
        Corpus::of("escapes and other scripts", |n| {
            format!(
                r#"{{"time":"{}","level":"INFO","message":"\"{}\" für Jürgen Müller, 注文を受け付けました № {}\tC:\\data\\{}","note":"caf\u00e9 \ud83d\ude00 готово"}}"#,
                time(n),
                sentence(n, 3),
                n,
                sentence(n + 1, 2).replace(' ', "\\\\"),
            )
        }),
        Corpus::of("stack traces, 2.7 KB", |n| {
            let frames: String = (0..35)
                .map(|i| {
                    let class = WORDS[shuffled(n + i, 8) as usize];
                    format!(
                        r"\n\tat com.example.shop.{class}.Handler.handle{i}(Handler.java:{})",
                        shuffled(n * i, 900),
                    )
                })
                .collect();
            format!(
                r#"{{"time":"{}","level":"ERROR","message":"failed","exception":"java.lang.IllegalStateException: {}{frames}"}}"#,
                time(n),
                sentence(n, 8),
            )
        }),
    ]
}

fn all(corpus: &Corpus, out: &mut Vec<u8>, mut read: impl FnMut(&str, &mut Vec<u8>)) {
    for line in &corpus.lines {
        out.clear();
        read(black_box(line), out);
        black_box(&out);
    }
}

fn json(criterion: &mut Criterion) {
    let (plain, timed) = (ours(false), ours(true));
    let with = |parser: &Parser, line: &str, out: &mut Vec<u8>| {
        parser.parse(line, READ_AT, out).expect("the corpus is JSON");
    };
    for corpus in corpora() {
        check_that_all_agree(&corpus, &plain);
        let mut group = criterion.benchmark_group("json");
        group.throughput(Throughput::Bytes(corpus.bytes()));
        group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
        let mut out = Vec::with_capacity(1 << 16);
        group.bench_function(BenchmarkId::new("ours", corpus.name), |b| {
            b.iter(|| all(&corpus, &mut out, |line, out| with(&plain, line, out)));
        });
        group.bench_function(BenchmarkId::new("ours, with the time", corpus.name), |b| {
            b.iter(|| all(&corpus, &mut out, |line, out| with(&timed, line, out)));
        });
        group.bench_function(BenchmarkId::new("serde_json", corpus.name), |b| {
            b.iter(|| all(&corpus, &mut out, with_serde_json));
        });
        group.bench_function(BenchmarkId::new("sonic-rs", corpus.name), |b| {
            b.iter(|| all(&corpus, &mut out, with_sonic_rs));
        });
        group.finish();
    }
}

fn check_that_all_agree(corpus: &Corpus, parser: &Parser) {
    for line in &corpus.lines {
        let (mut own, mut serde, mut sonic) = (Vec::new(), Vec::new(), Vec::new());
        parser.parse(line, READ_AT, &mut own).expect("the corpus is JSON");
        with_serde_json(line, &mut serde);
        with_sonic_rs(line, &mut sonic);
        assert_eq!(own, serde, "{line}");
        assert_eq!(own, sonic, "{line}");
    }
}

criterion_group!(benches, json);
criterion_main!(benches);
