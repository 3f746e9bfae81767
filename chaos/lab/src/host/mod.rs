//! Network namespaces, and programs started in them.
