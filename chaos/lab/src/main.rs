//! The program `tandem-lab`: the router and the disks as processes of their own.

fn main() {}
