//! Errors, delays and fullness as programs meet them.

use std::time::{Duration, Instant};

use tandem_lab::disk::faults::{Operation, Refusal, Which};
use tandem_lab::disk::image::Crash;
use tandem_lab::disk::{Answer, Order};

use crate::tool::{Bench, complaint};

// Goal: a sync that the device refuses is an I/O error to the program that asked, and ext4 goes
// read-only as installed.
#[test]
fn a_refused_sync_reaches_the_program() {
    let mut bench = Bench::new();
    bench.sh_ok("echo one >\"$1/log\"; sync \"$1/log\" \"$1\"");
    let (operation, which) = (Operation::Sync, Which::From(1));
    bench.order(Order::Fail { operation, which, refusal: Refusal::Io });
    let output = bench.sh("echo two >>\"$1/log\"; sync \"$1/log\"");
    assert!(!output.status.success());
    assert!(complaint(&output).contains("Input/output error"), "{output:?}");
    bench.order(Order::Heal);
    bench.power_loss(Crash::Clean);
    assert_eq!(bench.sh_ok("cat \"$1/log\""), "one\n");
    bench.end();
}

// Goal: only the sync that was named fails; the next one is good and keeps what it says.
#[test]
fn one_refused_sync_is_one() {
    let mut bench = Bench::new();
    bench.sh_ok("head -c 4096 /dev/zero >\"$1/data\"; sync \"$1/data\" \"$1\"");
    // An overwrite in place with O_DSYNC: one write and one flush of the device, no journal.
    let overwrite = "dd if=/dev/urandom of=\"$1/data\" bs=4096 count=1 oflag=direct,dsync conv=notrunc status=none";
    bench.sh_ok(overwrite);
    let (operation, which) = (Operation::Sync, Which::Nth(2));
    bench.order(Order::Fail { operation, which, refusal: Refusal::Io });
    let outcomes = [0; 3].map(|_| bench.sh(overwrite).status.success());
    assert_eq!(outcomes, [true, false, true]);
    assert_eq!(bench.status().failures, []);
    let sum = bench.sh_ok("md5sum <\"$1/data\"");
    bench.power_loss(Crash::Clean);
    assert_eq!(bench.sh_ok("md5sum <\"$1/data\""), sum);
    bench.end();
}

// Goal: refused writes of data reach the program, whose earlier data stays readable.
#[test]
fn a_refused_write_reaches_the_program() {
    let mut bench = Bench::new();
    bench.sh_ok("head -c 4096 /dev/zero | tr '\\0' a >\"$1/data\"; sync \"$1/data\" \"$1\"");
    let (operation, which) = (Operation::Write, Which::Nth(1));
    bench.order(Order::Fail { operation, which, refusal: Refusal::Io });
    let output =
        bench.sh("dd if=/dev/zero of=\"$1/data\" bs=4096 count=1 oflag=direct conv=notrunc");
    assert!(complaint(&output).contains("Input/output error"), "{output:?}");
    assert_eq!(bench.sh_ok("head -c 4 \"$1/data\""), "aaaa");
    bench.end();
}

// Goal: delayed syncs take at least their delay each, and the delay ends when it is taken back.
#[test]
fn a_slow_sync_is_slow() {
    let mut bench = Bench::new();
    bench.sh_ok("head -c 4096 /dev/zero >\"$1/data\"; sync \"$1/data\" \"$1\"");
    let overwrite = "for i in 1 2 3; do dd if=/dev/zero of=\"$1/data\" bs=4096 count=1 \
                     oflag=direct,dsync conv=notrunc status=none; done";
    let timed = |bench: &Bench| {
        let since = Instant::now();
        bench.sh_ok(overwrite);
        since.elapsed()
    };
    bench.order(Order::Delay { operation: Operation::Sync, delay_ms: 300 });
    let slow = timed(&bench);
    assert!(slow >= Duration::from_millis(900), "{slow:?}");
    bench.order(Order::Delay { operation: Operation::Sync, delay_ms: 0 });
    let fast = timed(&bench);
    assert!(fast < slow, "{fast:?} {slow:?}");
    bench.end();
}

// Goal: a full disk answers ENOSPC, and takes data again when there is room.
#[test]
fn a_full_disk_is_full_until_there_is_room() {
    let mut bench = Bench::new();
    let Answer::Filled { free_bytes } = bench.order(Order::Fill { leave_bytes: 0 }) else {
        panic!("fill answers how much is left");
    };
    assert!(free_bytes < 64 << 10, "{free_bytes}");
    let write = "head -c 200000 /dev/zero >\"$1/data\"";
    let output = bench.sh(write);
    assert!(complaint(&output).contains("No space left"), "{output:?}");
    bench.order(Order::MakeRoom);
    bench.sh_ok(write);
    let Answer::Filled { free_bytes } = bench.order(Order::Fill { leave_bytes: 1 << 20 }) else {
        panic!("fill answers how much is left");
    };
    assert!((960 << 10..1 << 21).contains(&free_bytes), "{free_bytes}");
    bench.end();
}

// Goal: a program that has a file open for writing meets a read-only file system; a power loss
// brings it back.
#[test]
fn read_only_under_an_open_file() {
    let mut bench = Bench::new();
    bench.sh_ok("echo one >\"$1/log\"; sync \"$1/log\" \"$1\"");
    let fifo = tempfile::tempdir().unwrap();
    let go = fifo.path().join("go");
    std::process::Command::new("mkfifo").arg(&go).status().unwrap();
    let writer = std::process::Command::new("sh")
        .args(["-c", "exec 3>>\"$1/log\"; read -r _ <\"$2\"; echo two >&3; sync \"$1/log\"", "sh"])
        .args([bench.dir(), go.as_path()])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Opening the pipe waits for the reader, which has its file open by then.
    let mut pipe = std::fs::OpenOptions::new().write(true).open(&go).unwrap();
    bench.order(Order::ReadOnly);
    std::io::Write::write_all(&mut pipe, b"go\n").unwrap();
    let output = writer.wait_with_output().unwrap();
    assert!(complaint(&output).contains("Read-only file system"), "{output:?}");
    assert!(complaint(&bench.sh("touch \"$1/new\"")).contains("Read-only file system"));
    bench.power_loss(Crash::Clean);
    bench.sh_ok("echo three >>\"$1/log\"; sync \"$1/log\"");
    assert_eq!(bench.sh_ok("cat \"$1/log\""), "one\nthree\n");
    bench.end();
}
