//! Pods on this machine: images are built by buildah from the real Dockerfile, manifests played
//! by podman, each with a store of its own that no other user of the machine sees.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value as Json;

use super::FakeFluentd;
use super::tools::{needs_root, output_of};
use super::yaml::{document_of, named, repository};

const INSTALL: &str = "apt-get install --no-install-recommends podman buildah runc catatonit \
                       busybox-static uidmap iptables netavark fuse-overlayfs";

const APPLICATION: &str = "myapp";
const AGENT: &str = "log-ambassador";

/// The engine. One at a time on a machine: Pods publish ports and share a store.
pub struct Podman {
    home: PathBuf,
    _alone: File,
}

impl Podman {
    /// Builds the two images under the names that this manifest has for them.
    pub fn with_images_of(manifest: &str) -> Self {
        needs_root("it starts containers, and enters the network of a Pod");
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("podman");
        fs::create_dir_all(&home).unwrap();
        let alone = File::create(home.join("lock")).unwrap();
        alone.lock().unwrap();
        let podman = Self { home, _alone: alone };
        podman.configure();
        podman.remove_everything();
        let containers = document_of(manifest, "Pod")["spec"]["containers"].clone();
        podman.build_application(&containers);
        podman.build_agent(&containers);
        podman
    }

    /// What kubelet would give every container: names of the cluster, and the service account's
    /// namespace.
    fn configure(&self) {
        let hosts = self.home.join("hosts");
        let names = "127.0.0.1 localhost\n\
                     127.0.0.1 fluentd-aggregator.logging.svc.cluster.local\n";
        fs::write(&hosts, names).unwrap();
        let account = self.home.join("serviceaccount");
        fs::create_dir_all(&account).unwrap();
        fs::write(account.join("namespace"), "default").unwrap();
        let settings = format!(
            "[containers]\n\
             base_hosts_file = {hosts:?}\n\
             volumes = [\"{}:/var/run/secrets/kubernetes.io/serviceaccount:ro\"]\n\
             # The engine's own defaults may be more than this machine lets us have.\n\
             default_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
             [network]\n\
             network_backend = \"netavark\"\n\
             [engine]\n\
             # Needs neither systemd nor a journal.\n\
             cgroup_manager = \"cgroupfs\"\n\
             events_logger = \"file\"\n\
             runtime = \"runc\"\n",
            account.display(),
        );
        fs::write(self.settings(), settings).unwrap();
    }

    fn settings(&self) -> PathBuf {
        self.home.join("containers.conf")
    }

    fn build_application(&self, containers: &Json) {
        let context = self.home.join("application");
        fs::create_dir_all(&context).unwrap();
        for file in ["Dockerfile", "app.sh"] {
            fs::copy(repository("tests/pod").join(file), context.join(file)).unwrap();
        }
        let busybox = Path::new("/bin/busybox");
        let copied = fs::copy(busybox, context.join("busybox"));
        copied.unwrap_or_else(|error| panic!("{}: {error}; run `{INSTALL}`", busybox.display()));
        self.build(&context, &[], &image_of(containers, APPLICATION));
    }

    fn build_agent(&self, containers: &Json) {
        let stage = self.home.join("build-stage");
        let mut build = Command::new(repository("scripts/build-static"));
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        build.arg(stage.join("image")).env("CARGO_TARGET_DIR", target);
        output_of(&mut build, "rustup");
        let stage = format!("build={}", stage.display());
        self.build(&repository("."), &["--build-context", &stage], &image_of(containers, AGENT));
    }

    fn build(&self, context: &Path, more: &[&str], image: &str) {
        let mut buildah = self.command("buildah");
        buildah.args(["bud", "--isolation", "chroot", "--quiet"]).args(more);
        output_of(buildah.args(["--tag", image]).arg(context), INSTALL);
    }

    /// Plays manifests as they are.
    pub fn play(&self, documents: &[Json]) -> Played<'_> {
        let manifest = self.home.join("manifest.yaml");
        let mut file = File::create(&manifest).unwrap();
        for document in documents {
            // JSON is YAML.
            writeln!(file, "---\n{document:#}").unwrap();
        }
        let pod = documents.iter().find(|document| document["kind"] == "Pod").expect("a Pod");
        let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
        self.podman(&["kube", "play", manifest.to_str().unwrap()]);
        let played = Played { podman: self, name, pid: OnceLock::new(), fluentd: OnceLock::new() };
        played.pid();
        played
    }

    fn podman(&self, arguments: &[&str]) -> String {
        output_of(self.command("podman").args(self.places()).args(arguments), INSTALL)
    }

    fn places(&self) -> [String; 4] {
        let place = |name: &str| self.home.join(name).display().to_string();
        ["--tmpdir".into(), place("tmp"), "--network-config-dir".into(), place("networks")]
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("CONTAINERS_CONF", self.settings()).args(["--storage-driver", "vfs"]);
        command.arg("--root").arg(self.home.join("root"));
        command.arg("--runroot").arg(self.home.join("run"));
        command
    }

    /// What this run or one before it, killed in the middle, has left.
    fn remove_everything(&self) {
        self.podman(&["pod", "rm", "--all", "--force", "--time", "0"]);
        self.podman(&["volume", "rm", "--all", "--force"]);
    }
}

fn image_of(containers: &Json, container: &str) -> String {
    named(containers, container)["image"].as_str().unwrap().to_owned()
}

/// A running Pod, or one that was stopped. It is removed when the test is over.
pub struct Played<'a> {
    podman: &'a Podman,
    name: String,
    pid: OnceLock<String>,
    fluentd: OnceLock<InPod>,
}

impl Played<'_> {
    /// Starts a receiver inside the Pod's network, where its 127.0.0.1 is.
    pub fn start_fluentd(&self) -> &FakeFluentd {
        let network = File::open(format!("/proc/{}/ns/net", self.pid())).unwrap();
        assert!(self.fluentd.set(InPod::start(network)).is_ok(), "it was started before");
        self.fluentd()
    }

    pub fn fluentd(&self) -> &FakeFluentd {
        self.fluentd.get().and_then(|fluentd| fluentd.server.as_ref()).expect("it was started")
    }

    /// SIGTERM to both containers; SIGKILL when the grace is over.
    pub fn stop(&self, grace: Duration) {
        self.podman.podman(&["pod", "stop", "--time", &grace.as_secs().to_string(), &self.name]);
    }

    pub fn exit_status_of_agent(&self) -> i32 {
        self.inspect("{{.State.ExitCode}}").parse().unwrap()
    }

    pub fn log_of_agent(&self) -> String {
        let mut logs = self.podman.command("podman");
        // Our own log is on stderr.
        let output = logs.args(self.podman.places()).args(["logs", &self.agent()]).output();
        String::from_utf8_lossy(&output.unwrap().stderr).into_owned()
    }

    /// A field of `/proc/PID/status`.
    pub fn status_of_agent(&self, field: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let mut fields = status.lines().filter_map(|line| line.split_once(":\t"));
        let value = fields.find(|(name, _)| *name == field).map(|(_, value)| value);
        value.unwrap_or_else(|| panic!("no {field} in {status}")).to_owned()
    }

    /// In bytes.
    pub fn memory_limit_of_agent(&self) -> u64 {
        self.inspect("{{.HostConfig.Memory}}").parse().unwrap()
    }

    pub fn mounts_of_agent(&self) -> Vec<Mount> {
        let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", self.pid())).unwrap();
        mounts.lines().map(Mount::read).collect()
    }

    /// Directories and files of its file system that its user may write, where a mount lets it.
    /// Devices, the kernel's own files and the usual world-writable `/dev` are no storage.
    pub fn writable_paths_of_agent(&self) -> Vec<PathBuf> {
        let root = PathBuf::from(format!("/proc/{}/root", self.pid()));
        let kernel = ["/proc", "/sys", "/dev"];
        let mounts = self.mounts_of_agent();
        let writable = mounts.into_iter().filter(|mount| {
            !mount.read_only && !kernel.iter().any(|prefix| mount.path.starts_with(prefix))
        });
        let writable = writable.map(|mount| mount.path).filter(|path| {
            let at = root.join(path.strip_prefix("/").unwrap());
            let metadata = fs::metadata(at).unwrap();
            metadata.uid() == 65532 || metadata.mode() & 0o002 != 0
        });
        writable.collect()
    }

    /// Where an `emptyDir` is on the host.
    pub fn volume(&self, name: &str) -> PathBuf {
        let place = self.podman.podman(&["volume", "inspect", "-f", "{{.Mountpoint}}", name]);
        PathBuf::from(place.trim())
    }

    fn pid(&self) -> &str {
        self.pid.get_or_init(|| self.inspect("{{.State.Pid}}"))
    }

    fn inspect(&self, what: &str) -> String {
        self.podman.podman(&["inspect", "-f", what, &self.agent()]).trim().to_owned()
    }

    fn agent(&self) -> String {
        format!("{}-{AGENT}", self.name)
    }
}

impl Drop for Played<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("its log:\n{}", self.log_of_agent());
        }
        self.fluentd.take();
        self.podman.remove_everything();
    }
}

/// A mount of a container.
#[derive(Debug)]
pub struct Mount {
    path: PathBuf,
    pub read_only: bool,
}

impl Mount {
    /// A line of `mountinfo`: the path is its fifth field, the options are its sixth.
    fn read(line: &str) -> Self {
        let mut fields = line.split(' ').skip(4);
        let path = PathBuf::from(fields.next().unwrap());
        let read_only = fields.next().unwrap().split(',').any(|option| option == "ro");
        Self { path, read_only }
    }

    pub fn is(&self, path: &str) -> bool {
        self.path == Path::new(path)
    }
}

/// A receiver whose sockets are in the network of a Pod. What arrives can be asked for from
/// anywhere; starting and stopping happen inside.
struct InPod {
    server: Option<FakeFluentd>,
    network: File,
}

impl InPod {
    fn start(network: File) -> Self {
        let server = inside(&network, || FakeFluentd::start_on(24224));
        Self { server: Some(server), network }
    }
}

impl Drop for InPod {
    fn drop(&mut self) {
        let server = self.server.take();
        inside(&self.network, || drop(server));
    }
}

/// Does something on a thread that is in another network; threads that it starts are so too.
fn inside<T: Send>(network: &File, act: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let acting = scope.spawn(|| {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            act()
        });
        acting.join().expect("it does not panic")
    })
}
