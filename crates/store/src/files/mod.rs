//! Files of a data directory, and the faults of the disk that holds them.

mod file_lock;
mod private_files;
mod store_fault;

pub(crate) use file_lock::hold;
pub use private_files::{create_private_file, exposed_mode};
pub(crate) use private_files::{private_dir, private_file, sync_dir, write_private};
pub(crate) use store_fault::{describe, fault_of_file, file_fault};
