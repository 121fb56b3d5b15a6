//! Checks of the project as a whole: layout, documents, schemas, operation tables and what is derived from them.

mod cases;
mod coverage;
mod layout;
mod mutations;
mod paths;
mod prose;
mod readmes;
mod schemas;
mod versions;
