//! The vault of connections, see [`Vault`](trunkline_core::Vault).

pub(crate) mod vault_table;
