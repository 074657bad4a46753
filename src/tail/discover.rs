//! Which directories to look into, which names to follow, and the tag each file gets.
//!
//! In:  `Path`, `Exclude_Path` and `Tag` as written
//! Out: directories, and yes or no for a path
//!
//! Looks at directories only. It opens no log file and remembers nothing.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use fancy_regex::Regex;
use glob::{MatchOptions, Pattern, PatternError};
use rustix::fs::{FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;

use crate::model::Tag;

/// As the C library's `glob`: `*` matches neither a slash nor a leading dot.
const AS_GLOB: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// As the C library's `fnmatch` without flags: `*` matches everything.
const AS_FNMATCH: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: false,
    require_literal_leading_dot: false,
};

/// The files an input wants.
#[derive(Debug)]
pub struct Globs {
    wanted: Vec<Glob>,
    excluded: Vec<Pattern>,
}

#[derive(Debug)]
struct Glob {
    whole: Pattern,
    directory: PathBuf,
}

/// An entry of a directory.
#[derive(Debug)]
pub struct Entry {
    /// Its path: the directory's as the pattern has it, and the name.
    pub path: PathBuf,
    /// The inode number the directory gives for it: that of the link itself for a symbolic link.
    pub inode: u64,
    /// What it is, without following it.
    pub is_symlink: bool,
}

impl Globs {
    /// Compiles the patterns.
    pub fn new(paths: &[String], excluded: &[String]) -> Result<Self, PatternError> {
        let glob = |path: &String| -> Result<Glob, PatternError> {
            let directory = Path::new(path).parent().unwrap_or_else(|| Path::new("")).to_owned();
            Ok(Glob { whole: Pattern::new(path)?, directory })
        };
        Ok(Self {
            wanted: paths.iter().map(glob).collect::<Result<_, _>>()?,
            excluded: excluded.iter().map(|text| Pattern::new(text)).collect::<Result<_, _>>()?,
        })
    }

    /// Whether a file of this path is to be followed.
    pub fn matches(&self, path: &Path) -> bool {
        let is_wanted = |glob: &Glob| glob.whole.matches_path_with(path, AS_GLOB);
        let is_excluded = |pattern: &Pattern| pattern.matches_path_with(path, AS_FNMATCH);
        self.wanted.iter().any(is_wanted) && !self.excluded.iter().any(is_excluded)
    }

    /// The directory that a file found at `path` leaves by lying at `real`: the one that its
    /// pattern names before the first wildcard. `None`: it lies inside of it.
    pub fn left_by(&self, path: &Path, real: &Path) -> Option<PathBuf> {
        let globs = self.wanted.iter().filter(|glob| glob.whole.matches_path_with(path, AS_GLOB));
        let mut roots = globs.map(|glob| named_directory(&glob.directory));
        let holds = |root: &PathBuf| here(root).canonicalize().is_ok_and(|r| real.starts_with(r));
        let first = roots.next()?;
        let is_inside = holds(&first) || roots.any(|root| holds(&root));
        (!is_inside).then_some(first)
    }

    /// The directories that exist now and can hold matching files.
    pub fn directories(&self) -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = Vec::new();
        for glob in &self.wanted {
            for directory in expand(&glob.directory) {
                if !found.contains(&directory) {
                    found.push(directory);
                }
            }
        }
        found
    }

    /// The directories in which something must appear before [`Globs::directories`] can grow:
    /// the nearest existing ancestors of those that are missing, one level at a time.
    pub fn ancestors(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for glob in &self.wanted {
            collect_ancestors(&glob.directory, &mut found);
        }
        found
    }
}

/// `directory` with its wildcards expanded to what exists.
fn expand(directory: &Path) -> Vec<PathBuf> {
    if !has_wildcard(directory) {
        return if here(directory).is_dir() { vec![directory.to_owned()] } else { Vec::new() };
    }
    let Some(text) = directory.to_str() else {
        return Vec::new();
    };
    let Ok(paths) = glob::glob_with(text, AS_GLOB) else {
        return Vec::new();
    };
    // An unreadable directory hides what is in it, and nothing else.
    paths.filter_map(Result::ok).filter(|path| path.is_dir()).collect()
}

fn collect_ancestors(directory: &Path, found: &mut Vec<PathBuf>) {
    let mut known = PathBuf::new();
    for component in directory.components() {
        if matches!(component, Component::Normal(_)) {
            let next = known.join(component);
            for existing in expand(&known) {
                let is_last = !has_wildcard(&next) && here(&existing).join(component).is_dir();
                if !is_last && !found.contains(&existing) {
                    found.push(existing);
                }
            }
            if known.as_os_str().is_empty() && !here(&next).is_dir() {
                found.push(PathBuf::from("."));
            }
        }
        known.push(component);
    }
}

/// The beginning of `directory` up to its first wildcard.
fn named_directory(directory: &Path) -> PathBuf {
    directory.components().take_while(|part| !has_wildcard(Path::new(part))).collect()
}

fn has_wildcard(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().iter().any(|byte| b"*?[".contains(byte))
}

/// The path to open for a directory as a pattern has it: a pattern without one means the working
/// directory.
pub fn here(directory: &Path) -> &Path {
    if directory.as_os_str().is_empty() { Path::new(".") } else { directory }
}

/// Shows every entry of a directory: its name, the inode number that the directory gives for it,
/// and whether it is a symbolic link. A directory that is gone holds nothing. Allocates nothing
/// for an entry: directories of ten thousand files are listed every few seconds.
pub fn each_entry(directory: &Path, mut visit: impl FnMut(&OsStr, u64, bool)) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = match rustix::fs::open(here(directory), flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        opened => opened?,
    };
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut entries = RawDir::new(opened, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            visit(name, entry.ino(), entry.file_type() == FileType::Symlink);
        }
    }
    Ok(())
}

/// How an input makes the tag of a file.
#[derive(Debug)]
pub struct TagTemplate {
    /// `Tag` as written.
    text: String,
    /// `Tag_Regex`.
    regex: Option<Regex>,
    working_directory: PathBuf,
}

/// Why an input cannot look for its files.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// `Path` or `Exclude_Path` is no pattern.
    #[error("Path: {0}")]
    Pattern(#[from] PatternError),
    /// `Tag_Regex` is no regular expression.
    #[error("Tag_Regex: {0}")]
    TagRegex(#[from] Box<fancy_regex::Error>),
}

impl TagTemplate {
    /// Compiles `Tag` and `Tag_Regex`.
    pub fn compile(
        text: &str,
        regex: Option<&str>,
        working_directory: PathBuf,
    ) -> Result<Self, PathError> {
        let regex = regex.map(Regex::new).transpose().map_err(Box::new)?;
        Ok(Self { text: text.to_owned(), regex, working_directory })
    }

    /// The tag of one file. `None`: its path does not fit `Tag_Regex`, and it is not followed.
    pub fn tag_of(&self, path: &Path) -> Option<Tag> {
        match &self.regex {
            Some(regex) => {
                let captures = regex.captures(path.to_str()?).ok()??;
                self.with_groups(|name| captures.name(name).map_or("", |group| group.as_str()))
            }
            None => Some(self.with_path(path)),
        }
    }

    /// Every `<name>` is what the group of that name captured, or `_` (Fluent Bit's rule).
    fn with_groups<'a>(&self, group: impl Fn(&str) -> &'a str) -> Option<Tag> {
        let mut tag = String::new();
        let mut rest = self.text.as_str();
        while let Some((before, behind)) = rest.split_once('<') {
            let (name, after) = behind.split_once('>')?;
            let captured = group(name);
            tag.push_str(before);
            tag.push_str(if captured.is_empty() { "_" } else { captured });
            rest = after;
        }
        tag.push_str(rest);
        Some(Tag::new(&tag))
    }

    /// A `*` stands for the absolute path with dots for separators, as Fluent Bit makes it.
    fn with_path(&self, path: &Path) -> Tag {
        let Some((before, after)) = self.text.split_once('*') else {
            return Tag::new(&self.text);
        };
        let absolute = self.working_directory.join(path);
        let whole = format!("{before}{}{after}", absolute.to_string_lossy());
        let mut tag = String::with_capacity(whole.len());
        for character in whole.chars() {
            match character {
                '/' | '\\' | ':' | '.' if tag.is_empty() || tag.ends_with('.') => {}
                '/' | '\\' | ':' => tag.push('.'),
                '*' => {}
                other => tag.push(other),
            }
        }
        Tag::new(tag.strip_suffix('.').unwrap_or(&tag))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_entry_of_a_directory_is_shown_with_its_inode() {
        let directory = tempfile::tempdir().unwrap();
        for number in 0..2000 {
            fs::write(directory.path().join(format!("file number {number}.log")), "").unwrap();
        }
        std::os::unix::fs::symlink("nowhere", directory.path().join("link")).unwrap();
        let mut shown = 0;
        each_entry(directory.path(), |name, inode, is_symlink| {
            let metadata = fs::symlink_metadata(directory.path().join(name)).unwrap();
            assert_eq!(inode, std::os::unix::fs::MetadataExt::ino(&metadata));
            assert_eq!(is_symlink, name == "link");
            shown += 1;
        })
        .unwrap();
        assert_eq!(shown, 2001);
        let nothing = |_: &OsStr, _, _| panic!("it holds nothing");
        each_entry(Path::new("/no/such/directory"), nothing).unwrap();
    }

    #[test]
    fn the_path_of_the_file_stands_for_the_star_of_a_tag() {
        for (template, path, expected) in [
            ("kube.*", "/tmp/a/pod.log", "kube.tmp.a.pod.log"),
            ("*", "/tmp/a/pod.log", "tmp.a.pod.log"),
            ("a.*.z", "/tmp/a/pod.log", "a.tmp.a.pod.log.z"),
            ("a/b.x", "/tmp/a/pod.log", "a/b.x"),
            ("k.*", "/t/..x/a b/we*rd:n.log", "k.t.x.a b.werd.n.log"),
            ("k.*", "logs/a.log", "k.srv.logs.a.log"),
        ] {
            let template = TagTemplate::compile(template, None, PathBuf::from("/srv")).unwrap();
            let tag = template.tag_of(Path::new(path)).unwrap();
            assert_eq!(tag.as_str(), expected, "{template:?} for {path}");
        }
    }

    #[test]
    fn groups_of_the_path_stand_for_names_in_the_tag() {
        let regex = r"/(?<service>[a-z]+)/(?<kind>\d*)x\.log$";
        for (text, path, expected) in [
            ("app.<service>.<kind>", "/logs/shop/7x.log", Some("app.shop.7")),
            ("app.<service>.<kind>", "/logs/shop/x.log", Some("app.shop._")),
            ("app.<other>", "/logs/shop/x.log", Some("app._")),
            ("app.*", "/logs/shop/x.log", Some("app.*")),
            ("app.<service>", "/logs/SHOP/x.log", None),
            ("app.<service", "/logs/shop/x.log", None),
        ] {
            let template = TagTemplate::compile(text, Some(regex), PathBuf::new()).unwrap();
            let tag = template.tag_of(Path::new(path));
            assert_eq!(tag.as_ref().map(Tag::as_str), expected, "{text} for {path}");
        }
        assert!(TagTemplate::compile("a", Some("("), PathBuf::new()).is_err());
    }

    #[test]
    fn a_path_is_followed_when_a_pattern_wants_it_and_none_excludes_it() {
        let paths = ["/var/log/app/*.log".to_owned(), "/var/log/*/out".to_owned()];
        let globs = Globs::new(&paths, &["*secret*".to_owned()]).unwrap();
        for (path, expected) in [
            ("/var/log/app/a.log", true),
            ("/var/log/app/a.log.1", false),
            ("/var/log/app/deep/a.log", false),
            ("/var/log/app/.hidden.log", false),
            ("/var/log/x/out", true),
            ("/var/log/secret/out", false),
            ("/var/log/app/my-secret.log", false),
        ] {
            assert_eq!(globs.matches(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn a_missing_directory_is_awaited_in_its_nearest_existing_ancestor() {
        let root = tempfile::tempdir().unwrap();
        let path = |rest: &str| format!("{}/{rest}", root.path().display());
        let globs = Globs::new(&[path("a/b/*.log"), path("c/*/x.log")], &[]).unwrap();
        assert!(globs.directories().is_empty());
        assert_eq!(globs.ancestors(), [root.path()]);
        fs::create_dir_all(root.path().join("a")).unwrap();
        fs::create_dir_all(root.path().join("c/one")).unwrap();
        assert_eq!(globs.directories(), [root.path().join("c/one")]);
        assert_eq!(globs.ancestors(), [root.path().join("a"), root.path().join("c")]);
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        assert_eq!(globs.directories(), [root.path().join("a/b"), root.path().join("c/one")]);
        assert_eq!(globs.ancestors(), [root.path().join("c")]);
    }
}
