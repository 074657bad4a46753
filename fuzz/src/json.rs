//! `protocol::json`: what people are shown.

use log_ambassador::model::cursor::Reader;
use log_ambassador::protocol::json::write_json;

use super::memory::within;

/// - What can be read can be shown, and nothing else; what is wrong has a place inside of the bytes.
/// - What is shown is JSON, on one line.
/// - It is no more than a few times as long, however the value is nested.
pub fn check(bytes: &[u8]) {
    let mut out = Vec::new();
    // An empty array as a key is the worst: `"msgpack:kA==":` for a byte, and two levels of keys
    // quote no quotes. The buffer doubles, and is there twice when it does.
    let most = 32 * bytes.len() + 128;
    let shown = within(3 * most, || write_json(bytes, &mut out));
    assert!(out.len() <= most, "{} bytes of JSON for {}", out.len(), bytes.len());
    let is_read = Reader::new(bytes).skip().is_ok();
    assert_eq!(shown.is_ok(), is_read, "what can be read can be shown");
    assert!(shown.is_ok() || shown.is_err_and(|error| error.at <= bytes.len()), "outside");
    if shown.is_ok() {
        assert!(!out.contains(&b'\n'));
        serde_json::from_slice::<serde::de::IgnoredAny>(&out).expect("it is JSON");
    }
}
