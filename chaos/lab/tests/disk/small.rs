//! The small disk in memory.

use std::io::ErrorKind;

use tandem_lab::disk::plain::{Access, SmallDisk};

use crate::tool::require_root;

// Goal: it holds what it was made for and not a page more, until it is made larger.
#[test]
fn a_small_disk_is_full_at_its_size() {
    require_root();
    let folder = tempfile::tempdir().unwrap();
    let mut disk = SmallDisk::start(64 << 10, folder.path()).unwrap();
    let file = disk.dir().join("file");
    std::fs::write(&file, vec![1; 64 << 10]).unwrap();
    let refused = std::fs::write(disk.dir().join("more"), [1]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::StorageFull);
    disk.resize(128 << 10).unwrap();
    std::fs::write(disk.dir().join("more"), [1]).unwrap();
    disk.undo().unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

// Goal: read-only refuses writes and keeps reads; writable again takes them; busy is not forced.
#[test]
fn a_small_disk_turns_read_only_and_back() {
    require_root();
    let folder = tempfile::tempdir().unwrap();
    let disk = SmallDisk::start(64 << 10, folder.path()).unwrap();
    let file = disk.dir().join("file");
    let open = std::fs::File::create(&file).unwrap();
    assert!(disk.set_access(Access::ReadOnly).is_err(), "a file is open for writing");
    drop(open);
    disk.set_access(Access::ReadOnly).unwrap();
    assert_eq!(std::fs::write(&file, "x").unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    assert_eq!(std::fs::read(&file).unwrap(), b"");
    disk.set_access(Access::Writable).unwrap();
    std::fs::write(&file, "x").unwrap();
    drop(disk);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

// Goal: a folder on which something is mounted is refused, and that stays.
#[test]
fn a_mount_point_is_not_mounted_over() {
    require_root();
    let folder = tempfile::tempdir().unwrap();
    let first = SmallDisk::start(64 << 10, folder.path()).unwrap();
    std::fs::write(first.dir().join("file"), "x").unwrap();
    let refused = SmallDisk::start(64 << 10, folder.path()).unwrap_err().to_string();
    assert!(refused.contains("mounted here already"), "{refused}");
    assert_eq!(std::fs::read(first.dir().join("file")).unwrap(), b"x");
    first.undo().unwrap();
}
