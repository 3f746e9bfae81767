//! Programs that die or fail at a chosen system call.

use std::process::Output;
use std::time::{Duration, Instant};

use tandem_lab::disk::image::Crash;
use tandem_lab::disk::{Disk, Settings};
use tandem_lab::machine::Invocation;
use tandem_lab::machine::crash_point::{Call, Effect, Injection, Injections, Run, When, sweep};

fn run(injections: &Injections, script: &str, folder: &std::path::Path) -> Output {
    let inner = Invocation::new(
        "sh",
        ["-c".into(), script.into(), "sh".into(), folder.as_os_str().to_owned()],
    );
    injections.wrap(inner).command().output().unwrap()
}

fn on_sync(effect: Effect, when: When) -> Injections {
    let faults = vec![Injection { call: Call::Sync, effect, when }];
    Injections { faults, files: Vec::new() }
}

// Goal: killed at its Nth write, a program leaves exactly the writes before that; every N is
// reached once.
#[test]
fn each_crash_point_leaves_its_exact_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    std::fs::write(folder.path().join("in"), "01234").unwrap();
    let script = "exec dd if=\"$1/in\" of=\"$1/log\" bs=1 status=none";
    let hits = sweep(20, |point| {
        std::fs::remove_file(&file).ok();
        let output = run(&Injections::kill_at_write(point, &file), script, folder.path());
        let left = std::fs::read_to_string(&file).unwrap();
        if output.status.success() {
            assert_eq!(left, "01234");
            return Ok::<_, ()>(Run::Finished);
        }
        assert_eq!(left, "01234"[..point as usize - 1], "killed at write {point}: {output:?}");
        Ok(Run::Hit)
    });
    assert_eq!(hits, Ok(5));
}

// Goal: the sync that was named fails with EIO, and those before and after it do not.
#[test]
fn a_named_sync_fails() {
    let folder = tempfile::tempdir().unwrap();
    let script = "cd \"$1\"; touch a b c; exec sync a b c";
    let output = run(&on_sync(Effect::InputOutputError, When::Nth(2)), script, folder.path());
    assert!(!output.status.success());
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains("'b'") && complaint.contains("Input/output error"), "{complaint}");
    assert!(!complaint.contains("'a'") && !complaint.contains("'c'"), "{complaint}");
    let clean = run(&on_sync(Effect::InputOutputError, When::Nth(4)), script, folder.path());
    assert!(clean.status.success(), "there is no fourth sync: {clean:?}");
}

// Goal: a delayed sync is made, at least its delay later.
#[test]
fn a_sync_is_delayed() {
    let folder = tempfile::tempdir().unwrap();
    let since = Instant::now();
    let delay = on_sync(Effect::Delay { delay_us: 200_000 }, When::From(1));
    let output = run(&delay, "cd \"$1\"; touch a b; exec sync a b", folder.path());
    assert!(output.status.success(), "{output:?}");
    assert!(since.elapsed() >= Duration::from_millis(400));
}

// Goal: a sync that is a lie is acknowledged, never reaches the disk, and costs the data at a power
// loss.
#[test]
fn a_lie_never_reaches_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_owned();
    let mut disk =
        Disk::start(Settings { bytes: 32 << 20, dir, commit_interval_s: 86_400 }).unwrap();
    let before = disk.status().counts.syncs;
    let script = "cd \"$1\"; echo acknowledged >log; exec sync log .";
    let output = run(&on_sync(Effect::Lie, When::From(1)), script, folder.path());
    assert!(output.status.success(), "{output:?}");
    assert_eq!(disk.status().counts.syncs, before);
    disk.power_loss(Crash::Clean).unwrap();
    let left = std::process::Command::new("ls").arg(folder.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "lost+found\n");
    disk.undo().unwrap();
}
