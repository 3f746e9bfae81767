//! Clocks, processes, and their limits.
