//! Clocks, processes, and their limits.
//!
//! Faults that begin with a program change how it is started: they `wrap` an [`Invocation`]. Faults
//! of a running program are guards: they end when dropped, and by `undo()`, which reports errors.
//!
//! - [`clock`]: a program that believes another time of day.
//! - [`crash_point`]: a program that dies, or meets an error, at its Nth system call of a kind.
//! - [`group`]: a share of the processor and an amount of memory (control groups, version 1).
//! - [`descriptors`]: how many files and sockets a running program may hold.
//! - [`pause`]: a program that is stopped for a while and does not know it.
//! - [`invocation`]: a program, its arguments and its environment, as a value.
//! - [`warden`]: undoes a fault when the process that made it dies, even by `SIGKILL`.
//! - [`tool`]: runs the system's own programs (`mount`, `mkfs.ext4`, ...) and keeps what they
//!   complain.

pub mod clock;
pub mod crash_point;
pub mod descriptors;
pub mod group;
pub mod invocation;
pub mod pause;
pub mod tool;
pub mod warden;

pub use invocation::Invocation;
