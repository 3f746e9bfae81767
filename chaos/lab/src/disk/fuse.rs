//! Serves an image as one file of fixed size, with its delays.
//!
//! The FUSE file system is mounted nowhere: only a descriptor of this process holds it, so it ends
//! with this process. Others reach the file through [`Served::path`].

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyWrite, Request, Session, SessionACL, TimeOrNow, WriteFlags,
};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::error::DiskError;
use super::faults::{Operation, Refusal};
use super::image::Image;
use super::limits::{BLOCK_BYTES, SERVER_THREADS};

const FILE_INODE: INodeNo = INodeNo(2);

/// Nothing but we changes the attributes, and the size is fixed.
const ATTRIBUTES_VALID: Duration = Duration::from_secs(3600);

/// Numbers the files of one process.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// An image that programs can use as a file. When this is dropped and the file's last user has gone,
/// the threads that serve it end by themselves.
#[derive(Debug)]
pub struct Served {
    name: String,
    image: Arc<Mutex<Image>>,
    file: OwnedFd,
    _mount: OwnedFd,
    _session: BackgroundSession,
}

impl Served {
    /// Begins to serve. Needs root and `/dev/fuse`.
    pub fn start(image: Image) -> Result<Self, DiskError> {
        let image = Arc::new(Mutex::new(image));
        let (device, mount) = mount_nowhere().map_err(serve_error("mount"))?;
        let mut config = Config::default();
        config.n_threads = Some(SERVER_THREADS);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tandem-lab-{}-{number}", std::process::id());
        let server = Server { name: name.clone(), image: image.clone() };
        let session = Session::from_fd(server, device, SessionACL::Owner, config)
            .and_then(Session::spawn)
            .map_err(serve_error("handshake"))?;
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&mount, name.as_str(), flags, Mode::empty())
            .map_err(|errno| serve_error("open")(errno.into()))?;
        Ok(Self { name, image, file, _mount: mount, _session: session })
    }

    /// The device, to look at and to break. Hold it only for a moment: every operation waits.
    pub fn image(&self) -> MutexGuard<'_, Image> {
        lock(&self.image)
    }

    /// The file's name, which `losetup --list` shows: `tandem-lab-<process>-<number>`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file as other programs reach it while this process lives.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()).into()
    }
}

fn serve_error(step: &'static str) -> impl FnOnce(std::io::Error) -> DiskError {
    move |source| DiskError::Serve { step, source }
}

/// A FUSE file system that no folder shows: the device to serve it by, and the mount itself.
fn mount_nowhere() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let device = rustix::fs::open("/dev/fuse", flags, Mode::empty())?;
    let context = rustix::mount::fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let options = [
        ("source", "tandem-lab".to_owned()),
        ("fd", device.as_raw_fd().to_string()),
        ("rootmode", "40000".to_owned()),
        ("user_id", rustix::process::getuid().as_raw().to_string()),
        ("group_id", rustix::process::getgid().as_raw().to_string()),
    ];
    for (key, value) in options {
        rustix::mount::fsconfig_set_string(&context, key, value)?;
    }
    rustix::mount::fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
    let mount = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    Ok((device, mount))
}

/// A panic while the image was held would be a bug of the image; its blocks are whole all the same.
fn lock(image: &Mutex<Image>) -> MutexGuard<'_, Image> {
    image.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Server {
    name: String,
    image: Arc<Mutex<Image>>,
}

impl Server {
    /// Waits as long as the operation is to be late, then does it: a power cut in between counts.
    fn perform<T>(
        &self,
        operation: Operation,
        act: impl FnOnce(&mut Image) -> Result<T, Refusal>,
    ) -> Result<T, Errno> {
        let delay = lock(&self.image).faults.delay(operation);
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
        act(&mut lock(&self.image)).map_err(|refusal| match refusal {
            Refusal::Io => Errno::EIO,
            Refusal::NoSpace => Errno::ENOSPC,
        })
    }

    fn attributes(&self, inode: INodeNo) -> Option<FileAttr> {
        let (size, kind, perm, nlink) = match inode {
            INodeNo::ROOT => (0, FileType::Directory, 0o500, 2),
            FILE_INODE => (lock(&self.image).bytes(), FileType::RegularFile, 0o600, 1),
            _ => return None,
        };
        Some(FileAttr {
            ino: inode,
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: BLOCK_BYTES as u32,
            flags: 0,
        })
    }
}

impl Filesystem for Server {
    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.attributes(FILE_INODE) {
            Some(attributes) if parent == INodeNo::ROOT && *name == *self.name => {
                reply.entry(&ATTRIBUTES_VALID, &attributes, Generation(0));
            }
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(ino) {
            Some(attributes) => reply.attr(&ATTRIBUTES_VALID, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    /// Times and modes are accepted and forgotten; the size is fixed.
    fn setattr(
        &self,
        _req: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        match self.attributes(ino) {
            Some(attributes) if size.is_none_or(|size| size == attributes.size) => {
                reply.attr(&ATTRIBUTES_VALID, &attributes);
            }
            Some(_) => reply.error(Errno::EPERM),
            None => reply.error(Errno::ENOENT),
        }
    }

    /// Without the kernel's page cache in between: what a crash or a flip changes is seen at once. And
    /// without a word at closing: this process has the file open too, and when it is killed its last
    /// thread would wait for the answer of threads that died before it.
    fn open(&self, _req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_NOFLUSH);
    }

    fn read(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.perform(Operation::Read, |image| image.read(offset, size as usize)) {
            Ok(bytes) => reply.data(&bytes),
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.perform(Operation::Write, |image| image.write(offset, data)) {
            Ok(()) => reply.written(data.len() as u32),
            Err(errno) => reply.error(errno),
        }
    }

    fn fsync(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        match self.perform(Operation::Sync, Image::sync) {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }
}
