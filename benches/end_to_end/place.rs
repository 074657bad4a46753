//! Where an agent runs: anywhere, on one core, or within a tenth of one and little memory.
//!
//! In:  a place
//! Out: the words to put before a command, so that the process itself is there; what it is in is
//!      taken away again when the agent has ended

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const CONTROL_GROUPS: &str = "/sys/fs/cgroup";
/// Microseconds on a processor in each period.
const QUOTA: u32 = 10_000;
const PERIOD: u32 = 100_000;
const MEMORY: u32 = 128 << 20;

/// See the head of this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Anywhere,
    OneCore,
    /// A tenth of a core and 128 MiB, by control groups.
    TenthOfACore,
}

/// A place that was made ready.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    before: Vec<String>,
    groups: Vec<PathBuf>,
}

impl Place {
    /// Whether it can be had here: control groups take root, and a system that lets it make some.
    pub(crate) fn can_be_had(self) -> bool {
        cfg!(target_os = "linux") && self.make_ready().is_ok()
    }

    /// Makes it ready for one process.
    pub(crate) fn make_ready(self) -> io::Result<Ready> {
        match self {
            Self::Anywhere => Ok(Ready::default()),
            Self::OneCore => {
                let before = ["taskset", "-c", "0"].map(str::to_owned).to_vec();
                Ok(Ready { before, groups: Vec::new() })
            }
            Self::TenthOfACore => Ready::within_limits(),
        }
    }
}

impl Ready {
    fn within_limits() -> io::Result<Self> {
        let name = format!("end_to_end-{}", std::process::id());
        let root = Path::new(CONTROL_GROUPS);
        let mut ready = Self::default();
        if root.join("cgroup.controllers").is_file() {
            let limits =
                [("cpu.max", format!("{QUOTA} {PERIOD}")), ("memory.max", MEMORY.to_string())];
            ready.add_group(root.join(&name), &limits)?;
        } else {
            let cpu = [
                ("cpu.cfs_period_us", PERIOD.to_string()),
                ("cpu.cfs_quota_us", QUOTA.to_string()),
            ];
            ready.add_group(root.join("cpu").join(&name), &cpu)?;
            let memory = [("memory.limit_in_bytes", MEMORY.to_string())];
            ready.add_group(root.join("memory").join(&name), &memory)?;
        }
        let files =
            ready.groups.iter().map(|group| group.join("cgroup.procs").display().to_string());
        let enter = r#"while [ "$1" != -- ]; do echo $$ >"$1"; shift; done; shift; exec "$@""#;
        ready.before = ["sh", "-c", enter, "sh"].map(str::to_owned).to_vec();
        let files: Vec<String> = files.collect();
        ready.before.extend(files);
        ready.before.push("--".to_owned());
        Ok(ready)
    }

    fn add_group(&mut self, group: PathBuf, limits: &[(&str, String)]) -> io::Result<()> {
        fs::create_dir_all(&group)?;
        self.groups.push(group.clone());
        limits.iter().try_for_each(|(name, value)| fs::write(group.join(name), value))
    }

    /// The words to put before a command.
    pub(crate) fn before(&self) -> &[String] {
        &self.before
    }
}

/// A control group can be removed when its processes are gone.
impl Drop for Ready {
    fn drop(&mut self) {
        for group in &self.groups {
            fs::remove_dir(group).ok();
        }
    }
}
