//! What a run leaves behind on the machine: a listing before, one after, and the difference.
//!
//! Other people's work goes on meanwhile, so a [`Scope`] says what can be ours: processes whose
//! command line names one of its marks or that are our children, mounts and loop devices and
//! cgroups that name one, files under one folder. Namespaces count when a process of ours or a
//! mounted file holds them.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;

/// Files that are listed at most; more are a leftover by themselves.
pub const FILES_MAX: usize = 100_000;
/// Depth of folders that are looked into.
const DEPTH_MAX: usize = 16;

/// What can be ours.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// Texts that only our things have in their names and command lines: the run's folder, a prefix.
    pub marks: Vec<String>,
    /// Files under it are ours.
    pub folder: PathBuf,
}

/// One thing that is there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Thing {
    /// A process that runs, told from others with its number by its start.
    Process {
        /// Its number.
        pid: u32,
        /// When it began, in ticks since the machine did.
        start_ticks: u64,
        /// What it is.
        command: String,
    },
    /// A mount.
    Mount {
        /// Where.
        at: String,
        /// Of what.
        source: String,
    },
    /// A namespace: `net:[4026532000]`.
    Namespace(String),
    /// A loop device and its file.
    LoopDevice {
        /// Which.
        device: String,
        /// Its file.
        file: String,
    },
    /// A cgroup.
    Cgroup(String),
    /// A file or folder.
    File(PathBuf),
    /// There are more files than are listed.
    MoreFiles,
}

/// What is there at a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing(BTreeSet<Thing>);

impl Listing {
    /// Looks at this machine. What vanishes while one looks is not there; what may not be looked at
    /// is not listed.
    #[must_use]
    pub fn take(scope: &Scope) -> Self {
        let mut things = BTreeSet::new();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        things.extend(mounts.lines().filter_map(mount).filter(|thing| is_ours(thing, scope)));
        for pid in numbers("/proc") {
            let Some((process, namespaces)) = process(pid, scope) else { continue };
            things.insert(process);
            things.extend(namespaces);
        }
        things.extend(loop_devices().filter(|thing| is_ours(thing, scope)));
        cgroups(Path::new("/sys/fs/cgroup"), DEPTH_MAX, scope, &mut things);
        let mut room = FILES_MAX;
        files(&scope.folder, DEPTH_MAX, &mut room, &mut things);
        Self(things)
    }

    /// What is here and was not there before, in order.
    #[must_use]
    pub fn left_since(&self, before: &Self) -> Vec<Thing> {
        self.0.difference(&before.0).cloned().collect()
    }
}

fn has_mark(text: &str, scope: &Scope) -> bool {
    scope.marks.iter().any(|mark| !mark.is_empty() && text.contains(mark.as_str()))
}

fn is_ours(thing: &Thing, scope: &Scope) -> bool {
    match thing {
        // A namespace that a file holds is anonymous: nobody but a laboratory makes one.
        Thing::Mount { at, source } => {
            source == "nsfs" || has_mark(at, scope) || has_mark(source, scope)
        }
        Thing::LoopDevice { file, .. } => has_mark(file, scope),
        Thing::Cgroup(path) => has_mark(path, scope),
        _ => true,
    }
}

/// A line of `/proc/<pid>/mountinfo` (proc_pid_mountinfo(5)).
fn mount(line: &str) -> Option<Thing> {
    let (fields, rest) = line.split_once(" - ")?;
    let at = fields.split(' ').nth(4)?;
    let mut rest = rest.split(' ');
    let (kind, source) = (rest.next()?, rest.next()?);
    let source = if kind == "nsfs" { kind } else { source };
    Some(Thing::Mount { at: at.to_owned(), source: source.to_owned() })
}

/// A process of ours and the namespaces that it has for itself; zombies count, somebody forgot them.
fn process(pid: u32, scope: &Scope) -> Option<(Thing, Vec<Thing>)> {
    let own = std::process::id();
    if pid == own {
        return None;
    }
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    let (name, fields) = stat.split_once('(')?.1.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let parent: u32 = fields.nth(1)?.parse().ok()?;
    // Field 22; the fields begin with the third, and two are taken.
    let start_ticks = fields.nth(17)?.parse().ok()?;
    let line = fs::read(folder.join("cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    if parent != own && !has_mark(&line, scope) {
        return None;
    }
    let namespaces = ["net", "mnt", "pid", "uts", "ipc"].into_iter().filter_map(|kind| {
        let of = |folder: &Path| fs::read_link(folder.join("ns").join(kind)).ok();
        let theirs = of(&folder)?;
        let is_own = of(Path::new("/proc/self")).as_ref() == Some(&theirs);
        (!is_own).then(|| Thing::Namespace(theirs.display().to_string()))
    });
    let namespaces = namespaces.collect();
    Some((Thing::Process { pid, start_ticks, command: name.to_owned() }, namespaces))
}

fn loop_devices() -> impl Iterator<Item = Thing> {
    names(Path::new("/sys/block")).filter(|name| name.starts_with("loop")).filter_map(|device| {
        let file = fs::read_to_string(format!("/sys/block/{device}/loop/backing_file")).ok()?;
        Some(Thing::LoopDevice { device, file: file.trim_end().to_owned() })
    })
}

fn cgroups(folder: &Path, depth: usize, scope: &Scope, into: &mut BTreeSet<Thing>) {
    if depth == 0 {
        return;
    }
    for name in names(folder) {
        let path = folder.join(name);
        if path.is_dir() && !path.is_symlink() {
            let thing = Thing::Cgroup(path.display().to_string());
            if is_ours(&thing, scope) {
                into.insert(thing);
            }
            cgroups(&path, depth - 1, scope, into);
        }
    }
}

fn files(folder: &Path, depth: usize, room: &mut usize, into: &mut BTreeSet<Thing>) {
    for name in names(folder) {
        if *room == 0 || depth == 0 {
            into.insert(Thing::MoreFiles);
            return;
        }
        *room -= 1;
        let path = folder.join(name);
        if path.is_dir() && !path.is_symlink() {
            files(&path, depth - 1, room, into);
        }
        into.insert(Thing::File(path));
    }
}

fn names(folder: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

fn numbers(folder: &str) -> impl Iterator<Item = u32> {
    names(Path::new(folder)).filter_map(|name| name.parse().ok())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    // Goal: a file and a process that were left are found, one that was there before is not; what is
    // cleaned up is no leftover.
    #[test]
    fn files_and_processes_that_are_left() {
        let folder = tempfile::tempdir().unwrap();
        let scope =
            Scope { marks: vec!["no such mark".to_owned()], folder: folder.path().to_owned() };
        fs::write(folder.path().join("old"), "").unwrap();
        let before = Listing::take(&scope);
        fs::create_dir(folder.path().join("new")).unwrap();
        fs::write(folder.path().join("new/file"), "").unwrap();
        let mut child =
            Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let is_child =
            |thing: &&Thing| matches!(thing, Thing::Process { pid, .. } if *pid == child.id());
        let left = Listing::take(&scope).left_since(&before);
        assert_eq!(left.iter().filter(is_child).count(), 1, "{left:?}");
        let paths = ["new", "new/file"].map(|name| Thing::File(folder.path().join(name)));
        assert!(paths.iter().all(|path| left.contains(path)), "{left:?}");
        assert!(!left.contains(&Thing::File(folder.path().join("old"))), "{left:?}");

        drop(child.stdin.take());
        child.wait().unwrap();
        fs::remove_dir_all(folder.path().join("new")).unwrap();
        let left = Listing::take(&scope).left_since(&before);
        assert!(!left.iter().any(|thing| matches!(thing, Thing::File(_))), "{left:?}");
        let gone = left
            .iter()
            .filter(|thing| matches!(thing, Thing::Process { pid, .. } if *pid == child.id()));
        assert_eq!(gone.count(), 0, "{left:?}");
    }

    // Goal: lines of the kernel are read as it writes them; a namespace held by a file is ours, a
    // foreign mount is not, one with our mark is.
    #[test]
    fn mounts_are_read() {
        let scope = Scope { marks: vec!["/run-7/".to_owned()], ..Scope::default() };
        let rows = [
            ("30 23 0:26 / /sys rw,nosuid shared:7 - sysfs sysfs rw", false),
            ("99 23 0:4 net:[4026532008] /run/netns/x rw - nsfs nsfs rw", true),
            ("98 23 7:0 / /data/run-7/disk rw - ext4 /dev/loop0 rw", true),
        ];
        for (line, ours) in rows {
            let thing = mount(line).unwrap();
            assert_eq!(is_ours(&thing, &scope), ours, "{line}");
        }
        assert_eq!(mount("garbage"), None);
        let device = |file: &str| {
            let (device, file) = ("loop0".to_owned(), file.to_owned());
            is_ours(&Thing::LoopDevice { device, file }, &scope)
        };
        assert!(device("/data/run-7/disk.img") && !device("/data/run-8/disk.img"));
    }

    // Goal: every kind of thing that is new is left, in a listing made by hand.
    #[test]
    fn differences() {
        let all = BTreeSet::from([
            Thing::Process { pid: 7, start_ticks: 1, command: "tandem".to_owned() },
            Thing::Mount { at: "/mnt".to_owned(), source: "nsfs".to_owned() },
            Thing::Namespace("net:[1]".to_owned()),
            Thing::LoopDevice { device: "loop0".to_owned(), file: "f".to_owned() },
            Thing::Cgroup("/sys/fs/cgroup/cpu/x".to_owned()),
            Thing::File(PathBuf::from("f")),
            Thing::MoreFiles,
        ]);
        let (none, some) = (Listing::default(), Listing(all.clone()));
        assert_eq!(some.left_since(&none).len(), all.len());
        assert_eq!(some.left_since(&some), []);
        let again = Thing::Process { pid: 7, start_ticks: 2, command: "tandem".to_owned() };
        let reused = Listing(BTreeSet::from([again.clone()]));
        assert_eq!(reused.left_since(&some), [again], "the same number, another process");
    }
}
