//! time
use crate::model::EventTime;
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeFound { At(EventTime), None, Unreadable, OutOfRange }
pub enum TimeValue<'a> { Text(&'a[u8]), Number(&'a[u8]), Other }
#[derive(Debug)]
pub struct TimeField { pub key: String }
impl TimeField {
    pub fn is(&self, key: &[u8]) -> bool { self.key.as_bytes() == key }
    pub fn read(&self, _text: TimeValue, _read_at: EventTime) -> TimeFound { TimeFound::None }
    pub fn keeps(&self, _found: TimeFound) -> bool { true }
}
