//! Makes and mounts ext4 on a file, so that nothing of it outlives this process.
//!
//! The mount is in the caller's mount namespace, where programs see it by its path. `mount -o loop`
//! attaches the loop device so that it frees itself with its last user; a warden unmounts the
//! folder when this process dies.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::error::DiskError;
use super::limits::{BLOCK_BYTES, HOLDERS_NAMED_MAX, RELEASE_POLL, RELEASE_WAIT_MAX};
use crate::machine::tool;
use crate::machine::warden::Warden;

/// Lazily, because a program of the owner may still sit there; and again for a while, because the
/// owner may have been killed just when `mount` was at it.
pub(super) const UNMOUNT: &str =
    "for try in 1 2 3 4 5 6 7 8 9 10; do umount --lazy \"$1\" && break; sleep 0.05; done";

/// An ext4 file system at a folder.
#[derive(Debug)]
pub struct Mounted {
    dir: PathBuf,
    device: Device,
    warden: Option<Warden>,
}

/// The loop device under a file system, and the number by which its files are known.
#[derive(Clone, Debug)]
struct Device {
    name: String,
    number: u64,
    backing_file: String,
}

/// Makes an empty ext4 on the file. Its errors remount it read-only, as installers choose.
pub fn make_ext4(file: &Path) -> Result<(), DiskError> {
    let block_bytes = BLOCK_BYTES.to_string();
    // No lazy initialisation: a thread of the kernel would write behind the test's back. No reserve
    // for root: a full disk is full for everybody.
    let now = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
    let args = ["-q", "-F", "-b", &block_bytes, "-m", "0", "-e", "remount-ro", "-E", now];
    let file = file.as_os_str();
    tool::run("mkfs.ext4", args.iter().map(std::ffi::OsStr::new).chain([file]))?;
    Ok(())
}

impl Mounted {
    /// Mounts the file's ext4 at `dir`, an existing folder on which nothing is mounted. Replays the
    /// journal. `commit_interval_s`: how often ext4 syncs by itself.
    pub fn ext4(file: &Path, dir: &Path, commit_interval_s: u32) -> Result<Self, DiskError> {
        let dir = dir.canonicalize().map_err(DiskError::file(dir))?;
        refuse_mount_point(&dir)?;
        let warden = Warden::start(UNMOUNT, [&dir])?;
        let options = format!("loop,nodev,nosuid,commit={commit_interval_s}");
        let args = ["-t".as_ref(), "ext4".as_ref(), "-o".as_ref(), options.as_ref()];
        let mounted =
            tool::run("mount", args.into_iter().chain([file.as_os_str(), dir.as_os_str()]));
        if let Err(error) = mounted {
            warden.dismiss().map_err(DiskError::file(&dir))?;
            return Err(error.into());
        }
        let device = Device::under(&dir)?;
        Ok(Self { dir, device, warden: Some(warden) })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether the path leads onto this file system.
    pub fn holds(&self, path: &Path) -> Result<bool, DiskError> {
        let metadata = std::fs::metadata(path).map_err(DiskError::file(path))?;
        Ok(metadata.dev() == self.device.number)
    }

    /// Unmounts. [`DiskError::Busy`] if programs still use it; it stays mounted then.
    pub fn unmount(&mut self) -> Result<(), DiskError> {
        if self.warden.is_some() {
            if let Err(error) = tool::run("umount", [&self.dir]) {
                return Err(self.device.busy(&self.dir).unwrap_or(error.into()));
            }
            if let Some(warden) = self.warden.take() {
                warden.dismiss().map_err(DiskError::file(&self.dir))?;
            }
        }
        Ok(())
    }

    /// After unmounting: waits until the kernel has let go of the loop device.
    pub fn wait_until_released(&self) -> Result<(), DiskError> {
        self.device.wait_until_released(&self.dir)
    }

    /// What the kernel does when the journal fails: the file system becomes read-only, though
    /// programs have files open for writing. Only a power loss brings it back.
    pub fn abort(&self) -> Result<(), DiskError> {
        let args = ["-o".as_ref(), "remount,abort".as_ref(), self.dir.as_os_str()];
        tool::run("mount", args)?;
        Ok(())
    }
}

/// Unmounting would hit what was there before, and hide it until then.
pub(super) fn refuse_mount_point(dir: &Path) -> Result<(), DiskError> {
    let number =
        |path: &Path| std::fs::metadata(path).map(|m| m.dev()).map_err(DiskError::file(path));
    let parent = dir.parent().unwrap_or(dir);
    if parent == dir || number(parent)? != number(dir)? {
        let source =
            std::io::Error::other("something is mounted here already: choose another folder");
        return Err(DiskError::File { path: dir.to_owned(), source });
    }
    Ok(())
}

impl Device {
    fn under(dir: &Path) -> Result<Self, DiskError> {
        let number = std::fs::metadata(dir).map_err(DiskError::file(dir))?.dev();
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        let link = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
        let target = std::fs::read_link(&link).map_err(DiskError::file(&link))?;
        let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = backing_file_of(&name);
        let backing_file = std::fs::read_to_string(&file).map_err(DiskError::file(&file))?;
        Ok(Self { name, number, backing_file })
    }

    fn wait_until_released(&self, dir: &Path) -> Result<(), DiskError> {
        let since = Instant::now();
        let file = backing_file_of(&self.name);
        // Gone, or taken by somebody else's file.
        while std::fs::read_to_string(&file).is_ok_and(|backing| backing == self.backing_file) {
            if since.elapsed() > RELEASE_WAIT_MAX {
                return Err(self.busy(dir).unwrap_or_else(|| DiskError::NotReleased {
                    device: Path::new("/dev").join(&self.name),
                    dir: dir.to_owned(),
                    waited_s: RELEASE_WAIT_MAX.as_secs(),
                }));
            }
            std::thread::sleep(RELEASE_POLL);
        }
        Ok(())
    }

    fn busy(&self, dir: &Path) -> Option<DiskError> {
        let holders = holders(self.number);
        (!holders.is_empty())
            .then(|| DiskError::Busy { dir: dir.to_owned(), holders: holders.join(", ") })
    }
}

fn backing_file_of(name: &str) -> PathBuf {
    format!("/sys/block/{name}/loop/backing_file").into()
}

/// Programs that have a file of the device open or work in it, the first few, as `name (process
/// id)`.
fn holders(device: u64) -> Vec<String> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    processes
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit()))
        .filter(|entry| uses(&entry.path(), device))
        .take(HOLDERS_NAMED_MAX)
        .map(|entry| {
            let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            format!("{} ({})", name.trim(), entry.file_name().to_string_lossy())
        })
        .collect()
}

fn uses(process: &Path, device: u64) -> bool {
    let on_device = |path: PathBuf| std::fs::metadata(path).is_ok_and(|m| m.dev() == device);
    let open = std::fs::read_dir(process.join("fd"));
    ["cwd", "root", "exe"].iter().any(|link| on_device(process.join(link)))
        || open.is_ok_and(|open| open.filter_map(Result::ok).any(|fd| on_device(fd.path())))
}
