//! Step counter of the parsers: what the tests measure instead of time.
//!
//! Every loop over input bytes reports the bytes that it looked at, so a test can assert that work
//! grows with the length of the input and not with its square. Outside of tests the counter is an
//! empty inline function.

/// Reports that `steps` bytes or list items were looked at.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn tick(_steps: usize) {}

/// Reports that `steps` bytes or list items were looked at.
#[cfg(test)]
pub(crate) fn tick(steps: usize) {
    counter::add(steps);
}

#[cfg(test)]
pub(crate) mod counter {
    //! The counter itself, one per test thread.
    use std::cell::Cell;

    thread_local! {
        static STEPS: Cell<u64> = const { Cell::new(0) };
    }

    pub(crate) fn add(steps: usize) {
        STEPS.with(|cell| cell.set(cell.get() + steps as u64));
    }

    /// Returns the steps since the last call and starts again at zero.
    pub(crate) fn take() -> u64 {
        STEPS.with(|cell| cell.replace(0))
    }
}
