//! The laboratory with a real kernel: namespaces, TUN devices, processes. Needs root; without it,
//! every test fails and says so.

mod faults;
mod hosts;
mod support;
