//! Adds fields, and removes or keeps some: Fluent Bit's `record_modifier`.

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
