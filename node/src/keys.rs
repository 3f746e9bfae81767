//! The cluster key: one file on every node, from which everything secret is derived.

use std::{fs, io::Write, os::unix::fs::OpenOptionsExt, os::unix::fs::PermissionsExt, path::Path};

use tandem_cluster::seal::ClusterKey;

use crate::exit::Exit;

/// Bits that would let other users read the key.
const OTHERS: u32 = 0o077;

/// Reads the key file: 64 hexadecimal digits.
///
/// # Errors
/// [`Exit::Security`] when it cannot be read, is no key, or others can read it too.
pub fn read(path: &Path) -> Result<ClusterKey, Exit> {
    let refuse =
        |what: String| Exit::Security(format!("[security] cluster_key {}: {what}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| {
        refuse(format!("cannot be read ({error}); `tandem cluster certs` makes one"))
    })?;
    let mode = fs::metadata(path).map_err(|error| refuse(error.to_string()))?.permissions().mode();
    if mode & OTHERS != 0 {
        return Err(refuse(format!(
            "other users may read it (mode {:o}); make it private with `chmod 600`",
            mode & 0o777
        )));
    }
    parse(text.trim()).ok_or_else(|| {
        refuse("holds no key: 64 hexadecimal digits are expected, the same on every node".into())
    })
}

/// Writes a new random key for its owner only.
///
/// # Errors
/// When the file exists already or cannot be written.
pub fn create(path: &Path) -> std::io::Result<()> {
    let key: [u8; 32] = crate::entropy::random_bytes();
    let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{digits}")
}

fn parse(text: &str) -> Option<ClusterKey> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut key = [0; 32];
    for (byte, pair) in key.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(ClusterKey::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a key that was made is read back; a file that others may read, that holds no key, or
    // that is not there is refused with what to do.
    #[test]
    fn keys_are_read_and_guarded() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cluster.key");
        create(&path).expect("written");
        assert!(create(&path).is_err(), "an old key is never overwritten");
        let key = read(&path).expect("a key");
        assert_ne!(key.expose(), &[0; 32]);

        let text = fs::read_to_string(&path).expect("text");
        assert_eq!(parse(text.trim()).expect("a key"), key);
        for bad in ["", "12", &"x".repeat(64), &"é".repeat(32), &format!("{}+1", &text[..62])] {
            assert!(parse(bad).is_none(), "{bad}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("changed");
        let error = read(&path).expect_err("readable by others").to_string();
        assert!(error.contains("chmod 600"), "{error}");
        let error = read(&folder.path().join("none")).expect_err("missing").to_string();
        assert!(error.contains("cluster certs"), "{error}");
    }
}
