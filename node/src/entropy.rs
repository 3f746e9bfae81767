//! Randomness from the operating system: for ids, keys and the seeds of the pure crates.

/// Random bytes.
#[must_use]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0_u8; N];
    if let Err(error) = getrandom::fill(&mut bytes) {
        // Without randomness ids clash and tokens can be guessed: nothing safe can be done.
        #[expect(clippy::panic, reason = "the kernel's generator is part of the machine")]
        {
            panic!("the system has no randomness: {error}");
        }
    }
    bytes
}

/// A random number.
#[must_use]
pub fn random_u64() -> u64 {
    u64::from_le_bytes(random_bytes())
}

/// A random 128-bit id.
#[must_use]
pub fn random_u128() -> u128 {
    u128::from_le_bytes(random_bytes())
}
