//! Sends chunks to Fluentd and gives back what was acknowledged.

pub mod settings;

pub use settings::{Backoff, RetryLimit, Settings};
