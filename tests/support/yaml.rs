//! Kubernetes manifests as values: YAML in, JSON values out.

use std::fs;
use std::path::{Path, PathBuf};

use saphyr_parser::{Event, Parser, ScalarStyle, Span, SpannedEventReceiver};
use serde_json::{Map, Value as Json};

/// A file of this repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Its text.
pub fn text_of(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The documents of a manifest of this repository.
pub fn documents_of(path: &str) -> Vec<Json> {
    let mut builder = Builder::default();
    let text = text_of(path);
    let parsed = Parser::new_from_str(&text).load(&mut builder, true);
    parsed.unwrap_or_else(|error| panic!("{path}: {error}"));
    builder.documents
}

/// The one document of this kind.
pub fn document_of(path: &str, kind: &str) -> Json {
    let mut documents = documents_of(path).into_iter().filter(|document| document["kind"] == kind);
    let document = documents.next().unwrap_or_else(|| panic!("{path} has no {kind}"));
    assert_eq!(documents.next(), None, "{path} has more than one {kind}");
    document
}

/// The element of a list that bears this name.
pub fn named<'a>(list: &'a Json, name: &str) -> &'a Json {
    let elements = list.as_array().expect("a list");
    let found = elements.iter().find(|element| element["name"] == name);
    found.unwrap_or_else(|| panic!("nothing is named {name} in {list:#}"))
}

#[derive(Default)]
struct Builder {
    /// What is not closed yet: the values so far; of a map, keys and values in turn.
    open: Vec<Vec<Json>>,
    documents: Vec<Json>,
}

impl SpannedEventReceiver<'_> for Builder {
    fn on_event(&mut self, event: Event<'_>, _: Span) {
        match event {
            Event::Scalar(text, ScalarStyle::Plain, ..) => self.add(plain(&text)),
            Event::Scalar(text, ..) => self.add(Json::from(text.into_owned())),
            Event::SequenceStart(..) | Event::MappingStart(..) => self.open.push(Vec::new()),
            Event::SequenceEnd => {
                let values = self.open.pop().expect("it was opened");
                self.add(Json::Array(values));
            }
            Event::MappingEnd => {
                let values = self.open.pop().expect("it was opened");
                let pairs = values.chunks_exact(2).map(|pair| (key(&pair[0]), pair[1].clone()));
                self.add(Json::Object(pairs.collect::<Map<_, _>>()));
            }
            Event::Alias(_) => panic!("an alias: manifests here write everything out"),
            _ => {}
        }
    }
}

impl Builder {
    fn add(&mut self, value: Json) {
        match self.open.last_mut() {
            Some(values) => values.push(value),
            None => self.documents.push(value),
        }
    }
}

/// A scalar without quotes: JSON's words and numbers, else text.
fn plain(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or_else(|_| Json::from(text))
}

fn key(key: &Json) -> String {
    key.as_str().expect("a key is text").to_owned()
}
