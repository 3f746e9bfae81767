//! Disks that lose power, lie, tear, rot, fail, dawdle and fill up, under a real ext4. Needs root,
//! /dev/fuse, loop devices, and the Debian packages e2fsprogs and mount.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends at the first thing that goes wrong"
)]

mod damage;
mod left_behind;
mod power;
mod refusals;
mod small;
mod tool;
