//! What building and testing need beside Rust: Debian packages, and RocksDB built once per machine.

use std::{
    env, fs,
    io::{self, BufRead, IsTerminal, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use crate::{
    Consent, root,
    run::{self, Failure},
};

/// What is being prepared for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    /// Building and running the programs.
    Programs,
    /// Also the tests.
    Tests,
}

/// A Debian package, how its presence is seen, and why it is needed.
struct Package {
    name: &'static str,
    present: fn() -> bool,
    why: &'static str,
    wanted: For,
}

const PACKAGES: &[Package] = &[
    Package {
        name: "g++",
        present: || program("g++"),
        why: "compiles RocksDB, the store under the log",
        wanted: For::Programs,
    },
    Package {
        name: "libclang1-14",
        present: libclang,
        why: "reads RocksDB's headers when its Rust binding is built",
        wanted: For::Programs,
    },
    Package {
        name: "libclang-common-14-dev",
        present: clang_headers,
        why: "has the compiler's own headers for that",
        wanted: For::Programs,
    },
    Package {
        name: "sip-tester",
        present: || program("sipp"),
        why: "SIPp plays callers and agents in the tests",
        wanted: For::Tests,
    },
    Package {
        name: "tshark",
        present: || program("tshark") && program("dumpcap"),
        why: "counts in the tests what really crossed the network",
        wanted: For::Tests,
    },
    Package {
        name: "faketime",
        present: || {
            Path::new("/usr/lib/x86_64-linux-gnu/faketime").exists()
                || Path::new("/usr/lib/aarch64-linux-gnu/faketime").exists()
        },
        why: "gives a node another time of day in the laboratory",
        wanted: For::Tests,
    },
    Package {
        name: "strace",
        present: || program("strace"),
        why: "kills a node at a chosen write in the laboratory",
        wanted: For::Tests,
    },
    Package {
        name: "e2fsprogs",
        present: || program("mkfs.ext4") || Path::new("/sbin/mkfs.ext4").exists(),
        why: "makes the file systems of the laboratory's disks",
        wanted: For::Tests,
    },
    Package {
        name: "systemd",
        present: || program("systemd-analyze"),
        why: "checks the units in deploy/",
        wanted: For::Tests,
    },
];

/// Installs what is missing and builds RocksDB if this machine has not yet.
pub(crate) fn run(consent: Consent, wanted: For) -> Result<(), Failure> {
    install(consent, wanted)?;
    build_rocksdb()
}

fn install(consent: Consent, wanted: For) -> Result<(), Failure> {
    let missing: Vec<&Package> = PACKAGES
        .iter()
        .filter(|package| wanted == For::Tests || package.wanted == For::Programs)
        .filter(|package| !(package.present)())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    run::step("install missing packages");
    for package in &missing {
        println!("   {:<24} {}", package.name, package.why);
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    let by_hand = format!("apt-get install {}", names.join(" "));
    if !program("apt-get") {
        return Err(Failure::new(format!(
            "this is no Debian: install what corresponds to `{by_hand}`, then run this again"
        )));
    }
    if consent == Consent::Ask && io::stdin().is_terminal() && !agreed(&names)? {
        return Err(Failure::new(format!("nothing was installed; do it by hand: {by_hand}")));
    }
    apt(&["update", "-qq"])?;
    apt(&[&["install", "-y", "-qq", "--no-install-recommends"], names.as_slice()].concat())?;
    let still: Vec<&str> =
        missing.iter().filter(|package| !(package.present)()).map(|package| package.name).collect();
    if still.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("{} are installed and still not found", still.join(", "))))
}

fn agreed(names: &[&str]) -> Result<bool, Failure> {
    print!("   install {} now? [Y/n] ", names.join(" "));
    io::stdout().flush().map_err(Failure::new)?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(Failure::new)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "" | "y" | "yes"))
}

fn apt(arguments: &[&str]) -> Result<(), Failure> {
    let root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    let mut command = if root {
        Command::new("apt-get")
    } else if program("sudo") {
        let mut command = Command::new("sudo");
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        command
    } else {
        return Err(Failure::new("installing packages needs root, and there is no sudo"));
    };
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
    run::check(&mut command)
}

fn program(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(name).exists())
}

/// A libclang of any version where the Rust binding looks for one.
fn libclang() -> bool {
    if env::var_os("LIBCLANG_PATH").is_some() {
        return true;
    }
    let here = |folder: &Path| any_in(folder, is_libclang);
    let fixed =
        ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/local/lib"];
    fixed.iter().any(|folder| here(Path::new(folder)))
        || llvm_folders().iter().any(|folder| here(&folder.join("lib")))
}

/// The C interface, of any version. `libclang-cpp.so.14` is another library (clang-sys, which looks for
/// it, leaves that one out too) and comes alone with Mesa's drivers, for example.
fn is_libclang(name: &str) -> bool {
    (name.starts_with("libclang.so") || name.starts_with("libclang-"))
        && name.contains(".so")
        && !name.contains("-cpp.")
}

fn clang_headers() -> bool {
    llvm_folders().iter().any(|folder| folder.join("lib/clang").exists())
        || Path::new("/usr/lib/clang").exists()
}

fn llvm_folders() -> Vec<PathBuf> {
    let entries = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("llvm-"))
        })
        .collect()
}

fn any_in(folder: &Path, is: impl Fn(&str) -> bool) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| is(&entry.file_name().to_string_lossy()))
}

// --- RocksDB ------------------------------------------------------------------------------------

/// Where this machine keeps RocksDB for the version in `Cargo.lock`; `None` when the environment
/// names another one.
pub(crate) fn rocksdb_library() -> Result<Option<PathBuf>, Failure> {
    if env::var_os("ROCKSDB_LIB_DIR").is_some() {
        return Ok(None);
    }
    let version = locked_version("librocksdb-sys")?;
    let folder = run::cache_dir()?.join(format!("rocksdb-{version}"));
    Ok(Some(folder.join("librocksdb.a")))
}

/// Builds RocksDB once per machine: it takes ten minutes, and no clean build must pay for it again.
fn build_rocksdb() -> Result<(), Failure> {
    let Some(library) = rocksdb_library()?.filter(|library| !library.exists()) else {
        return Ok(());
    };
    run::step("build RocksDB, once for this machine (about ten minutes on two cores)");
    let began = Instant::now();
    let folder = library.parent().unwrap_or(Path::new("/")).to_owned();
    fs::create_dir_all(&folder).map_err(Failure::new)?;
    let work = folder.join("build");
    let mut command = run::cargo_command()?;
    command
        .args(["build", "--release", "--package", "librocksdb-sys"])
        .env("CARGO_TARGET_DIR", &work)
        .env("CXXFLAGS", "-O2 -DNDEBUG");
    run::check(&mut command)?;
    let built = find(&work.join("release/build"), "librocksdb.a")
        .ok_or_else(|| Failure::new("the build left no librocksdb.a behind"))?;
    // Whole or not at all: another build may look for it at this moment.
    let new = folder.join("librocksdb.a.new");
    fs::copy(&built, &new).map_err(Failure::new)?;
    fs::rename(&new, &library).map_err(Failure::new)?;
    fs::remove_dir_all(&work).map_err(Failure::new)?;
    println!("   built in {} s: {}", began.elapsed().as_secs(), library.display());
    Ok(())
}

fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
        let path = entry.path();
        if path.is_dir() { find(&path, name) } else { path.ends_with(name).then_some(path) }
    })
}

fn locked_version(package: &str) -> Result<String, Failure> {
    let lock = fs::read_to_string(root().join("Cargo.lock")).map_err(Failure::new)?;
    let mut lines = lock.lines();
    let name = format!("name = \"{package}\"");
    lines.find(|line| *line == name);
    let version = lines.next().and_then(|line| line.strip_prefix("version = \""));
    let version = version.and_then(|version| version.strip_suffix('"'));
    version
        .map(str::to_owned)
        .ok_or_else(|| Failure::new(format!("{package} is not in Cargo.lock")))
}

#[cfg(test)]
mod tests {
    use super::is_libclang;

    // Goal: only what bindgen can load counts as libclang; a machine with the C++ library alone still
    // gets the package.
    #[test]
    fn which_library_is_libclang() {
        for name in ["libclang.so", "libclang-14.so.1", "libclang.so.13", "libclang-14.so"] {
            assert!(is_libclang(name), "{name}");
        }
        for name in ["libclang-cpp.so.14", "libclang-cpp.so", "libclang.a", "libLLVM-14.so"] {
            assert!(!is_libclang(name), "{name}");
        }
    }
}
