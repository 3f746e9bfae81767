//! Block devices that lose, delay and damage what was written.
