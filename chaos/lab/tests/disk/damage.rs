//! Bits that change on the medium.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use tandem_lab::disk::{Answer, DiskError, Order};

use crate::tool::Bench;

// Goal: a program that has the file open reads the flipped byte, and only that byte differs.
#[test]
fn a_running_program_reads_the_flipped_byte() {
    let mut bench = Bench::new();
    bench.sh_ok("head -c 5000 /dev/zero | tr '\\0' a >\"$1/wal\"; sync \"$1/wal\"");
    let script = "exec 3<\"$1/wal\"; while read -r _; do tail -c 5000 \"$1/wal\"; echo; done";
    let mut reader = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(bench.dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut ask, mut answers) =
        (reader.stdin.take().unwrap(), BufReader::new(reader.stdout.take().unwrap()).lines());
    let mut read = || {
        ask.write_all(b"again\n").unwrap();
        answers.next().unwrap().unwrap()
    };
    assert_eq!(read(), "a".repeat(5000));
    let flip = Order::FlipFile { path: "wal".into(), offset: 4100, mask: b'a' ^ b'b' };
    assert!(matches!(bench.order(flip), Answer::Flipped { .. }));
    let expected = format!("{}b{}", "a".repeat(4100), "a".repeat(899));
    assert_eq!(read(), expected);
    drop(ask);
    reader.wait().unwrap();
    bench.end();
}

// Goal: a byte without a place on the medium, or on another disk, is refused and nothing is
// flipped.
#[test]
fn a_byte_without_a_place_is_refused() {
    let mut bench = Bench::new();
    bench.sh_ok(
        "cd \"$1\"; echo short >short; truncate -s 8192 hole; fallocate -l 8192 reserved; ln -s /etc/hostname other",
    );
    let rows = [
        ("short", 6, "past the end"),
        ("hole", 5000, "hole"),
        ("reserved", 0, "reserved"),
        ("other", 0, "not on this disk"),
        ("/etc/hostname", 0, "not on this disk"),
    ];
    for (path, offset, expected) in rows {
        let error = bench.disk().apply(Order::FlipFile { path: path.into(), offset, mask: 1 });
        let error = error.unwrap_err().to_string();
        assert!(error.contains(expected), "{path}: {error}");
    }
    let nothing = bench.disk().apply(Order::FlipFile { path: "short".into(), offset: 0, mask: 0 });
    assert!(matches!(nothing, Err(DiskError::EmptyMask)));
    let past = bench.disk().apply(Order::FlipDevice { offset: 32 << 20, mask: 1 });
    assert!(matches!(past, Err(DiskError::PastEnd(_))));
    assert_eq!(bench.sh_ok("cat \"$1/short\""), "short\n");
    bench.end();
}
