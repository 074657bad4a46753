//! `log-ambassador keys`: every key there is, from the tables that reading a configuration uses.
//!
//! In:  the declarations in `config::keys`
//! Out: Markdown, a table for each group; `docs/compatibility.md` ends with it

use std::fmt::Write;

use crate::config::keys::{Group, Key, Standing};

/// The tables.
pub fn markdown() -> String {
    let mut text = String::new();
    for group in Group::ALL {
        write!(text, "### {}\n\n| key | default | what it does, and how we stand to it |\n|---|---|---|\n", group.title)
            .expect("a String takes everything");
        for key in group.keys {
            row(key, &mut text);
        }
        text.push('\n');
    }
    text
}

fn row(key: &Key, text: &mut String) {
    let standing = match key.standing {
        Standing::Obeyed => "obeyed".to_owned(),
        Standing::Note(why) => format!("accepted, not needed: {why}"),
        Standing::Unsupported { instead, .. } => format!("**refused**: {instead}"),
    };
    let default = if key.default.is_empty() { "" } else { key.default };
    let line = format!("| `{}` | {default} | {}; {standing} |\n", key.name, key.doc);
    text.push_str(&line.replace("| |", "|  |"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compatibility_page_ends_with_every_key_as_it_is_declared() {
        let page = std::fs::read_to_string("docs/compatibility.md").unwrap();
        assert!(
            page.ends_with(markdown().trim_end().to_owned().as_str())
                || page.ends_with(&(markdown().trim_end().to_owned() + "\n")),
            "replace the end of docs/compatibility.md with the output of `log-ambassador keys`"
        );
    }
}
