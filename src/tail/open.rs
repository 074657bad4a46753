//! Opening a log file, and what to say when that is not possible.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit, setrlimit};

/// How many descriptors followed files leave to everything else.
const KEPT_FOR_OTHERS: u64 = 64;

/// Opens for reading, without waiting for the other end of a FIFO and without taking over a
/// terminal; neither is followed, but both can lie under a matching name. Links such as those in
/// `/proc/self/fd` are an error for which [`is_loop`] holds: they lead to our own log, or to a
/// file of whoever has the number now.
///
/// The last descriptors are not for files: sockets, directories and positions need some. Where only
/// those are left it is the error of the system for which [`is_out_of_descriptors`] holds.
pub fn open_log(path: &Path) -> io::Result<File> {
    let file = open_with_any_descriptor(path)?;
    if is_for_others(&file) {
        return Err(Errno::MFILE.into());
    }
    Ok(file)
}

/// Descriptors are given out from the lowest number on.
fn is_for_others(file: &File) -> bool {
    let Some(limit) = getrlimit(Resource::Nofile).current else {
        return false;
    };
    let kept = (limit / 4).min(KEPT_FOR_OTHERS);
    u64::try_from(file.as_raw_fd()).is_ok_and(|number| number >= limit - kept)
}

fn open_with_any_descriptor(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let careful = ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(CWD, path, flags, Mode::empty(), careful) {
        // A kernel before 5.6, or a sandbox that does not know the call.
        Err(Errno::NOSYS | Errno::PERM) => {
            Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
        }
        opened => Ok(File::from(opened?)),
    }
}

/// Whether symbolic links lead in a circle, or are of the kind that [`open_log`] does not follow.
pub fn is_loop(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
}

/// Where an open file really lies, whatever links led there. Asked of the descriptor, because a
/// link may be switched at any time; without `/proc`, of the path.
pub fn real_path(file: &File, path: &Path) -> io::Result<PathBuf> {
    let descriptor = format!("/proc/self/fd/{}", file.as_raw_fd());
    std::fs::read_link(descriptor).or_else(|_| std::fs::canonicalize(path))
}

/// Whether the process or the system has no descriptor left.
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// What the first bytes of compressed files look like: gzip, zstd, xz, bzip2, lz4.
const COMPRESSED: [&[u8]; 5] =
    [&[0x1f, 0x8b], &[0x28, 0xb5, 0x2f, 0xfd], b"\xfd7zXZ\0", b"BZh", &[0x04, 0x22, 0x4d, 0x18]];

/// Whether the file is an older generation that something has compressed.
pub fn is_compressed(file: &File) -> bool {
    let mut head = [0; 6];
    let length = file.read_at(&mut head, 0).unwrap_or(0);
    begins_compressed(&head[..length])
}

/// Whether these are the first bytes of a compressed file.
pub fn begins_compressed(head: &[u8]) -> bool {
    COMPRESSED.iter().any(|magic| head.starts_with(magic))
}

/// Why a matched file may not be read, and the lines of YAML that help. Fluent Bit's image runs
/// as root, ours does not, so this is the first thing a migration can meet.
pub fn why_unreadable(path: &Path) -> String {
    let remedy = "in the Pod, set `securityContext: {fsGroup: <gid>}` or `runAsUser: <uid>` to the \
                  writer's, or let the application write its files with mode 0644";
    match std::fs::metadata(path) {
        Ok(metadata) => format!(
            "no permission to read it as uid {}: owner {}:{}, mode {:04o}; {remedy}",
            rustix::process::getuid().as_raw(),
            metadata.uid(),
            metadata.gid(),
            metadata.mode() & 0o7777,
        ),
        Err(error) => format!("no permission to look at it ({error}); {remedy}"),
    }
}

/// Whether a file is made up by the kernel, as those in `/proc` are: they say that they are regular
/// files, and some wait for ever or take away what they give.
pub fn is_in_proc(file: &File) -> bool {
    const PROC_MAGIC: u64 = 0x9fa0;
    is_on(file, PROC_MAGIC)
}

fn is_on(file: &File, magic: u64) -> bool {
    let volume = rustix::fs::fstatfs(file).ok();
    volume.is_some_and(|volume| u64::try_from(volume.f_type).is_ok_and(|kind| kind == magic))
}

/// Half of the volume that a file lies on, if that volume is memory: what is held there takes it
/// from every process of the Pod.
pub fn half_of_tmpfs(file: &File) -> Option<u64> {
    const TMPFS_MAGIC: u64 = 0x0102_1994;
    let volume = rustix::fs::fstatfs(file).ok()?;
    let size = volume.f_blocks.saturating_mul(u64::try_from(volume.f_bsize).ok()?);
    is_on(file, TMPFS_MAGIC).then_some(size / 2)
}

/// Raises the soft limit of open files to the hard one: every followed file holds a descriptor.
pub fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "cannot raise the limit of open files");
    }
}
