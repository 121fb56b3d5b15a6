//! Checks of the whole project: layout, prose, documents, schemas, operation tables and derived files.

mod alike;
mod errors;
mod forms;
mod layout;
mod lean;
mod mutants;
mod mutations;
mod operations;
mod paths;
mod prose;
mod readmes;
mod rows;
mod schemas;
mod security;
mod versions;
