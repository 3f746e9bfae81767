//! Clocks, processes, and their limits.
//!
//! Faults that begin with a program change how it is started: they `wrap` an [`Invocation`]. Faults
//! of a running program are guards: they end when dropped, and by `undo()`, which reports errors.
//!
//! - [`invocation`]: a program, its arguments and its environment, as a value.
//! - [`warden`]: undoes a fault when the process that made it dies, even by `SIGKILL`.
//! - [`tool`]: runs the system's own programs (`mount`, `mkfs.ext4`, ...) and keeps what they complain.

pub mod invocation;
pub mod tool;
pub mod warden;

pub use invocation::Invocation;
