//! Fluent Bit's literals for sizes, times and booleans, read once and then types.
