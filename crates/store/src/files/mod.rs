//! Files of a data directory, and the faults of the disk that holds them.

pub(crate) mod file_lock;
pub(crate) mod private_files;
pub(crate) mod store_fault;
