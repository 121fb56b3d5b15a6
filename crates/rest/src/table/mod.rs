//! Tables of operations: rows in files, and the requests that they stand for.

mod call;
mod compiled_row;
mod input;
mod operation_table;
mod path;
mod path_value;
mod plain_text;
mod request;
mod row;
mod shapes;
mod table_file;
mod target;
mod toml_numbers;

pub(crate) use call::{Call, ExpectedBody};
pub use compiled_row::CompiledRow;
pub(crate) use input::Input;
pub(crate) use operation_table::RowAction;
pub use operation_table::{Table, TableHandle};
pub use path_value::Slashes;
pub use plain_text::Lists;
pub(crate) use request::{Request, encode, follow};
pub use row::{In, InputRow, InputRows, OperationRow, operation_schema};
pub use target::Target;
pub(crate) use target::Verb;
pub use toml_numbers::lossy_toml_numbers;
