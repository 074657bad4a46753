//! Programs that tests call. A missing one fails the test and says what to run; no test is left
//! out in silence.

use std::process::Command;

use super::yaml::repository;

/// Runs it; gives its stdout. Anything but success fails the test with all it said.
pub fn output_of(command: &mut Command, install: &str) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; is it installed? Run `{install}`"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}{errors}", output.status);
    said
}

/// Runs a program from PyPI, as pinned in `tests/tools`, in this repository's folder.
pub fn python_tool(program: &str, arguments: &[&str]) -> String {
    let packages = repository("tests/tools/python");
    let mut command = Command::new(packages.join("bin").join(program));
    command.args(arguments).env("PYTHONPATH", packages).current_dir(repository("."));
    let install =
        "python3 -m pip install --target tests/tools/python -r tests/tools/requirements.txt";
    output_of(&mut command, install)
}

/// Fails a test that needs more than a user may do.
pub fn needs_root(why: &str) {
    assert!(rustix::process::geteuid().is_root(), "run this test as root: {why}");
}
