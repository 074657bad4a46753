//! What the tests of this folder hold the parsers against.
//!
//! In:  JSON
//! Out: the same as MessagePack, by way of other people's reader and writer

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::model::EventTime;

/// 2026-11-24T08:26:13Z.
pub(super) const READ_AT: EventTime = EventTime { seconds: 1_795_508_773, nanos: 0 };

/// A JSON value as MessagePack. Keys that occur twice stay twice.
pub(super) fn message_pack(json: &str) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::from_str::<MessagePack>(json).map(|encoded| encoded.0)
}

/// Bytes that are made from whatever a serde reader finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MessagePack(pub(super) Vec<u8>);

impl MessagePack {
    fn written<T>(write: impl FnOnce(&mut Vec<u8>) -> T) -> Self {
        let mut bytes = Vec::new();
        write(&mut bytes);
        Self(bytes)
    }
}

impl<'de> Deserialize<'de> for MessagePack {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(IntoMessagePack)
    }
}

struct IntoMessagePack;

impl<'de> Visitor<'de> for IntoMessagePack {
    type Value = MessagePack;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<MessagePack, E> {
        Ok(MessagePack::written(rmp::encode::write_nil))
    }

    fn visit_bool<E>(self, value: bool) -> Result<MessagePack, E> {
        Ok(MessagePack::written(|out| rmp::encode::write_bool(out, value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<MessagePack, E> {
        Ok(MessagePack::written(|out| rmp::encode::write_uint(out, value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<MessagePack, E> {
        Ok(MessagePack::written(|out| rmp::encode::write_sint(out, value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<MessagePack, E> {
        Ok(MessagePack::written(|out| rmp::encode::write_f64(out, value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<MessagePack, E> {
        Ok(MessagePack::written(|out| rmp::encode::write_str(out, value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<MessagePack, A::Error> {
        let (mut count, mut inner) = (0, Vec::new());
        while let Some(MessagePack(value)) = values.next_element()? {
            count += 1;
            inner.extend(value);
        }
        Ok(MessagePack::written(|out| {
            rmp::encode::write_array_len(out, count).unwrap();
            out.extend(inner);
        }))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<MessagePack, A::Error> {
        let (mut count, mut inner) = (0, Vec::new());
        while let Some((MessagePack(key), MessagePack(value))) = pairs.next_entry()? {
            count += 1;
            inner.extend(key);
            inner.extend(value);
        }
        Ok(MessagePack::written(|out| {
            rmp::encode::write_map_len(out, count).unwrap();
            out.extend(inner);
        }))
    }
}
