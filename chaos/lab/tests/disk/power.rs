//! What a power cut leaves.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use tandem_lab::disk::faults::{Power, SyncPromise};
use tandem_lab::disk::image::Crash;
use tandem_lab::disk::{DiskError, Order};

use crate::tool::Bench;

const LINES: &str =
    "for i in 1 2 3 4 5 6 7 8 9 10; do echo line $i >>\"$1/log\"; sync \"$1/log\"; done";

fn lines(to: usize) -> String {
    (1..=to).map(|i| format!("line {i}\n")).collect()
}

// Goal: a power cut keeps every line that was synced, and takes the file and the line that were
// not.
#[test]
fn synced_lines_survive_and_unsynced_ones_do_not() {
    let mut bench = Bench::new();
    bench.sh_ok(LINES);
    bench.sh_ok("echo line 11 >>\"$1/log\"; echo x >\"$1/unsynced\"");
    assert_eq!(bench.sh_ok("cat \"$1/log\""), lines(11), "the line was there before the cut");
    bench.power_loss(Crash::Clean);
    assert_eq!(bench.sh_ok("cat \"$1/log\""), lines(10));
    assert_eq!(bench.sh_ok("ls \"$1\" | grep -v lost+found"), "log\n");
    bench.end();
}

// Goal: what the file system wrote to a device that was never told to sync is lost, though it was
// written.
#[test]
fn a_written_block_is_not_a_synced_one() {
    let mut bench = Bench::new();
    let before = bench.status();
    // Writes the pages out and waits for them, without a flush of the device.
    bench.sh_ok("dd if=/dev/zero of=\"$1/data\" bs=4096 count=64 oflag=direct status=none");
    let after = bench.status();
    assert!(after.pending_blocks >= before.pending_blocks + 64, "{before:?} {after:?}");
    assert_eq!(after.counts.syncs, before.counts.syncs, "nobody asked for a sync");
    assert!(bench.power_loss(Crash::Clean).blocks_lost >= 64);
    bench.end();
}

// Goal: each fsync of a program reaches the device as at least one sync of its own.
#[test]
fn a_guests_fsync_is_a_sync_of_the_device() {
    let mut bench = Bench::new();
    let before = bench.status().counts;
    bench.sh_ok(LINES);
    let after = bench.status().counts;
    assert!(after.syncs >= before.syncs + 10, "{before:?} {after:?}");
    bench.end();
}

// Goal: a disk that lies about syncs loses acknowledged lines, and an honest one in between does
// not.
#[test]
fn a_lying_disk_loses_acknowledged_lines() {
    let mut bench = Bench::new();
    bench.sh_ok("echo honest >\"$1/log\"; sync \"$1/log\" \"$1\"");
    bench.order(Order::Promise { promise: SyncPromise::Lied });
    bench.sh_ok("echo lied >>\"$1/log\"; sync \"$1/log\"");
    assert!(bench.status().counts.lies > 0);
    bench.power_loss(Crash::Clean);
    assert_eq!(bench.sh_ok("cat \"$1/log\""), "honest\n");
    bench.order(Order::Heal);
    bench.sh_ok("echo honest again >>\"$1/log\"; sync \"$1/log\"");
    bench.power_loss(Crash::Clean);
    assert_eq!(bench.sh_ok("cat \"$1/log\""), "honest\nhonest again\n");
    bench.end();
}

// Goal: a torn write leaves a file's block new at its beginning and old at its end, at the byte the
// report names.
#[test]
fn a_torn_block_is_new_then_old() {
    let mut bench = Bench::new();
    bench.sh_ok("head -c 4096 /dev/zero | tr '\\0' o >\"$1/block\"; sync \"$1/block\" \"$1\"");
    // In place and past the page cache, so that it is the last block written.
    bench.sh_ok(
        "head -c 4096 /dev/zero | tr '\\0' n | \
         dd of=\"$1/block\" bs=4096 count=1 iflag=fullblock oflag=direct conv=notrunc status=none",
    );
    let report = bench.power_loss(Crash::TornLast { seed: 5 });
    let torn = report.torn.expect("a block was pending");
    let left = bench.sh_ok("cat \"$1/block\"");
    let (new, old) = left.split_at(torn.bytes_new);
    assert!(new.bytes().all(|b| b == b'n') && old.bytes().all(|b| b == b'o'), "{left}");
    assert!(!old.is_empty(), "a torn block is not a whole one");
    bench.end();
}

// Goal: a cut disk answers with errors, is not taken from under a program, and comes back when that
// has ended.
#[test]
fn power_comes_back_when_the_programs_have_ended() {
    let mut bench = Bench::new();
    bench.sh_ok("echo kept >\"$1/file\"; sync \"$1/file\" \"$1\"");
    let mut user = std::process::Command::new("sleep");
    let mut user = user.arg("60").current_dir(bench.dir()).spawn().unwrap();
    bench.order(Order::CutPower);
    let output = bench.sh("echo more >\"$1/more\" && sync \"$1/more\"");
    assert!(!output.status.success(), "{output:?}");
    let error = bench.disk().power_loss(Crash::Clean).unwrap_err();
    assert!(
        matches!(&error, DiskError::Busy { holders, .. } if holders.contains("sleep")),
        "{error}"
    );
    assert_eq!(bench.status().power, Power::Cut);
    user.kill().unwrap();
    user.wait().unwrap();
    bench.power_loss(Crash::Clean);
    assert_eq!(bench.sh_ok("cat \"$1/file\""), "kept\n");
    bench.end();
}

// Goal: a copy of the mount in another namespace neither stops a power loss nor sees or changes
// what comes after it.
#[test]
fn a_copy_of_the_mount_does_not_hold_the_disk() {
    let mut bench = Bench::new();
    bench.sh_ok("echo kept >\"$1/file\"; sync \"$1/file\" \"$1\"; echo lost >\"$1/unsynced\"");
    let script = "echo ready; read -r _; echo copy >\"$1/copy\"; sync \"$1/copy\"; echo synced $?";
    let mut copy = std::process::Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
        .arg(bench.dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(copy.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    bench.power_loss(Crash::Clean);
    let before = bench.status().counts;
    copy.stdin.take().unwrap().write_all(b"go\n").unwrap();
    assert_ne!(lines.next().unwrap().unwrap(), "synced 0");
    assert_eq!(bench.status().counts.writes, before.writes, "nothing reached the disk");
    assert_eq!(bench.sh_ok("ls \"$1\""), "file\nlost+found\n");
    copy.wait().unwrap();
    bench.end();
}
