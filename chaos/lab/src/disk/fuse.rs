//! Serves an image as one file of fixed size, with its delays.
//!
//! The FUSE file system is mounted nowhere: only this process holds it, so it ends with this
//! process. Others reach the file through [`Served::path`].
//!
//! The kernel ends the service when the last descriptor of `/dev/fuse` closes. Threads that share
//! their descriptors keep them open until the last thread is gone, and a thread that waits for this
//! very disk would wait for ever. So the serving threads have a table of descriptors of their own,
//! and `/dev/fuse` is open in no other: a killed process closes it though other threads wait.
//!
//! For the same reason they have mounts of their own, none but an empty one. The last to leave a
//! namespace takes its file systems down, which syncs them; a serving thread would do that before
//! it closes `/dev/fuse` and wait for itself.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyWrite, Request, Session, SessionACL, TimeOrNow, WriteFlags,
};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, UnmountFlags,
};

use super::error::DiskError;
use super::faults::{Operation, Refusal};
use super::image::Image;
use super::limits::{BLOCK_BYTES, SERVER_THREADS};

const FILE_INODE: INodeNo = INodeNo(2);

/// Nothing but we changes the attributes, and the size is fixed.
const ATTRIBUTES_VALID: Duration = Duration::from_secs(3600);

/// Numbers the files of one process.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// An image that programs can use as a file. When this is dropped and the file's last user has
/// gone, the threads that serve it end by themselves.
#[derive(Debug)]
pub struct Served {
    name: String,
    image: Arc<Mutex<Image>>,
    unplugged: Arc<AtomicBool>,
    file: OwnedFd,
}

impl Served {
    /// Begins to serve. Needs root and `/dev/fuse`.
    pub fn start(image: Image) -> Result<Self, DiskError> {
        Self::serve(Arc::new(Mutex::new(image)))
    }

    /// The same image in another file, as if in another machine: whoever still has this file open
    /// finds nothing behind it any more when this is dropped.
    pub fn again(&self) -> Result<Self, DiskError> {
        Self::serve(self.image.clone())
    }

    fn serve(image: Arc<Mutex<Image>>) -> Result<Self, DiskError> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tandem-lab-{}-{number}", std::process::id());
        let unplugged = Arc::new(AtomicBool::new(false));
        let server =
            Server { name: name.clone(), image: image.clone(), unplugged: unplugged.clone() };
        let (tell, told) = mpsc::channel();
        let (opened, wait_until_opened) = mpsc::channel::<()>();
        let serving =
            std::thread::spawn(move || serve_until_open(server, &tell, &wait_until_opened));
        let file = told.recv().map(|folder| open_file(&folder, &name));
        drop(opened);
        join(serving)?;
        let silent = |_| serve_error("start")(std::io::Error::other("the serving thread is gone"));
        let file = file.map_err(silent)??;
        Ok(Self { name, image, unplugged, file })
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

impl Drop for Served {
    /// Under the lock, so that no operation is half done.
    fn drop(&mut self) {
        let _image = lock(&self.image);
        self.unplugged.store(true, Ordering::Relaxed);
    }
}

fn serve_error(step: &'static str) -> impl FnOnce(std::io::Error) -> DiskError {
    move |source| DiskError::Serve { step, source }
}

fn join(serving: JoinHandle<Result<(), DiskError>>) -> Result<(), DiskError> {
    let panicked = |_| serve_error("start")(std::io::Error::other("the serving thread panicked"));
    serving.join().map_err(panicked)?
}

/// Opens the image's file by the descriptor of another thread's table.
fn open_file(folder: &str, name: &str) -> Result<OwnedFd, DiskError> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::open(format!("{folder}/{name}"), flags, Mode::empty())
        .map_err(|errno| serve_error("open")(errno.into()))
}

/// Begins to serve and tells in which folder the file is. Holds the folder until the other side
/// hangs up: from then on the open file alone keeps the service alive.
fn serve_until_open(
    server: Server,
    tell: &mpsc::Sender<String>,
    opened: &mpsc::Receiver<()>,
) -> Result<(), DiskError> {
    let (_session, mount) = serve_apart(server)?;
    let thread = rustix::thread::gettid().as_raw_nonzero();
    let folder = format!("/proc/self/task/{thread}/fd/{}", mount.as_raw_fd());
    if tell.send(folder).is_ok() {
        opened.iter().for_each(drop);
    }
    Ok(())
}

/// Leaves the process's table of descriptors and begins to serve. The threads of the session are
/// started by this one and share its table, which lives as long as they do.
fn serve_apart(server: Server) -> Result<(BackgroundSession, OwnedFd), DiskError> {
    leave_descriptors().map_err(|errno| serve_error("unshare")(errno.into()))?;
    let (device, mount) = mount_nowhere().map_err(serve_error("mount"))?;
    leave_mounts().map_err(serve_error("leave the mounts"))?;
    let mut config = Config::default();
    config.n_threads = Some(SERVER_THREADS);
    let session = Session::from_fd(server, device, SessionACL::Owner, config)
        .and_then(Session::spawn)
        .map_err(serve_error("handshake"))?;
    Ok((session, mount))
}

/// Gives this thread a table of its own, with only inputs and outputs in it: a copy of a socket or
/// a pipe left there would keep it open when its owner closes it.
fn leave_descriptors() -> nix::Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_FILES)?;
    let open: Vec<i32> = std::fs::read_dir("/proc/thread-self/fd")
        .map_err(|error| nix::errno::Errno::try_from(error).unwrap_or(nix::errno::Errno::EIO))?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    // The listing's own descriptor is closed already: that one is not there any more.
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        match nix::unistd::close(descriptor) {
            Ok(()) | Err(nix::errno::Errno::EBADF) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Gives this thread a mount namespace of its own that holds nothing but an empty file system: what
/// is mounted elsewhere, now or later, does not live on in it. From now on this thread finds no
/// file by its path.
fn leave_mounts() -> std::io::Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private)?;
    // Any folder serves: nobody else sees this namespace.
    rustix::mount::mount("tandem-lab", "/proc", "tmpfs", MountFlags::NOSUID, c"size=4k,mode=500")?;
    rustix::process::chdir("/proc")?;
    // The old root lies on the new one then, from where it is taken off (man 2 pivot_root).
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    Ok(())
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
    unplugged: Arc<AtomicBool>,
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
        let mut image = lock(&self.image);
        if self.unplugged.load(Ordering::Relaxed) {
            return Err(Errno::EIO);
        }
        act(&mut image).map_err(|refusal| match refusal {
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

    /// Without the kernel's page cache in between: what a crash or a flip changes is seen at once.
    /// And without a word at closing, which nobody needs.
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
