//! Upstream files: the nodes of an output.
//!
//! In:  what `Upstream` of an output says, and the output's own settings
//! Out: a [`Node`] for each `[NODE]`
//!
//! ```text
//! [UPSTREAM]                     upstream_servers:
//!     Name  aggregators            - name: aggregators
//! [NODE]                             nodes:
//!     Name    a                        - name: a
//!     Host    10.0.0.1                   host: 10.0.0.1
//!     Port    24224                      port: 24224
//!     Weight  60                         weight: 60
//! ```

use std::path::Path;

use super::env::Variables;
use super::error::{Place, Report};
use super::keys::{FORWARD, Group, NODE, TLS, UPSTREAM};
use super::outputs::{read_connection, read_port};
use super::parsers::find_file;
use super::tree::{Kind, Section, Tree, is_yaml};
use super::values::Values;
use crate::forward::{Node, Settings};

static UPSTREAM_GROUPS: &[&Group] = &[&UPSTREAM];
static NODE_GROUPS: &[&Group] = &[&NODE, &TLS, &FORWARD];

/// Where an output says its nodes are.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    /// The value of `Upstream`.
    pub(super) name: &'a str,
    /// Its place.
    pub(super) place: &'a Place,
    /// The main file.
    pub(super) main: &'a Path,
    /// What it says.
    pub(super) tree: &'a Tree,
    /// What the Pod is called.
    pub(super) host_name: &'a str,
}

/// Reads the nodes. What a node does not say is as `output` has it. None of them: the report says
/// why.
pub(super) fn read(
    source: Source<'_>,
    output: &Settings,
    variables: &Variables<'_>,
    report: &mut Report,
) -> Vec<Node> {
    let Source { name, place, main, tree, host_name } = source;
    if let Some(sections) = in_main_file(name, tree) {
        return read_nodes(sections, place, (output, host_name), variables, report);
    }
    let Some(path) = find_file(name.as_ref(), place, main, &[], report) else {
        return Vec::new();
    };
    let tree = Tree::read(&path, report);
    for variable in &tree.variables {
        report.warn(&variable.place, "is ignored in an upstream file; set it in the main file");
    }
    let whole = Place::of_file(&path);
    match tree.sections.iter().find(|section| section.kind == Kind::UpstreamServers) {
        None => report.refuse(&whole, "there is no [UPSTREAM]; begin with one that has a Name"),
        Some(section) => {
            let values = Values::read(section, "[UPSTREAM]", UPSTREAM_GROUPS, variables, report);
            if values.text("Name").is_none() {
                report.refuse(&section.place, "an upstream needs a Name");
            }
        }
    }
    for section in &tree.sections {
        if !matches!(section.kind, Kind::UpstreamServers | Kind::Node) {
            report.warn(&section.place, "this section is ignored in an upstream file");
        }
    }
    read_nodes(&tree.sections, &whole, (output, host_name), variables, report)
}

/// In YAML the main file may hold upstreams, by name: that one and the nodes behind it.
fn in_main_file<'a>(name: &str, tree: &'a Tree) -> Option<&'a [Section]> {
    let is_named = |section: &Section| {
        section.kind == Kind::UpstreamServers
            && is_yaml(&section.place.file)
            && section.entries.iter().any(|entry| entry.key == "name" && entry.value == name)
    };
    let at = tree.sections.iter().position(is_named)? + 1;
    let nodes = tree.sections[at..].iter().take_while(|section| section.kind == Kind::Node);
    Some(&tree.sections[at..at + nodes.count()])
}

fn read_nodes(
    sections: &[Section],
    place: &Place,
    usual: (&Settings, &str),
    variables: &Variables<'_>,
    report: &mut Report,
) -> Vec<Node> {
    let before = report.problems.len();
    let nodes: Vec<_> = sections
        .iter()
        .filter(|section| section.kind == Kind::Node)
        .filter_map(|section| read_node(section, usual, variables, report))
        .collect();
    let is_usable = |node: &Node| node.weight > 0;
    if report.problems.len() == before && !nodes.iter().any(is_usable) {
        let message = "there is no [NODE] with a Weight above 0; write at least one";
        report.refuse(place, message);
    }
    nodes
}

fn read_node(
    section: &Section,
    (output, host_name): (&Settings, &str),
    variables: &Variables<'_>,
    report: &mut Report,
) -> Option<Node> {
    let mut values = Values::read(section, "[NODE]", NODE_GROUPS, variables, report);
    report.problems.append(&mut values.unsupported);
    if let Some(found) = values.find("Upstream") {
        report.refuse_plugin(&found.place, "a node cannot have nodes of its own");
    }
    for (key, message) in [
        ("Compress", "write it in the [OUTPUT]: all nodes get the same frames"),
        ("Unix_Path", "a node is a Host and a Port"),
    ] {
        if let Some(found) = values.find(key) {
            report.refuse_plugin(&found.place, message);
        }
    }
    let [name, host, port] = ["Name", "Host", "Port"].map(|key| values.text(key));
    let (Some(name), Some(host), Some(_)) = (name, host, port) else {
        report.refuse(&section.place, "a node needs a Name, a Host and a Port");
        return None;
    };
    let mut settings = Settings { host, port: read_port(&values, report), ..output.clone() };
    read_connection(&mut settings, &values, host_name, report);
    let weight = read_weight(&values, report);
    let standby = values.boolean("Standby").unwrap_or(false);
    Some(Node { name, weight, standby, settings })
}

fn read_weight(values: &Values, report: &mut Report) -> u32 {
    let Some(number) = values.integer("Weight") else {
        return Node::DEFAULT_WEIGHT;
    };
    u32::try_from(number).unwrap_or_else(|_| {
        let message = format!("{number} is no weight; write 0 or more");
        report.refuse_plugin(&values.place("Weight"), message);
        Node::DEFAULT_WEIGHT
    })
}
