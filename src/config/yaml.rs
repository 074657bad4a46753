//! Reads Fluent Bit's YAML format.
//!
//! In:  the text of a file
//! Out: the same sections, entries and variables that `classic` makes
//!
//! Every scalar is taken as its text, as in Fluent Bit 5.1: `on`, `5MB` and `24224` need no quotes.

use std::path::Path;

use saphyr_parser::{Event, Parser, Span, SpannedEventReceiver};

use super::error::{Place, Report, did_you_mean};
use super::tree::{Entry, Files, Kind, Section, Tree};

/// Reads `text`, which is what `file` holds.
pub(super) fn read(
    file: &Path,
    text: &str,
    files: &mut Files,
    tree: &mut Tree,
    report: &mut Report,
) {
    let mut builder = Builder::default();
    if let Err(error) = Parser::new_from_str(text).load(&mut builder, true) {
        let place = Place::of_line(file, error.marker().line());
        return report.refuse(&place, format!("this is not YAML: {}", error.info()));
    }
    if let Some(line) = builder.alias {
        let place = Place::of_line(file, line);
        return report.refuse(&place, "aliases are not supported; write the value out");
    }
    let mut reader = Reader { file, files, tree, report };
    for document in builder.documents {
        reader.read_document(document);
    }
}

/// A value and the line it begins in.
#[derive(Debug)]
struct Node {
    line: usize,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Text(String),
    List(Vec<Node>),
    Map(Vec<Pair>),
}

/// A key, the line of the key, and its value.
#[derive(Debug)]
struct Pair {
    key: String,
    line: usize,
    node: Node,
}

/// Builds nodes from the parser's events. A map is collected as a list of keys and values first.
#[derive(Debug, Default)]
struct Builder {
    open: Vec<(usize, Vec<Node>)>,
    documents: Vec<Node>,
    alias: Option<usize>,
}

impl SpannedEventReceiver<'_> for Builder {
    fn on_event(&mut self, event: Event<'_>, span: Span) {
        let line = span.start.line();
        match event {
            Event::Scalar(text, ..) => {
                self.add(Node { line, value: Value::Text(text.into_owned()) })
            }
            Event::Alias(_) => {
                self.alias.get_or_insert(line);
                self.add(Node { line, value: Value::Text(String::new()) });
            }
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                self.open.push((line, Vec::new()))
            }
            Event::SequenceEnd => self.close(Value::List),
            Event::MappingEnd => self.close(|nodes| Value::Map(pairs_of(nodes))),
            _ => {}
        }
    }
}

impl Builder {
    fn add(&mut self, node: Node) {
        match self.open.last_mut() {
            Some((_, nodes)) => nodes.push(node),
            None => self.documents.push(node),
        }
    }

    fn close(&mut self, make: impl FnOnce(Vec<Node>) -> Value) {
        if let Some((line, nodes)) = self.open.pop() {
            self.add(Node { line, value: make(nodes) });
        }
    }
}

fn pairs_of(nodes: Vec<Node>) -> Vec<Pair> {
    let mut pairs = Vec::with_capacity(nodes.len() / 2);
    let mut nodes = nodes.into_iter();
    while let (Some(key), Some(node)) = (nodes.next(), nodes.next()) {
        // A key that is a list or a map is no key of ours; its empty name is reported as unknown.
        let text = if let Value::Text(text) = key.value { text } else { String::new() };
        pairs.push(Pair { key: text, line: key.line, node });
    }
    pairs
}

struct Reader<'a> {
    file: &'a Path,
    files: &'a mut Files,
    tree: &'a mut Tree,
    report: &'a mut Report,
}

impl Reader<'_> {
    const TOP_LEVEL: [&'static str; 11] = [
        "env",
        "includes",
        "service",
        "parsers",
        "multiline_parsers",
        "plugins",
        "upstream_servers",
        "stream_processor",
        "customs",
        "pipeline",
        "extensions",
    ];

    fn read_document(&mut self, document: Node) {
        let place = self.place(document.line);
        let pairs = match document.value {
            Value::Map(pairs) => pairs,
            // An empty file, or one with comments only.
            Value::Text(text) if text.is_empty() => return,
            _ => return self.report.refuse(&place, "this is no map; write for example 'service:'"),
        };
        for pair in pairs {
            self.read_top_level(pair);
        }
    }

    fn read_top_level(&mut self, Pair { key, line, node }: Pair) {
        let place = self.place(line).with_key(&key);
        match key.to_ascii_lowercase().as_str() {
            "env" => self.read_variables(node, &place),
            "includes" => self.include(node, &place),
            "service" => self.read_service(node, &place),
            "parsers" => self.read_sections(Kind::Parser, node, &place),
            "multiline_parsers" => self.read_sections(Kind::MultilineParser, node, &place),
            "plugins" => self.add_whole(Kind::Plugins, place),
            "upstream_servers" => self.add_whole(Kind::UpstreamServers, place),
            "stream_processor" => self.add_whole(Kind::StreamProcessor, place),
            "customs" => self.read_sections(Kind::Custom, node, &place),
            "pipeline" => self.read_pipeline(node, &place),
            "extensions" => self.report.note(&place, "nothing here is obeyed or needed"),
            _ => {
                let hint = did_you_mean(&key, Self::TOP_LEVEL.into_iter());
                self.report.warn(&place, format!("there is no such section; it is ignored{hint}"));
            }
        }
    }

    fn read_pipeline(&mut self, node: Node, place: &Place) {
        for Pair { key, line, node } in self.map(node, place) {
            let place = self.place(line).with_key(&key);
            let kind = match key.to_ascii_lowercase().as_str() {
                "inputs" => Kind::Input,
                "filters" => Kind::Filter,
                "outputs" => Kind::Output,
                "customs" => Kind::Custom,
                _ => {
                    let message = "a pipeline has only 'inputs', 'filters' and 'outputs'";
                    self.report.refuse(&place, message);
                    continue;
                }
            };
            self.read_sections(kind, node, &place);
        }
    }

    fn read_service(&mut self, node: Node, place: &Place) {
        let pairs = self.map(node, place);
        self.read_section(Kind::Service, pairs, place.clone());
    }

    /// A list of maps, each of them a section.
    fn read_sections(&mut self, kind: Kind, node: Node, place: &Place) {
        for node in self.list(node, place) {
            let place = self.place(node.line);
            let pairs = self.map(node, &place);
            self.read_section(kind, pairs, place);
        }
    }

    fn read_section(&mut self, kind: Kind, pairs: Vec<Pair>, place: Place) {
        let mut section = Section::new(kind, place);
        for Pair { key, line, node } in pairs {
            let place = self.place(line);
            let mut add = |value: &str, place: &Place| {
                let lower = snake_case(&key);
                section.entries.push(Entry { key: lower, ..Entry::new(&key, value, place) });
            };
            match node.value {
                Value::Text(text) => add(text.trim(), &place),
                Value::Map(_) => section.groups.push(place.with_key(&key)),
                Value::List(nodes)
                    if kind == Kind::MultilineParser && key.eq_ignore_ascii_case("rules") =>
                {
                    section.entries.extend(nodes.into_iter().filter_map(|node| self.rule(node)));
                }
                Value::List(nodes)
                    if key.eq_ignore_ascii_case("processors") || holds_maps(&nodes) =>
                {
                    section.groups.push(place.with_key(&key));
                }
                Value::List(nodes) => {
                    for node in nodes {
                        let place = self.place(node.line);
                        if let Value::Text(text) = node.value {
                            add(text.trim(), &place);
                        }
                    }
                }
            }
        }
        self.tree.sections.push(section);
    }

    /// A rule of a multiline parser, as classic writes it: `Rule "state" "regex" "next_state"`.
    fn rule(&mut self, node: Node) -> Option<Entry> {
        let place = self.place(node.line).with_key("rules");
        let mut words = [const { String::new() }; 3];
        for Pair { key, line, node } in self.map(node, &place) {
            let place = self.place(line).with_key(&key);
            let known = ["state", "regex", "next_state"];
            let Some(at) = known.iter().position(|known| *known == snake_case(&key)) else {
                self.report.refuse(&place, "a rule has only 'state', 'regex' and 'next_state'");
                continue;
            };
            if let Some(text) = self.text(node, &place) {
                words[at] = format!("\"{}\" ", text.replace('"', "\\\""));
            }
        }
        if words[..2].iter().any(String::is_empty) {
            self.report.refuse(&place, "a rule needs 'state' and 'regex'");
            return None;
        }
        Some(Entry::new("rule", words.concat().trim_end(), &place))
    }

    /// Only that the section is there matters: nothing obeys what it holds.
    fn add_whole(&mut self, kind: Kind, place: Place) {
        self.tree.sections.push(Section::new(kind, place));
    }

    /// A map of names and values, or a list of maps with `name` and `value` or `uri`.
    fn read_variables(&mut self, node: Node, place: &Place) {
        match node.value {
            Value::Map(pairs) => {
                for Pair { key, line, node } in pairs {
                    let place = self.place(line);
                    if let Some(value) = self.text(node, &place.with_key(&key)) {
                        self.set(&key, &value, &place);
                    }
                }
            }
            Value::List(nodes) => nodes.into_iter().for_each(|node| self.read_variable(node)),
            Value::Text(text) if text.is_empty() => {}
            Value::Text(_) => self.report.refuse(place, "must be a map; write 'name: value'"),
        }
    }

    fn read_variable(&mut self, node: Node) {
        let place = self.place(node.line);
        let [mut name, mut value] = [None, None];
        for Pair { key, node, .. } in self.map(node, &place) {
            let place = place.with_key(&key);
            match key.to_ascii_lowercase().as_str() {
                "name" => name = self.text(node, &place),
                "value" | "uri" => value = self.text(node, &place),
                "refresh_interval" => {
                    self.report.note(&place, "accepted, not obeyed: variables are read once");
                }
                _ => self.report.refuse(&place, "a variable has only 'name', 'value' and 'uri'"),
            }
        }
        match (name, value) {
            (Some(name), Some(value)) => self.set(&name, &value, &place),
            _ => self.report.refuse(&place, "a variable needs a 'name' and a 'value' or 'uri'"),
        }
    }

    fn set(&mut self, name: &str, value: &str, place: &Place) {
        // A name is compared as it is written: unlike keys, variables have a case.
        let entry = Entry { key: name.to_owned(), ..Entry::new(name, value, place) };
        self.tree.variables.push(entry);
    }

    fn include(&mut self, node: Node, place: &Place) {
        for node in self.list(node, place) {
            let place = self.place(node.line).with_key("includes");
            let Some(path) = self.text(node, &place) else {
                continue;
            };
            let found = Files::find_included_beside(self.file, &path);
            if found.is_empty() {
                self.report.refuse(&place, format!("there is no file '{path}' beside this one"));
            }
            for path in found {
                if let Some(text) = self.files.read(&path, &place, self.report) {
                    read(&path, &text, self.files, self.tree, self.report);
                }
            }
        }
    }

    fn place(&self, line: usize) -> Place {
        Place::of_line(self.file, line)
    }

    /// The pairs of a map. Nothing at all counts as an empty one.
    fn map(&mut self, node: Node, place: &Place) -> Vec<Pair> {
        match node.value {
            Value::Map(pairs) => return pairs,
            Value::Text(text) if text.is_empty() => {}
            _ => self.report.refuse(place, "must be a map; write 'key: value' lines"),
        }
        Vec::new()
    }

    /// The parts of a list. Nothing at all counts as an empty one.
    fn list(&mut self, node: Node, place: &Place) -> Vec<Node> {
        match node.value {
            Value::List(nodes) => return nodes,
            Value::Text(text) if text.is_empty() => {}
            _ => self.report.refuse(place, "must be a list; begin each part with '- '"),
        }
        Vec::new()
    }

    fn text(&mut self, node: Node, place: &Place) -> Option<String> {
        if let Value::Text(text) = node.value {
            return Some(text);
        }
        self.report.refuse(place, "must be a single value");
        None
    }
}

fn holds_maps(nodes: &[Node]) -> bool {
    nodes.iter().any(|node| !matches!(node.value, Value::Text(_)))
}

/// `memBufLimit` is `mem_buf_limit`, but only in a key that begins in lower case and has no
/// underscore (Fluent Bit 5.1). Every key ends in lower case.
fn snake_case(key: &str) -> String {
    if !key.starts_with(|c: char| c.is_ascii_lowercase()) || key.contains('_') {
        return key.to_ascii_lowercase();
    }
    let mut snake = String::with_capacity(key.len() + 4);
    for letter in key.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> (Tree, Report) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        std::fs::write(&path, text).unwrap();
        let mut report = Report::default();
        (Tree::read(&path, &mut report), report)
    }

    #[test]
    fn keys_in_camel_case_become_those_of_the_classic_format() {
        for (key, expected) in [
            ("memBufLimit", "mem_buf_limit"),
            ("Mem_Buf_Limit", "mem_buf_limit"),
            ("storage.maxChunksUp", "storage.max_chunks_up"),
            ("Name", "name"),
            ("read_from_Head", "read_from_head"),
        ] {
            assert_eq!(snake_case(key), expected);
        }
    }

    #[test]
    fn scalars_are_their_text_and_lists_are_several_entries() {
        let text = "pipeline:\n  filters:\n    - name: x\n      on: on\n      size: 5MB\n      n: 24224\n      \
                    empty:\n      record:\n        - a b\n        - \"c d\"\n";
        let (tree, report) = read_text(text);
        assert_eq!(report.problems, []);
        let shown: Vec<_> = tree.sections[0]
            .entries
            .iter()
            .map(|entry| (entry.place.line.unwrap(), entry.key.as_str(), entry.value.as_str()))
            .collect();
        let expected = [
            (3, "name", "x"),
            (4, "on", "on"),
            (5, "size", "5MB"),
            (6, "n", "24224"),
            (7, "empty", ""),
            (9, "record", "a b"),
            (10, "record", "c d"),
        ];
        assert_eq!(shown, expected);
        assert_eq!(tree.sections[0].kind, Kind::Filter);
    }

    #[test]
    fn variables_come_as_a_map_or_as_a_list() {
        for text in [
            "env:\n  A: b\n  C: d\n",
            "env:\n  - name: A\n    value: b\n  - {name: C, uri: d, refresh_interval: 5}\n",
        ] {
            let (tree, report) = read_text(text);
            assert_eq!(report.problems, []);
            let shown: Vec<_> = tree
                .variables
                .iter()
                .map(|entry| (entry.key.as_str(), entry.value.as_str()))
                .collect();
            assert_eq!(shown, [("A", "b"), ("C", "d")], "{text}");
        }
    }

    #[test]
    fn what_has_the_wrong_shape_is_refused_with_its_line() {
        for (text, expected) in [
            ("a: [\n", "this is not YAML"),
            ("- a\n", "a.yaml:1: this is no map"),
            ("service:\n  - a\n", "a.yaml:1: service: must be a map"),
            ("pipeline:\n  inputs:\n    name: tail\n", "a.yaml:2: inputs: must be a list"),
            ("pipeline:\n  inputz: []\n", "a.yaml:2: inputz: a pipeline has only"),
            ("env: x\n", "a.yaml:1: env: must be a map"),
            ("env:\n  - name: x\n", "a.yaml:2: a variable needs"),
            ("includes:\n  - none.yaml\n", "a.yaml:2: includes: there is no file 'none.yaml'"),
            ("includes:\n  - a.yaml\n", "is included twice"),
            ("service: &x\n  flush: 1\nenv: *x\n", "a.yaml:3: aliases are not supported"),
        ] {
            let (_, report) = read_text(text);
            let shown: Vec<_> = report.problems.iter().map(ToString::to_string).collect();
            assert_eq!(shown.len(), 1, "{text}: {shown:?}");
            assert!(shown[0].contains(expected), "{text}: {shown:?}");
        }
    }

    #[test]
    fn an_unknown_top_level_key_is_a_warning() {
        let (_, report) = read_text("sevrice:\n  flush: 1\n");
        assert!(report.warnings[0].to_string().ends_with("did you mean 'service'?"));
    }

    #[test]
    fn an_empty_file_is_an_empty_configuration() {
        for text in ["", "# nothing\n", "---\n", "service:\npipeline:\n  inputs:\n"] {
            let (tree, report) = read_text(text);
            assert_eq!(report.problems, [], "{text}");
            assert!(tree.sections.iter().all(|section| section.entries.is_empty()), "{text}");
        }
    }
}
