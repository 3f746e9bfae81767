//! The router between hosts: delay, loss and cuts per directed pair.
