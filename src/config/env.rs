//! Variables: what `${NAME}` stands for.
//!
//! In:  values as written
//! Out: values with every `${NAME}` and `${NAME:-default}` replaced
//!
//! Beside `main`, this is the only file that reads the process environment. Everybody else is
//! given an [`Environment`], and tests give one of their own.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::error::Report;
use super::tree::Entry;

/// What the configuration can learn from where the process runs.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    /// What an unset variable is, and where that was learnt.
    fallbacks: BTreeMap<&'static str, Fallback>,
    parser_folders: Vec<PathBuf>,
}

#[derive(Clone, Debug)]
struct Fallback {
    value: String,
    source: &'static str,
}

impl Environment {
    /// Where Fluent Bit's image keeps its parser files.
    pub const FLUENT_BIT_FOLDER: &'static str = "/fluent-bit/etc";
    /// Where our image keeps its own. Apart from the folder above, which a Pod usually covers
    /// with its ConfigMap.
    pub const OWN_PARSERS_FOLDER: &'static str = "/etc/log-ambassador/parsers";
    /// Where Kubernetes mounts the name of the Pod's namespace.
    const NAMESPACE_FILE: &'static str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

    /// The process environment, the host name and the mounted service account.
    pub fn of_process() -> Self {
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        let mut environment = Self { variables: variables.collect(), ..Self::default() };
        if let Ok(name) = rustix::system::uname().nodename().to_str() {
            environment = environment.with_host_name(name);
        }
        if let Ok(name) = fs::read_to_string(Self::NAMESPACE_FILE) {
            environment = environment.with_namespace(name.trim(), "the mounted service account");
        }
        [Self::FLUENT_BIT_FOLDER, Self::OWN_PARSERS_FOLDER]
            .into_iter()
            .fold(environment, |environment, folder| environment.with_parser_folder(folder))
    }

    /// Only these variables: no host name, no service account, no folders.
    pub fn of<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self { variables: variables.into_iter().map(own).collect(), ..Self::default() }
    }

    /// What `HOSTNAME` and `POD_NAME` are when unset. A name that was known before stays.
    #[must_use]
    pub fn with_host_name(mut self, name: &str) -> Self {
        // Fluent Bit 5.1 does the same with HOSTNAME, so it is as good as set.
        if self.get("HOSTNAME").is_none() {
            self.variables.insert("HOSTNAME".to_owned(), name.to_owned());
        }
        self.with_fallback("POD_NAME", name, "the host name")
    }

    /// What `POD_NAMESPACE` is when unset, and who says so. A name that was known before stays,
    /// so `replay` can end with `default`.
    #[must_use]
    pub fn with_namespace(self, name: &str, source: &'static str) -> Self {
        self.with_fallback("POD_NAMESPACE", name, source)
    }

    /// One more folder in which a `Parsers_File` with a relative name is looked for.
    #[must_use]
    pub fn with_parser_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.parser_folders.push(folder.into());
        self
    }

    /// The value of a variable. One that is set to nothing counts as unset, as in Fluent Bit.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A variable, or what stands in for it and who says so.
    pub fn known(&self, name: &str) -> Option<(&str, Option<&'static str>)> {
        let fallback = || {
            let fallback = self.fallbacks.get(name)?;
            Some((fallback.value.as_str(), Some(fallback.source)))
        };
        self.get(name).map(|value| (value, None)).or_else(fallback)
    }

    pub(super) fn parser_folders(&self) -> &[PathBuf] {
        &self.parser_folders
    }

    fn with_fallback(mut self, name: &'static str, value: &str, source: &'static str) -> Self {
        if !value.is_empty() {
            self.fallbacks
                .entry(name)
                .or_insert_with(|| Fallback { value: value.to_owned(), source });
        }
        self
    }
}

/// The environment, and before it what `@SET` and YAML's `env` say.
#[derive(Debug)]
pub(super) struct Variables<'a> {
    environment: &'a Environment,
    set: BTreeMap<String, String>,
}

/// A value after expansion.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Expanded {
    pub(super) text: String,
    /// Variables that are set nowhere: nothing stands in their place.
    pub(super) unset: Vec<String>,
    /// Variables that are set nowhere and that we know: one sentence each.
    pub(super) assumed: Vec<String>,
}

impl<'a> Variables<'a> {
    /// The last assignment to a name counts. A value `file://PATH` is what that file holds.
    pub(super) fn new(environment: &'a Environment, set: &[Entry], report: &mut Report) -> Self {
        let mut variables = Self { environment, set: BTreeMap::new() };
        for Entry { key: name, value, place } in set {
            let value = match value.strip_prefix("file://").filter(|path| !path.is_empty()) {
                None => value.clone(),
                Some(path) => match fs::read_to_string(path) {
                    Ok(text) => text.strip_suffix(['\n', '\r']).unwrap_or(&text).to_owned(),
                    Err(error) => {
                        report.refuse(place, format!("'{path}' cannot be read: {error}"));
                        continue;
                    }
                },
            };
            variables.set.insert(name.clone(), value);
        }
        variables
    }

    /// Replaces every `${NAME}` and `${NAME:-default}` in `text`. A `$` alone is only a character.
    pub(super) fn expand(&self, text: &str) -> Expanded {
        let mut expanded = Expanded::default();
        let mut rest = text;
        while let Some((before, reference)) = rest.split_once("${") {
            let Some((reference, after)) = reference.split_once('}') else {
                break;
            };
            expanded.text.push_str(before);
            self.add(reference, &mut expanded);
            rest = after;
        }
        expanded.text.push_str(rest);
        expanded
    }

    fn add(&self, reference: &str, expanded: &mut Expanded) {
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        let set = self.set.get(name).map(String::as_str);
        let known = set.filter(|value| !value.is_empty()).or_else(|| self.environment.get(name));
        if let Some(value) = known.or(default).or(set) {
            expanded.text.push_str(value);
        } else if let Some(Fallback { value, source }) = self.environment.fallbacks.get(name) {
            expanded.text.push_str(value);
            expanded.assumed.push(format!("{name} is not set; '{value}' is taken from {source}"));
        } else {
            expanded.unset.push(name.to_owned());
        }
    }
}

/// The lines of YAML that set `name` for a container in a Pod manifest.
pub(super) fn lines_that_set(name: &str) -> String {
    let field = match name {
        "POD_NAMESPACE" => "metadata.namespace",
        "POD_NAME" => "metadata.name",
        "POD_IP" => "status.podIP",
        "NODE_NAME" => "spec.nodeName",
        _ => return format!("    env:\n      - name: {name}\n        value: \"...\""),
    };
    format!(
        "    env:\n      - name: {name}\n        valueFrom:\n          fieldRef:\n            \
         fieldPath: {field}"
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::error::Place;
    use super::*;

    fn expand(text: &str, environment: &Environment, set: &[(&str, &str)]) -> Expanded {
        let place = Place::of_line(Path::new("a.conf"), 1);
        let set: Vec<_> = set
            .iter()
            .map(|(name, value)| Entry {
                key: (*name).to_owned(),
                ..Entry::new(name, value, &place)
            })
            .collect();
        Variables::new(environment, &set, &mut Report::default()).expand(text)
    }

    #[test]
    fn references_are_replaced_and_everything_else_stays() {
        let environment = Environment::of([("A", "a"), ("EMPTY", ""), ("B", "env")]);
        let set = [("B", "set"), ("NOTHING", ""), ("a ", "blank")];
        for (text, expected, unset) in [
            ("x ${A} y", "x a y", vec![]),
            ("${A}${A}", "aa", vec![]),
            ("${B}", "set", vec![]),
            ("${NOTHING}", "", vec![]),
            ("${NOTHING:-d}", "d", vec![]),
            ("${a }", "blank", vec![]),
            ("${a}", "", vec!["a"]),
            ("a.${UNSET}.b", "a..b", vec!["UNSET"]),
            ("${EMPTY}", "", vec!["EMPTY"]),
            ("${UNSET:-d e}", "d e", vec![]),
            ("${UNSET:-}", "", vec![]),
            ("${EMPTY:-d}", "d", vec![]),
            ("${A:-d}", "a", vec![]),
            ("$A ${A", "$A ${A", vec![]),
            ("} ${A}", "} a", vec![]),
            ("100 % {}", "100 % {}", vec![]),
        ] {
            let expanded = expand(text, &environment, &set);
            assert_eq!(
                (expanded.text.as_str(), expanded.unset),
                (expected, unset.iter().map(ToString::to_string).collect()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_the_pod_knows_stands_in_for_three_variables() {
        let environment =
            Environment::of([]).with_host_name("pod-1").with_namespace("shop", "a file");
        for (text, expected, assumed) in [
            ("${HOSTNAME}", "pod-1", 0),
            ("${POD_NAME}", "pod-1", 1),
            ("${POD_NAMESPACE}", "shop", 1),
            ("${POD_NAMESPACE:-x}", "x", 0),
        ] {
            let expanded = expand(text, &environment, &[]);
            assert_eq!(
                (expanded.text.as_str(), expanded.assumed.len()),
                (expected, assumed),
                "{text}"
            );
            assert_eq!(expanded.unset, [""; 0], "{text}");
        }
        let set = Environment::of([("HOSTNAME", "h"), ("POD_NAME", "p"), ("POD_NAMESPACE", "n")]);
        let set = set.with_host_name("pod-1").with_namespace("shop", "a file");
        assert_eq!(expand("${HOSTNAME} ${POD_NAME} ${POD_NAMESPACE}", &set, &[]).text, "h p n");
    }

    #[test]
    fn the_first_fallback_stays() {
        let environment = Environment::of([]).with_namespace("shop", "a file");
        let environment = environment.with_namespace("default", "nowhere");
        assert_eq!(expand("${POD_NAMESPACE}", &environment, &[]).text, "shop");
    }

    #[test]
    fn a_variable_can_be_what_a_file_holds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, "a\n\n").unwrap();
        let uri = format!("file://{}", path.display());
        assert_eq!(expand("${S}", &Environment::of([]), &[("S", &uri)]).text, "a\n");
    }

    #[test]
    fn the_process_knows_its_host_name_and_the_folders_of_the_image() {
        let environment = Environment::of_process();
        assert!(environment.get("HOSTNAME").is_some());
        assert_eq!(environment.parser_folders().len(), 2);
    }

    #[test]
    fn a_pod_manifest_can_set_a_variable_from_a_field_or_to_a_value() {
        let lines = lines_that_set("POD_NAMESPACE");
        assert!(lines.ends_with("            fieldPath: metadata.namespace"), "{lines}");
        assert!(lines_that_set("X").ends_with("        value: \"...\""));
    }
}
