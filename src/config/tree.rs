//! What both readers, `classic` and `yaml`, make of a file: sections of ordered entries.
//!
//! In:  (filled by the readers)
//! Out: text with places; nothing is expanded and nothing is understood yet

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::{Place, Report};
use super::{classic, yaml};
use crate::model::Pattern;

/// Everything a main file or a parser file says, includes and all.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// In file order, which is the order in which filters run.
    pub(super) sections: Vec<Section>,
    /// `@SET` and YAML's `env`: key, value and place. They hold for the whole tree.
    pub(super) variables: Vec<Entry>,
}

/// One section and its entries.
#[derive(Debug)]
pub(super) struct Section {
    /// Which one.
    pub(super) kind: Kind,
    /// Where it begins.
    pub(super) place: Place,
    /// Its entries, in file order, duplicates included.
    pub(super) entries: Vec<Entry>,
    /// Nested blocks such as `[PROCESSORS]`: only their names and places, as nothing obeys them.
    pub(super) groups: Vec<Place>,
}

/// One key with one value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// In lower case, as keys are compared; the place has it as written.
    pub(super) key: String,
    /// As written, trimmed. Empty only when YAML says so.
    pub(super) value: String,
    /// Where.
    pub(super) place: Place,
}

/// The sections Fluent Bit knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `[SERVICE]`.
    Service,
    /// `[PARSER]`.
    Parser,
    /// `[MULTILINE_PARSER]`.
    MultilineParser,
    /// `[STREAM_PROCESSOR]`.
    StreamProcessor,
    /// `[PLUGINS]`.
    Plugins,
    /// `[UPSTREAM]`, `[UPSTREAM_SERVERS]`.
    UpstreamServers,
    /// `[NODE]` behind an `[UPSTREAM]`.
    Node,
    /// `[CUSTOM]`.
    Custom,
    /// `[INPUT]`.
    Input,
    /// `[FILTER]`.
    Filter,
    /// `[OUTPUT]`.
    Output,
}

impl Kind {
    /// In the order in which Fluent Bit compares a name with them.
    const NAMES: [(&str, Self); 11] = [
        ("service", Self::Service),
        ("parser", Self::Parser),
        ("multiline_parser", Self::MultilineParser),
        ("stream_processor", Self::StreamProcessor),
        ("plugins", Self::Plugins),
        ("upstream_servers", Self::UpstreamServers),
        ("customs", Self::Custom),
        ("inputs", Self::Input),
        ("filters", Self::Filter),
        ("outputs", Self::Output),
        // Only in an upstream file, where it must be written out.
        ("node", Self::Node),
    ];

    /// The section a name in brackets selects: any beginning of a known name does, in any case
    /// (Fluent Bit 5.1), so `[IN]` is `[INPUT]` and `[P]` is `[PARSER]`.
    pub(super) fn find(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let found = Self::NAMES.iter().find(|(known, _)| known.starts_with(&name));
        found.filter(|_| !name.is_empty()).map(|(_, kind)| *kind)
    }

    /// Every name, for suggestions.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().map(|(name, _)| *name)
    }
}

impl Section {
    /// A section without entries.
    pub(super) fn new(kind: Kind, place: Place) -> Self {
        Self { kind, place, entries: Vec::new(), groups: Vec::new() }
    }
}

impl Entry {
    /// `key`, spelt as in the file, in the line of `place`.
    pub(super) fn new(key: &str, value: &str, place: &Place) -> Self {
        Self { key: key.to_ascii_lowercase(), value: value.to_owned(), place: place.with_key(key) }
    }
}

impl Tree {
    /// Reads `path` and what it includes. The extension decides: `.yaml` and `.yml` are YAML,
    /// everything else is classic.
    pub(super) fn read(path: &Path, report: &mut Report) -> Self {
        let mut tree = Self::default();
        let mut files = Files::beside(path);
        let place = Place::of_file(path);
        let read = if is_yaml(path) { yaml::read } else { classic::read };
        if let Some(text) = files.read(path, &place, report) {
            read(path, &text, &mut files, &mut tree, report);
        }
        tree
    }
}

/// Whether Fluent Bit would read `path` as YAML.
pub(super) fn is_yaml(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default();
    extension.eq_ignore_ascii_case("yaml") || extension.eq_ignore_ascii_case("yml")
}

/// The files of one tree: finds includes, and reads each file once.
#[derive(Debug)]
pub(super) struct Files {
    /// The folder of the main file.
    folder: PathBuf,
    /// Every file read so far, by its one real path.
    seen: BTreeSet<PathBuf>,
}

impl Files {
    fn beside(main: &Path) -> Self {
        Self { folder: folder_of(main), seen: BTreeSet::new() }
    }

    /// The text of `path`. Bytes that are not UTF-8 become U+FFFD. `None`: the report says why.
    pub(super) fn read(
        &mut self,
        path: &Path,
        place: &Place,
        report: &mut Report,
    ) -> Option<String> {
        match self.read_once(path) {
            Ok(Some(text)) => return Some(text),
            Ok(None) => report.refuse(
                place,
                format!("'{}' is included twice; include a file once", path.display()),
            ),
            Err(error) => {
                report.refuse(place, format!("'{}' cannot be read: {error}", path.display()))
            }
        }
        None
    }

    /// `None`: it was read before.
    fn read_once(&mut self, path: &Path) -> io::Result<Option<String>> {
        if !self.seen.insert(fs::canonicalize(path)?) {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&fs::read(path)?).into_owned();
        Ok(Some(text.trim_start_matches('\u{feff}').to_owned()))
    }

    /// What a classic `@INCLUDE` names: as given if it exists, otherwise beside the main file.
    /// With a `*`: every match, sorted by name. Empty: there is none.
    pub(super) fn find_included(&self, path: &str) -> Vec<PathBuf> {
        if path.contains('*') {
            return expand_stars(&self.folder.join(path));
        }
        let as_given = PathBuf::from(path);
        [as_given, self.folder.join(path)]
            .into_iter()
            .find(|path| path.exists())
            .into_iter()
            .collect()
    }

    /// What a YAML `includes` entry in `including` names: beside that file, and nowhere else.
    pub(super) fn find_included_beside(including: &Path, path: &str) -> Vec<PathBuf> {
        let path = folder_of(including).join(path);
        if path.as_os_str().as_encoded_bytes().contains(&b'*') {
            return expand_stars(&path);
        }
        Some(path).filter(|path| path.exists()).into_iter().collect()
    }
}

/// The folder a file is in; empty for a bare name, so that joining gives the bare name again.
pub(super) fn folder_of(file: &Path) -> PathBuf {
    file.parent().map(Path::to_owned).unwrap_or_default()
}

/// Every existing path that fits `pattern`, whose parts may hold `*`, in order of name. As in the
/// shell, a name that begins with a dot must be asked for with a dot.
fn expand_stars(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let part = Path::new(part.as_os_str());
        let text = part.to_string_lossy();
        found = match text.contains('*') {
            true => found.iter().flat_map(|folder| names_like(folder, &text)).collect(),
            false => found.into_iter().map(|folder| folder.join(part)).collect(),
        };
    }
    found.retain(|path| path.exists());
    found
}

fn names_like(folder: &Path, part: &str) -> Vec<PathBuf> {
    let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let pattern = Pattern::new(part);
    let mut names: Vec<_> = fs::read_dir(listed)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| pattern.matches(name) && name.starts_with('.') == part.starts_with('.'))
        .collect();
    names.sort_unstable();
    names.into_iter().map(|name| folder.join(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_beginning_of_a_section_name_selects_it() {
        for (name, expected) in [
            ("SERVICE", Some(Kind::Service)),
            ("S", Some(Kind::Service)),
            ("st", Some(Kind::StreamProcessor)),
            ("P", Some(Kind::Parser)),
            ("pl", Some(Kind::Plugins)),
            ("Input", Some(Kind::Input)),
            ("inputs", Some(Kind::Input)),
            ("IN", Some(Kind::Input)),
            ("out", Some(Kind::Output)),
            ("custom", Some(Kind::Custom)),
            ("WHATEVER", None),
            ("inputss", None),
            ("", None),
        ] {
            assert_eq!(Kind::find(name), expected, "[{name}]");
        }
    }

    #[test]
    fn stars_expand_in_every_part_of_a_path_and_sort_by_name() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["a/x.conf", "b/z.conf", "b/y.conf", "b/.hidden.conf", "b/y.txt"] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let found = expand_stars(&folder.path().join("*/*.conf"));
        let expected = ["a/x.conf", "b/y.conf", "b/z.conf"].map(|path| folder.path().join(path));
        assert_eq!(found, expected);
        assert_eq!(expand_stars(&folder.path().join("*.conf")), Vec::<PathBuf>::new());
    }

    #[test]
    fn the_extension_alone_makes_a_file_yaml() {
        for (path, expected) in [
            ("a.yaml", true),
            ("a.YML", true),
            ("a.conf", false),
            ("a.txt", false),
            ("yaml", false),
        ] {
            assert_eq!(is_yaml(Path::new(path)), expected, "{path}");
        }
    }
}
