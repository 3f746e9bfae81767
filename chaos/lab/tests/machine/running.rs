//! Faults of a program that runs already.

use tandem_lab::machine::descriptors::DescriptorLimit;
use tandem_lab::machine::group::{Group, Limits};
use tandem_lab::machine::pause::Pause;

use crate::puppet::Puppet;

fn state(puppet: &Puppet) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", puppet.pid().as_raw_nonzero()));
    stat.unwrap().rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

// Goal: at its limit a running program gets no further descriptor, one below it gets one, and
// undone it gets more.
#[test]
fn a_descriptor_limit_refuses_the_next_one() {
    let mut puppet = Puppet::start(Puppet::invocation());
    assert_eq!(puppet.ask("open"), "opened");
    let folder = format!("/proc/{}/fd", puppet.pid().as_raw_nonzero());
    let held: Vec<u64> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().parse().unwrap())
        .collect();
    let limit = held.iter().max().unwrap() + 3;
    let mut guard = DescriptorLimit::start(puppet.pid(), limit).unwrap();
    for _ in held.len() as u64..limit {
        assert_eq!(puppet.ask("open"), "opened");
    }
    let refused = format!("errno {}", rustix::io::Errno::MFILE.raw_os_error());
    assert_eq!(puppet.ask("open"), refused);
    guard.undo().unwrap();
    assert_eq!(puppet.ask("open"), "opened");
    drop(DescriptorLimit::start(puppet.pid(), 3).unwrap());
    assert_eq!(puppet.ask("open"), "opened");
}

// Goal: a paused program stands still with a word waiting for it, and answers that word when it
// goes on.
#[test]
fn a_paused_program_goes_on_where_it_was() {
    let mut puppet = Puppet::start(Puppet::invocation());
    let before = puppet.times();
    let mut pause = Pause::start(puppet.pid()).unwrap();
    assert_eq!(state(&puppet), 'T');
    puppet.tell("time");
    assert_eq!(state(&puppet), 'T');
    pause.undo().unwrap();
    assert!(!puppet.answer().is_empty());
    drop(Pause::start(puppet.pid()).unwrap());
    assert!(puppet.times().monotonic_ms >= before.monotonic_ms);
}

// Goal: a running program can be taken into a group, and out of it.
#[test]
fn a_running_program_is_adopted_and_released() {
    let puppet = Puppet::start(Puppet::invocation());
    let groups =
        || std::fs::read_to_string(format!("/proc/{}/cgroup", puppet.pid().as_raw_nonzero()));
    let before = groups().unwrap();
    let mut group =
        Group::start(Limits { memory_bytes_max: Some(64 << 20), ..Limits::default() }).unwrap();
    group.adopt(puppet.pid()).unwrap();
    let name = format!("tandem-lab-{}-", std::process::id());
    assert_eq!(groups().unwrap().matches(&name).count(), 2);
    group.undo().unwrap();
    assert_eq!(groups().unwrap(), before);
}
