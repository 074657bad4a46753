//! The reference frames of `fixtures/protocol/forward-vectors.json`.

use std::sync::LazyLock;

use serde_json::Value as Json;

static FILE: LazyLock<Json> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../fixtures/protocol/forward-vectors.json")).unwrap()
});

static WELL_FORMED: LazyLock<Vec<Vector>> = LazyLock::new(|| read("vectors"));

static MALFORMED_AND_EDGE: LazyLock<Vec<Vector>> =
    LazyLock::new(|| read("malformed_and_edge_inputs"));

/// One frame of the file.
#[derive(Clone, Debug)]
pub struct Vector {
    pub name: String,
    pub bytes: Vec<u8>,
    /// `client>server`, `server>client`, `udp`; empty among the malformed.
    pub kind: String,
    pub expect_ack: Option<String>,
    pub decoded: Json,
}

/// The frames that peers send each other, all of them right but `message_metadata_time`.
pub fn well_formed() -> &'static [Vector] {
    &WELL_FORMED
}

/// The frames that are wrong, or right and odd.
pub fn malformed_and_edge() -> &'static [Vector] {
    &MALFORMED_AND_EDGE
}

/// One frame of either kind.
pub fn named(name: &str) -> &'static Vector {
    let mut all = well_formed().iter().chain(malformed_and_edge());
    all.find(|vector| vector.name == name).expect("a vector of this name")
}

/// The file as JSON.
pub fn file() -> &'static Json {
    &FILE
}

/// The bytes that a string of hexadecimal digits stands for.
pub fn from_hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "{text}");
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits"))
        .collect()
}

fn read(section: &str) -> Vec<Vector> {
    let vectors = FILE[section].as_array().expect("a list of frames");
    let text = |value: &Json| value.as_str().map(str::to_owned);
    vectors
        .iter()
        .map(|vector| Vector {
            name: text(&vector["name"]).expect("a name"),
            bytes: from_hex(vector["hex"].as_str().expect("bytes")),
            kind: text(&vector["kind"]).unwrap_or_default(),
            expect_ack: text(&vector["expect_ack"]),
            decoded: vector["decoded"].clone(),
        })
        .collect()
}
