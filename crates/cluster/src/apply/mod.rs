//! What each command does, by family. Each function checks before it changes anything.

mod bindings;
mod configuration;
mod legs;
mod nodes;
mod takeover;
