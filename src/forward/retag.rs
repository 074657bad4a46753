//! `Tag` of an output: a tag made of the tag an event has.
//!
//! In:  `x.$TAG`, `$TAG[1].y` or any text, and a chunk's tag
//! Out: the tag it is sent under

use crate::model::Tag;

/// A template for tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagTemplate(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// `$TAG`.
    Whole,
    /// `$TAG[n]`: its part number n between dots, counted from 0; nothing if there is none.
    Part(usize),
}

/// A template that asks for something of a record, which only events sent one by one could have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'${key}' would make a tag of each record; only $TAG and $TAG[n] are known here. Set the Tag \
     of the input, or use Fluentd's rewrite_tag_filter"
)]
pub struct AsksForRecord {
    key: String,
}

impl TagTemplate {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, AsksForRecord> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            push_text(&mut pieces, &rest[..at]);
            let name: String = rest[at + 1..]
                .chars()
                .take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
                .collect();
            rest = &rest[at + 1 + name.len()..];
            match name.as_str() {
                "" => push_text(&mut pieces, "$"),
                "TAG" => {
                    let (piece, after) = part_of_tag(rest);
                    pieces.push(piece);
                    rest = after;
                }
                _ => return Err(AsksForRecord { key: name }),
            }
        }
        push_text(&mut pieces, rest);
        Ok(Self(pieces))
    }

    /// The tag that events with `tag` are sent under.
    pub fn apply(&self, tag: &Tag) -> Tag {
        let mut made = String::new();
        for piece in &self.0 {
            made.push_str(match piece {
                Piece::Text(text) => text,
                Piece::Whole => tag.as_str(),
                Piece::Part(number) => tag.as_str().split('.').nth(*number).unwrap_or_default(),
            });
        }
        Tag::new(&made)
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some(Piece::Text(last)) => last.push_str(text),
        _ => pieces.push(Piece::Text(text.to_owned())),
    }
}

/// What stands behind `$TAG`: `[n]`, or not.
fn part_of_tag(rest: &str) -> (Piece, &str) {
    let number = rest.strip_prefix('[').and_then(|inside| inside.split_once(']'));
    match number.and_then(|(number, after)| Some((number.parse().ok()?, after))) {
        Some((number, after)) => (Piece::Part(number), after),
        None => (Piece::Whole, rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_made_of_text_and_of_the_tag_and_its_parts() {
        for (template, expected) in [
            ("literal.text", "literal.text"),
            ("x.$TAG", "x.app.web.1"),
            ("pre.$TAG[1].z", "pre.web.z"),
            ("$TAG[0]", "app"),
            ("$TAG[2]$TAG[1]", "1web"),
            ("$TAG[9]", ""),
            ("$TAG[x]", "app.web.1[x]"),
            ("$TAG.z", "app.web.1.z"),
            ("cost.$", "cost.$"),
            ("$.a", "$.a"),
        ] {
            let template_of = TagTemplate::parse(template).unwrap();
            assert_eq!(template_of.apply(&Tag::new("app.web.1")).as_str(), expected, "{template}");
        }
    }

    #[test]
    fn a_tag_of_each_record_is_refused_with_the_remedy() {
        for template in ["$log", "a.$level.b", "$kubernetes['pod']", "$TAGS"] {
            let message = TagTemplate::parse(template).unwrap_err().to_string();
            assert!(message.contains("rewrite_tag_filter"), "{message}");
        }
    }
}
