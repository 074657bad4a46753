//! Turns a line into a record.

pub mod definition;

pub use definition::{Definition, Format, Type};
