//! A small disk in memory: it fills up and can be made read-only, and needs no FUSE.

use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags};

use super::error::DiskError;
use super::mount::{UNMOUNT, refuse_mount_point};
use crate::machine::warden::Warden;

/// A tmpfs at a folder. It loses everything when it ends, and ends with this process.
#[derive(Debug)]
pub struct SmallDisk {
    dir: PathBuf,
    bytes: u64,
    warden: Warden,
}

/// Whether programs may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// They may.
    Writable,
    /// Writes are refused with `EROFS`.
    ReadOnly,
}

impl SmallDisk {
    /// Mounts one that holds `bytes` (whole pages) at an existing folder.
    pub fn start(bytes: u64, dir: &Path) -> Result<Self, DiskError> {
        let dir = dir.canonicalize().map_err(DiskError::file(dir))?;
        refuse_mount_point(&dir)?;
        let warden = Warden::start(UNMOUNT, [&dir])?;
        let options = std::ffi::CString::new(format!("size={bytes},mode=700"))
            .map_err(|_| DiskError::Size(bytes))?;
        let flags = MountFlags::NODEV | MountFlags::NOSUID;
        if let Err(errno) = rustix::mount::mount("tmpfs", &dir, "tmpfs", flags, options.as_c_str())
        {
            warden.dismiss().map_err(DiskError::file(&dir))?;
            return Err(DiskError::file(dir)(errno.into()));
        }
        Ok(Self { dir, bytes, warden })
    }

    /// Where programs find it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes it larger or smaller; not smaller than what it holds.
    pub fn resize(&mut self, bytes: u64) -> Result<(), DiskError> {
        self.remount(bytes, Access::Writable)?;
        self.bytes = bytes;
        Ok(())
    }

    /// Changes what programs may do. Refused with `EBUSY` while one has a file open for writing;
    /// for read-only under a running program see [`super::Order::ReadOnly`].
    pub fn set_access(&self, access: Access) -> Result<(), DiskError> {
        self.remount(self.bytes, access)
    }

    /// Takes it away; refused while programs use it, and then taken away when they end.
    pub fn undo(self) -> Result<(), DiskError> {
        rustix::mount::unmount(&self.dir, UnmountFlags::empty())
            .map_err(|errno| DiskError::file(&self.dir)(errno.into()))?;
        self.warden.dismiss().map_err(DiskError::file(&self.dir))
    }

    fn remount(&self, bytes: u64, access: Access) -> Result<(), DiskError> {
        let mut flags = MountFlags::NODEV | MountFlags::NOSUID;
        if access == Access::ReadOnly {
            flags |= MountFlags::RDONLY;
        }
        let options = format!("size={bytes}");
        rustix::mount::mount_remount(&self.dir, flags, options.as_str())
            .map_err(|errno| DiskError::file(&self.dir)(errno.into()))
    }
}
