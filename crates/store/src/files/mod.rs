//! Files of a data directory, and the faults of the disk that holds them.

mod data_directory;
mod file_lock;
mod place;
mod private_files;
mod store_fault;

pub(crate) use data_directory::make_data_directory;
pub use data_directory::make_private_directory;
pub(crate) use file_lock::hold;
pub(crate) use place::{BEHIND, CommitMark, is_shared, place};
pub use private_files::{create_private_file, read_private_file, write_private_file};
pub(crate) use private_files::{make_private, private_dir, private_file, sync_dir};
pub(crate) use store_fault::{describe, fault_of_file, file_fault};
