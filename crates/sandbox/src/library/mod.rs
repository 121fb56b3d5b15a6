//! The generated source files of the Mediaflow library.

mod library;

pub(crate) use library::{FileCondition, Library, SourceFile, media_type, mix};
