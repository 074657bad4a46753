//! How the entries of a frame are compressed.

/// A compression that receivers know by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Every receiver of the forward protocol reads it.
    Gzip,
    /// Fluentd since 1.19 and Fluent Bit read it; nobody asks before.
    Zstd,
}

impl Codec {
    /// What the option `compressed` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}
