//! Adds fields, and removes or keeps some: Fluent Bit's `record_modifier`.
//!
//! In:  a record at the end of a buffer
//! Out: the same record without the keys it is to lose and with the pairs it is to get
//!
//! Pairs to add are encoded once. A filter that only adds never looks inside a record.

use super::uuid::{self, Uuids};
use super::{FilterError, Verdict};
use crate::model::cursor::{ReadError, Reader, Token};
use crate::model::record;

/// A map header of one byte can become one of five.
const HEADER_GROWTH: usize = 4;

/// Its keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `Record KEY VALUE`, in the order written: appended to every record as strings.
    pub records: Vec<(String, String)>,
    /// `Remove_key`: keys to leave out; ASCII case does not matter, a trailing `*` makes a prefix.
    pub remove_keys: Vec<String>,
    /// `Allowlist_key` and `Whitelist_key`: the only incoming keys to keep, written the same way.
    pub allowlist_keys: Vec<String>,
    /// `Uuid_key`: the key under which every record gets a random UUID.
    pub uuid_key: Option<String>,
}

/// The filter, ready to work.
#[derive(Debug)]
pub(super) struct RecordModifier {
    kept: Kept,
    added: Added,
}

impl RecordModifier {
    pub(super) fn compile(settings: &Settings, seed: u128) -> Result<Self, FilterError> {
        Ok(Self { kept: Kept::compile(settings)?, added: Added::encode(settings, seed) })
    }

    pub(super) fn added_bytes(&self) -> usize {
        if self.added.pairs == 0 { 0 } else { self.added.bytes.len() + HEADER_GROWTH }
    }

    /// A record that loses its last key here and gets none is dropped. (Fluent Bit lets all
    /// records of a batch through, unchanged, when each of them would be dropped: what was to be
    /// removed is then delivered. We do not.)
    pub(super) fn apply(&mut self, out: &mut Vec<u8>, start: usize) -> Verdict {
        if self.kept.retain(out, start) == Retained::Nothing && self.added.pairs == 0 {
            return Verdict::Drop;
        }
        self.added.append(out, start);
        Verdict::Keep
    }
}

/// Which of the keys that a record comes with it may keep.
#[derive(Debug)]
enum Kept {
    All,
    Except(Vec<KeyPattern>),
    Only(Vec<KeyPattern>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retained {
    /// At least one pair, or there was none to lose.
    Something,
    Nothing,
}

impl Kept {
    fn compile(settings: &Settings) -> Result<Self, FilterError> {
        let patterns = |keys: &[String]| keys.iter().map(|key| KeyPattern::new(key)).collect();
        match (&settings.remove_keys[..], &settings.allowlist_keys[..]) {
            ([], []) => Ok(Self::All),
            (keys, []) => Ok(Self::Except(patterns(keys))),
            ([], keys) => Ok(Self::Only(patterns(keys))),
            _ => Err(FilterError::RemoveAndAllowlist),
        }
    }

    /// Moves the pairs that stay together, in their order, and counts them in the header.
    fn retain(&self, out: &mut Vec<u8>, start: usize) -> Retained {
        if matches!(self, Self::All) {
            return Retained::Something;
        }
        let (pairs, header) =
            record::read_map_header(&out[start..]).expect("a record begins with a map header");
        let (mut from, mut to) = (start + header, start + header);
        let mut kept = 0;
        for _ in 0..pairs {
            let pair = Pair::read(&out[from..]).expect("a record is whole");
            let end = from + pair.length;
            if self.keeps(pair.key) {
                out.copy_within(from..end, to);
                to += end - from;
                kept += 1;
            }
            from = end;
        }
        out.truncate(to);
        record::set_pairs(out, start, kept);
        if kept == 0 && pairs > 0 { Retained::Nothing } else { Retained::Something }
    }

    fn keeps(&self, key: Option<&[u8]>) -> bool {
        let is_named = |patterns: &[KeyPattern]| {
            key.is_some_and(|key| patterns.iter().any(|pattern| pattern.matches(key)))
        };
        match self {
            Self::All => true,
            Self::Except(patterns) => !is_named(patterns),
            Self::Only(patterns) => is_named(patterns),
        }
    }
}

/// One pair of a record.
struct Pair<'a> {
    /// `None`: a key that is not text, which no pattern names.
    key: Option<&'a [u8]>,
    /// The bytes of key and value.
    length: usize,
}

impl<'a> Pair<'a> {
    /// The pair that `bytes` begin with.
    fn read(bytes: &'a [u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new(bytes);
        let key = match reader.peek()? {
            Token::Str(key) | Token::Bin(key) => Some(key),
            _ => None,
        };
        // The record around them counts towards the nesting.
        reader.skip_inside(1)?;
        reader.skip_inside(1)?;
        Ok(Self { key, length: reader.at() })
    }
}

/// A key as `Remove_key` and `Allowlist_key` name it.
#[derive(Debug)]
enum KeyPattern {
    Whole(String),
    Prefix(String),
}

impl KeyPattern {
    fn new(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(prefix) => Self::Prefix(prefix.to_owned()),
            None => Self::Whole(text.to_owned()),
        }
    }

    fn matches(&self, key: &[u8]) -> bool {
        match self {
            Self::Whole(name) => key.eq_ignore_ascii_case(name.as_bytes()),
            Self::Prefix(prefix) => key
                .get(..prefix.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(prefix.as_bytes())),
        }
    }
}

/// The pairs that every record gets, encoded.
#[derive(Debug)]
struct Added {
    pairs: usize,
    /// With UUIDs, the text of the current one is at the end.
    bytes: Vec<u8>,
    uuids: Option<Uuids>,
}

impl Added {
    fn encode(settings: &Settings, seed: u128) -> Self {
        let mut bytes = Vec::new();
        for (key, value) in &settings.records {
            record::write_str(&mut bytes, key);
            record::write_str(&mut bytes, value);
        }
        if let Some(key) = &settings.uuid_key {
            record::write_str(&mut bytes, key);
            record::write_str_header(&mut bytes, uuid::LENGTH);
            bytes.extend_from_slice(&[b'0'; uuid::LENGTH]);
        }
        Self {
            pairs: settings.records.len() + usize::from(settings.uuid_key.is_some()),
            bytes,
            uuids: settings.uuid_key.as_ref().map(|_| Uuids::new(seed)),
        }
    }

    fn append(&mut self, out: &mut Vec<u8>, start: usize) {
        if let Some(uuids) = &mut self.uuids {
            uuids.write_next(self.bytes.last_chunk_mut().expect("a UUID ends them"));
        }
        record::append_pairs(out, start, self.pairs, &self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands in the buffer before the record: it must stay as it is.
    const BEFORE: &[u8] = b"before";

    fn keys(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn records(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn remove(names: &[&str]) -> Settings {
        Settings { remove_keys: keys(names), ..Settings::default() }
    }

    fn allow(names: &[&str]) -> Settings {
        Settings { allowlist_keys: keys(names), ..Settings::default() }
    }

    /// A record in which every key has its own number as value.
    fn numbered<K: AsRef<str>>(names: &[K]) -> Vec<u8> {
        let mut out = Vec::new();
        record::write_map_header(&mut out, names.len());
        for (number, name) in names.iter().enumerate() {
            record::write_str(&mut out, name.as_ref());
            record::write_uint(&mut out, number as u64);
        }
        out
    }

    /// What the filters, one after the other, make of a record. `None`: dropped.
    fn pass(filters: &[Settings], record: &[u8]) -> Option<Vec<u8>> {
        let mut out = [BEFORE, record].concat();
        for settings in filters {
            let mut filter = RecordModifier::compile(settings, 0).unwrap();
            let most = out.len() + filter.added_bytes();
            if filter.apply(&mut out, BEFORE.len()) == Verdict::Drop {
                return None;
            }
            assert!(out.len() <= most, "{settings:?} adds more than it says");
        }
        assert!(out.starts_with(BEFORE));
        Some(out.split_off(BEFORE.len()))
    }

    /// The keys of a record in their order. Its header must be the shortest, and nothing may
    /// follow its last pair.
    fn keys_of(record: &[u8]) -> Vec<String> {
        let (pairs, header) = record::read_map_header(record).unwrap();
        assert_eq!(header, record::map_header(pairs).1, "the shortest header of {pairs} pairs");
        let mut reader = Reader::new(&record[header..]);
        let names = (0..pairs).map(|_| {
            let name = reader.text("a key").unwrap().to_vec();
            reader.skip().unwrap();
            String::from_utf8(name).unwrap()
        });
        let names = names.collect();
        assert!(reader.is_at_end());
        names
    }

    #[test]
    fn records_are_appended_in_their_order_as_strings_whatever_they_look_like() {
        let settings = Settings {
            records: records(&[("n", "5"), ("ok", "true"), ("ref", "$log"), ("none", "")]),
            ..Settings::default()
        };
        let mut expected = vec![0x86, 0xa1, b'a', 0, 0xa1, b'b', 1];
        for text in ["n", "5", "ok", "true", "ref", "$log", "none", ""] {
            record::write_str(&mut expected, text);
        }
        assert_eq!(pass(&[settings], &numbered(&["a", "b"])), Some(expected));
    }

    #[test]
    fn an_existing_key_is_not_overwritten_but_follows_again_at_the_end() {
        let host = Settings { records: records(&[("host", "pod-1")]), ..Settings::default() };
        let once = pass(std::slice::from_ref(&host), &numbered(&["host", "log"])).unwrap();
        assert_eq!(keys_of(&once), ["host", "log", "host"]);
        let twice = pass(&[host.clone(), host], &numbered(&["log"])).unwrap();
        assert_eq!(keys_of(&twice), ["log", "host", "host"]);
    }

    #[test]
    fn keys_are_removed_or_kept_by_name_without_case_or_by_prefix() {
        let incoming = ["log", "Level", "kubernetes_pod", "kubernetes_node", "log"];
        for (settings, expected) in [
            (remove(&["log"]), vec!["Level", "kubernetes_pod", "kubernetes_node"]),
            (remove(&["LEVEL"]), vec!["log", "kubernetes_pod", "kubernetes_node", "log"]),
            (remove(&["KUBERNETES_*"]), vec!["log", "Level", "log"]),
            (remove(&["lo", "kubernetes", "g*", "*g", "l*g"]), incoming.to_vec()),
            (remove(&["log", "level"]), vec!["kubernetes_pod", "kubernetes_node"]),
            (remove(&["kubernetes_node_name*"]), incoming.to_vec()),
            (allow(&["level"]), vec!["Level"]),
            (allow(&["log"]), vec!["log", "log"]),
            (
                allow(&["kubernetes_*", "LOG"]),
                vec!["log", "kubernetes_pod", "kubernetes_node", "log"],
            ),
            (allow(&["*"]), incoming.to_vec()),
        ] {
            let left = pass(std::slice::from_ref(&settings), &numbered(&incoming)).unwrap();
            assert_eq!(keys_of(&left), expected, "{settings:?}");
        }
    }

    #[test]
    fn letters_beyond_ascii_keep_their_case() {
        let left = pass(&[remove(&["größe"])], &numbered(&["GRÖßE", "GRößE"])).unwrap();
        assert_eq!(keys_of(&left), ["GRÖßE"]);
    }

    #[test]
    fn values_of_every_shape_are_stepped_over_and_kept_whole() {
        let shapes: &[&[u8]] = &[
            &[0xc0],
            &[0xcb, 1, 2, 3, 4, 5, 6, 7, 8],
            &[0xda, 0, 2, b'x', b'y'],
            &[0xd7, 0, 1, 2, 3, 4, 5, 6, 7, 8],
            &[0x82, 0xa1, b'x', 0x90, 0xa1, b'y', 0x92, 1, 0x80],
        ];
        for shape in shapes {
            let gone = [&[0xa1, b'x'], *shape].concat();
            let stays = [&[0xa1, b'k'], *shape].concat();
            let record = [&[0x84][..], &gone, &stays, &gone, &stays].concat();
            let expected = [&[0x82][..], &stays, &stays].concat();
            assert_eq!(pass(&[remove(&["x"])], &record), Some(expected.clone()), "{shape:02x?}");
            assert_eq!(pass(&[allow(&["K"])], &record), Some(expected), "{shape:02x?}");
        }
    }

    #[test]
    fn a_record_as_deep_as_the_reader_goes_is_walked() {
        let deep = [&[0x91; crate::model::cursor::MAX_DEPTH - 1][..], &[0x01]].concat();
        let record = [&[0x82, 0xa1, b'x', 0xc0, 0xa1, b'd'], &deep[..]].concat();
        let expected = [&[0x81, 0xa1, b'd'], &deep[..]].concat();
        assert_eq!(pass(&[remove(&["x"])], &record), Some(expected));
    }

    #[test]
    fn a_key_that_is_not_text_has_no_name() {
        // {1: 2, bin "x": 3}
        let record = [0x82, 1, 2, 0xc4, 1, b'x', 3];
        assert_eq!(pass(&[remove(&["*"])], &record), Some(vec![0x81, 1, 2]));
        assert_eq!(pass(&[allow(&["x"])], &record), Some(vec![0x81, 0xc4, 1, b'x', 3]));
    }

    #[test]
    fn the_header_stays_the_shortest_while_pairs_go_and_come() {
        for count in [1_usize, 15, 16, 17, 65_535, 65_536, 65_537] {
            let names: Vec<_> = (0..count).map(|number| format!("k{number}")).collect();
            let expected = names[1..].to_vec();
            let remove_first = Settings { records: records(&[("new", "")]), ..remove(&["k0"]) };
            let left = pass(&[remove_first], &numbered(&names)).unwrap();
            assert_eq!(keys_of(&left), [expected, keys(&["new"])].concat(), "{count} keys");
        }
    }

    #[test]
    fn added_pairs_are_neither_removed_nor_need_to_be_allowed() {
        let added = records(&[("host", "pod-1")]);
        for settings in [
            Settings { records: added.clone(), ..remove(&["host", "log"]) },
            Settings { records: added.clone(), ..allow(&["other"]) },
        ] {
            let left = pass(std::slice::from_ref(&settings), &numbered(&["log", "host"])).unwrap();
            assert_eq!(keys_of(&left), ["host"], "{settings:?}");
        }
    }

    #[test]
    fn a_record_that_loses_all_its_keys_is_dropped_unless_it_gets_some() {
        let uuid = Some("id".to_owned());
        for (settings, record, expected) in [
            (remove(&["*"]), numbered(&["a", "b"]), None),
            (allow(&["c"]), numbered(&["a", "b"]), None),
            (remove(&["a"]), numbered::<&str>(&[]), Some(vec![])),
            (Settings::default(), numbered::<&str>(&[]), Some(vec![])),
            (
                Settings { records: records(&[("n", "")]), ..remove(&["*"]) },
                numbered(&["a"]),
                Some(vec!["n"]),
            ),
            (Settings { uuid_key: uuid, ..allow(&["c"]) }, numbered(&["a"]), Some(vec!["id"])),
        ] {
            let left = pass(std::slice::from_ref(&settings), &record);
            let left = left.map(|record| keys_of(&record));
            let expected = expected.map(|names: Vec<&str>| keys(&names));
            assert_eq!(left, expected, "{settings:?} on {record:02x?}");
        }
    }

    #[test]
    fn a_uuid_comes_last_and_is_another_for_every_record() {
        let settings = Settings {
            records: records(&[("n", "")]),
            uuid_key: Some("id".to_owned()),
            ..Settings::default()
        };
        let mut filter = RecordModifier::compile(&settings, 5).unwrap();
        let mut next = || {
            let mut out = numbered(&["log"]);
            assert_eq!(filter.apply(&mut out, 0), Verdict::Keep);
            assert_eq!(keys_of(&out), ["log", "n", "id"]);
            String::from_utf8(out[out.len() - uuid::LENGTH..].to_vec()).unwrap()
        };
        let (first, second) = (next(), next());
        assert_eq!(first.matches('-').count(), 4, "{first}");
        assert_ne!(first, second);
        let other_seed = RecordModifier::compile(&settings, 6).map(|mut other| {
            let mut out = numbered(&["log"]);
            other.apply(&mut out, 0);
            out.split_off(out.len() - uuid::LENGTH)
        });
        assert_ne!(other_seed.unwrap(), first.as_bytes());
    }

    #[test]
    fn a_filter_that_adds_nothing_leaves_records_as_they_are() {
        let record = numbered(&["a", "b"]);
        assert_eq!(pass(&[Settings::default()], &record), Some(record));
    }

    #[test]
    fn keys_to_remove_and_keys_to_keep_cannot_be_in_one_filter() {
        let both = Settings { allowlist_keys: keys(&["b"]), ..remove(&["a"]) };
        let error = RecordModifier::compile(&both, 0).unwrap_err();
        assert!(matches!(error, FilterError::RemoveAndAllowlist));
    }
}
