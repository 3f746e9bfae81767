//! A disk that obeys orders: an image, served and mounted.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::DiskError;
use super::extents;
use super::faults::{Failure, Operation, Power, Refusal, SyncPromise, Which};
use super::fuse::Served;
use super::image::{Counts, Crash, CrashReport, Image};
use super::limits::{BLOCK_BYTES, DISK_BYTES_MAX, DISK_BYTES_MIN};
use super::mount::{Mounted, make_ext4};
use crate::machine::tool;

/// What takes up the room of a full disk.
const BALLAST: &str = ".tandem-lab-ballast";

/// ext4's own default, in seconds.
pub const COMMIT_INTERVAL_S: u32 = 5;

/// How a disk is made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its size; ext4 and its journal take some of it. Only written blocks take memory.
    pub bytes: u64,
    /// An existing folder on which nothing is mounted.
    pub dir: PathBuf,
    /// How often ext4 syncs by itself what nobody synced. The field's value is
    /// [`COMMIT_INTERVAL_S`]; a large one makes sure that unsynced data is lost.
    pub commit_interval_s: u32,
}

/// An ext4 file system on a medium that fails on command.
///
/// It is served by threads of this process and ends with it, also by `SIGKILL`, whoever uses it
/// then. To let it outlive a test's process, or fail apart from it, serve it by `tandem-lab disk
/// run`.
///
/// Dropping it takes it away, also from under programs that still use it. [`Disk::undo`] refuses
/// then.
#[derive(Debug)]
pub struct Disk {
    // Before `served` in the order of dropping: what uses the file goes first.
    mounted: Option<Mounted>,
    served: Served,
    dir: PathBuf,
    commit_interval_s: u32,
}

/// Something for a disk to do; in this process by [`Disk::apply`], from others by
/// [`Client`](super::Client) or `tandem-lab disk ctl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, clap::Subcommand)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Say what is wrong with the disk and what was asked of it.
    Status,
    /// Do every operation of a kind later.
    Delay {
        /// Which kind.
        operation: Operation,
        /// How much later, at most 30 s; 0 ends it.
        delay_ms: u64,
    },
    /// Let acknowledged syncs count, or let them be lies.
    Promise {
        /// What a sync is worth from now on.
        promise: SyncPromise,
    },
    /// Refuse some of the coming operations.
    Fail {
        /// What fails.
        operation: Operation,
        /// `nth:N` for one of them or `from:N` for it and all after it; the next one is 1.
        which: Which,
        /// What the caller is told.
        #[arg(long, value_enum, default_value = "io")]
        refusal: Refusal,
    },
    /// End delays, failures and lies; the power stays as it is.
    Heal,
    /// Refuse everything from now on; programs meet I/O errors.
    CutPower,
    /// Lose power (if it is not cut already), then come back: all that was not synced is gone, the
    /// journal is replayed. The programs that used the disk must have ended.
    PowerLoss {
        /// What is left of unsynced blocks: `clean`, `torn-last:SEED` or `some-blocks:SEED`.
        #[arg(long, default_value = "clean")]
        leaves: Crash,
    },
    /// Change bits of one byte of the device.
    FlipDevice {
        /// Which byte.
        offset: u64,
        /// Which bits of it.
        #[arg(long, default_value_t = 1)]
        mask: u8,
    },
    /// Change bits of one byte of a file, behind the back of the file system.
    FlipFile {
        /// The file; a relative path begins at the disk's folder.
        path: PathBuf,
        /// Which byte of it; it must have been written. The file is synced first.
        offset: u64,
        /// Which bits of it.
        #[arg(long, default_value_t = 1)]
        mask: u8,
    },
    /// Fill the disk: programs meet `ENOSPC`.
    Fill {
        /// Bytes that stay free, about.
        #[arg(long, default_value_t = 0)]
        leave_bytes: u64,
    },
    /// Take back what `fill` took.
    MakeRoom,
    /// Make the file system read-only at once, as after an error of its journal. Ended by a power
    /// loss.
    ReadOnly,
    /// End the program that serves the disk. Refused while other programs use it.
    Stop,
}

/// What came of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It is so.
    Done,
    /// The state of the disk.
    Status(Status),
    /// What the power loss left.
    PowerLost(CrashReport),
    /// The byte of the device that was changed.
    Flipped {
        /// Its offset.
        device_offset: u64,
    },
    /// The disk is full.
    Filled {
        /// Bytes still free.
        free_bytes: u64,
    },
}

/// The state of a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Size of the device.
    pub bytes: u64,
    /// Where it is mounted.
    pub dir: PathBuf,
    /// False between a power loss that could not be completed and the next try.
    pub is_mounted: bool,
    /// Whether it has power.
    pub power: Power,
    /// What its syncs are worth.
    pub promise: SyncPromise,
    /// Failures to come.
    pub failures: Vec<Failure>,
    /// Operations since it was made.
    pub counts: Counts,
    /// Blocks that a power loss would take now.
    pub pending_blocks: u64,
}

impl Disk {
    /// Makes the device, an empty ext4 on it, and mounts it. Needs root.
    pub fn start(settings: Settings) -> Result<Self, DiskError> {
        let Settings { bytes, dir, commit_interval_s } = settings;
        if !(DISK_BYTES_MIN..=DISK_BYTES_MAX).contains(&bytes) {
            return Err(DiskError::Size(bytes));
        }
        let served = Served::start(Image::new(bytes))?;
        make_ext4(&served.path())?;
        let mounted = Mounted::ext4(&served.path(), &dir, commit_interval_s)?;
        Ok(Self { mounted: Some(mounted), served, dir, commit_interval_s })
    }

    /// Where programs find it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Carries out an order.
    pub fn apply(&mut self, order: Order) -> Result<Answer, DiskError> {
        match order {
            Order::Status => return Ok(Answer::Status(self.status())),
            Order::Delay { operation, delay_ms } => {
                self.image().faults.set_delay(operation, Duration::from_millis(delay_ms));
            }
            Order::Promise { promise } => self.image().faults.sync_promise = promise,
            Order::Fail { operation, which, refusal } => {
                self.image().faults.arm(Failure { operation, which, refusal })?;
            }
            Order::Heal => self.image().faults.heal(),
            Order::CutPower => self.image().faults.power = Power::Cut,
            Order::PowerLoss { leaves } => return Ok(Answer::PowerLost(self.power_loss(leaves)?)),
            Order::FlipDevice { offset, mask } => return self.flip_device(offset, mask),
            Order::FlipFile { path, offset, mask } => return self.flip_file(&path, offset, mask),
            Order::Fill { leave_bytes } => return self.fill(leave_bytes),
            Order::MakeRoom => self.make_room()?,
            Order::ReadOnly => self.mounted()?.abort()?,
            Order::Stop => self.undo()?,
        }
        Ok(Answer::Done)
    }

    /// What is wrong with the disk, and what was asked of it.
    pub fn status(&self) -> Status {
        let image = self.image();
        Status {
            bytes: image.bytes(),
            dir: self.dir.clone(),
            is_mounted: self.mounted.is_some(),
            power: image.faults.power,
            promise: image.faults.sync_promise,
            failures: image.faults.armed().collect(),
            counts: image.counts(),
            pending_blocks: image.pending_blocks(),
        }
    }

    /// See [`Order::PowerLoss`]. After [`DiskError::Busy`] the power is cut and the order can be
    /// given again.
    pub fn power_loss(&mut self, leaves: Crash) -> Result<CrashReport, DiskError> {
        self.image().faults.power = Power::Cut;
        if let Some(mounted) = &mut self.mounted {
            mounted.unmount()?;
            self.mounted = None;
        }
        // A copy of the mount in another namespace may go on to live with its cached blocks. It
        // keeps the old file; the disk comes back behind a new one.
        self.served = self.served.again()?;
        let report = self.image().crash(leaves);
        self.image().faults.power = Power::On;
        let mounted = Mounted::ext4(&self.served.path(), &self.dir, self.commit_interval_s)?;
        self.mounted = Some(mounted);
        Ok(report)
    }

    /// Takes the disk away, for good. Refused, and the disk kept, while programs use it. Fails with
    /// [`DiskError::NotReleased`] when it is unmounted here and a copy of the mount lives on in
    /// another namespace; nothing can be written through that one any more once this is dropped.
    pub fn undo(&mut self) -> Result<(), DiskError> {
        if let Some(mounted) = &mut self.mounted {
            mounted.unmount()?;
            mounted.wait_until_released()?;
            self.mounted = None;
        }
        Ok(())
    }

    fn image(&self) -> std::sync::MutexGuard<'_, Image> {
        self.served.image()
    }

    fn mounted(&self) -> Result<&Mounted, DiskError> {
        self.mounted.as_ref().ok_or(DiskError::NotMounted)
    }

    fn flip_device(&self, offset: u64, mask: u8) -> Result<Answer, DiskError> {
        if mask == 0 {
            return Err(DiskError::EmptyMask);
        }
        self.image().flip(offset, mask)?;
        Ok(Answer::Flipped { device_offset: offset })
    }

    fn flip_file(&self, path: &Path, offset: u64, mask: u8) -> Result<Answer, DiskError> {
        let mounted = self.mounted()?;
        let path = mounted.dir().join(path);
        if !mounted.holds(&path)? {
            let why = "the file is not on this disk";
            return Err(DiskError::NotOnMedium { path, offset, why });
        }
        let device_offset = extents::device_offset(&path, offset)?;
        let answer = self.flip_device(device_offset, mask)?;
        extents::drop_cached(&path)?;
        Ok(answer)
    }

    /// The last blocks may be needed to describe the others, so it tries with a few less.
    fn fill(&self, leave_bytes: u64) -> Result<Answer, DiskError> {
        self.make_room()?;
        let dir = self.mounted()?.dir();
        let ballast = dir.join(BALLAST);
        let block_bytes = BLOCK_BYTES as u64;
        let mut bytes = free_bytes(dir)?.saturating_sub(leave_bytes) / block_bytes * block_bytes;
        let tries = 16;
        for attempt in 1..=tries {
            if bytes == 0 {
                break;
            }
            let length = bytes.to_string();
            let args = ["-l".as_ref(), length.as_ref(), ballast.as_os_str()];
            match tool::run("fallocate", args) {
                Ok(_) => break,
                Err(error) if attempt == tries => return Err(error.into()),
                Err(_) => bytes = bytes.saturating_sub(block_bytes),
            }
        }
        Ok(Answer::Filled { free_bytes: free_bytes(dir)? })
    }

    fn make_room(&self) -> Result<(), DiskError> {
        let ballast = self.mounted()?.dir().join(BALLAST);
        tool::run("rm", ["-f".as_ref(), ballast.as_os_str()])?;
        Ok(())
    }
}

impl Drop for Disk {
    /// A disk that is taken away has no power any more: what still uses it meets errors, not waits.
    fn drop(&mut self) {
        self.image().faults.heal();
        if self.mounted.is_some() {
            self.image().faults.power = Power::Cut;
        }
    }
}

fn free_bytes(dir: &Path) -> Result<u64, DiskError> {
    let space = rustix::fs::statvfs(dir).map_err(|errno| DiskError::file(dir)(errno.into()))?;
    Ok(space.f_bavail * space.f_frsize)
}

/// `name` or `name:number`, as orders on the command line give it.
fn split(text: &str) -> Result<(&str, Option<u64>), String> {
    let Some((name, number)) = text.split_once(':') else { return Ok((text, None)) };
    let number = number.parse().map_err(|_| format!("{number:?} is not a number"))?;
    Ok((name, Some(number)))
}

impl std::str::FromStr for Crash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match split(text)? {
            ("clean", None) => Ok(Self::Clean),
            ("torn-last", Some(seed)) => Ok(Self::TornLast { seed }),
            ("some-blocks", Some(seed)) => Ok(Self::SomeBlocks { seed }),
            _ => Err("write clean, torn-last:SEED or some-blocks:SEED".to_owned()),
        }
    }
}

impl std::str::FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match split(text)? {
            ("nth", Some(n)) if n > 0 => Ok(Self::Nth(n)),
            ("from", Some(n)) if n > 0 => Ok(Self::From(n)),
            _ => Err("write nth:N or from:N, with N from 1".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: what the command line accepts means what it says, and the rest is refused.
    #[test]
    fn words_of_the_command_line() {
        assert_eq!("clean".parse(), Ok(Crash::Clean));
        assert_eq!("torn-last:7".parse(), Ok(Crash::TornLast { seed: 7 }));
        assert_eq!("some-blocks:0".parse(), Ok(Crash::SomeBlocks { seed: 0 }));
        for wrong in ["", "clean:1", "torn-last", "torn-last:", "torn-last:x", "other:1"] {
            assert!(wrong.parse::<Crash>().is_err(), "{wrong:?}");
        }
        assert_eq!("nth:1".parse(), Ok(Which::Nth(1)));
        assert_eq!("from:12".parse(), Ok(Which::From(12)));
        for wrong in ["", "nth", "nth:0", "from:0", "nth:-1", "to:1"] {
            assert!(wrong.parse::<Which>().is_err(), "{wrong:?}");
        }
    }
}
