//! The operation table: all files of `operations/`, compiled into the connector.
//!
//! `tests/coverage.rs` compares the rows with the vendor's list of operations.

use trunkline_rest::Table;

/// All rows.
pub(crate) static OPERATIONS: Table = Table::new(
    "mediavalet",
    &[
        ("connectors/mediavalet/operations/asset_metadata.toml", include_str!("../operations/asset_metadata.toml")),
        ("connectors/mediavalet/operations/asset_video.toml", include_str!("../operations/asset_video.toml")),
        ("connectors/mediavalet/operations/assets.toml", include_str!("../operations/assets.toml")),
        ("connectors/mediavalet/operations/attributes.toml", include_str!("../operations/attributes.toml")),
        ("connectors/mediavalet/operations/authorization.toml", include_str!("../operations/authorization.toml")),
        ("connectors/mediavalet/operations/categories.toml", include_str!("../operations/categories.toml")),
        ("connectors/mediavalet/operations/config.toml", include_str!("../operations/config.toml")),
        ("connectors/mediavalet/operations/crops.toml", include_str!("../operations/crops.toml")),
        ("connectors/mediavalet/operations/direct_links.toml", include_str!("../operations/direct_links.toml")),
        ("connectors/mediavalet/operations/downloads.toml", include_str!("../operations/downloads.toml")),
        ("connectors/mediavalet/operations/integrations.toml", include_str!("../operations/integrations.toml")),
        ("connectors/mediavalet/operations/keywords.toml", include_str!("../operations/keywords.toml")),
        ("connectors/mediavalet/operations/lightboxes.toml", include_str!("../operations/lightboxes.toml")),
        ("connectors/mediavalet/operations/notifications.toml", include_str!("../operations/notifications.toml")),
        ("connectors/mediavalet/operations/org_units.toml", include_str!("../operations/org_units.toml")),
        ("connectors/mediavalet/operations/persons.toml", include_str!("../operations/persons.toml")),
        ("connectors/mediavalet/operations/portal_settings.toml", include_str!("../operations/portal_settings.toml")),
        ("connectors/mediavalet/operations/portals.toml", include_str!("../operations/portals.toml")),
        ("connectors/mediavalet/operations/portals_public.toml", include_str!("../operations/portals_public.toml")),
        ("connectors/mediavalet/operations/reports.toml", include_str!("../operations/reports.toml")),
        ("connectors/mediavalet/operations/searches.toml", include_str!("../operations/searches.toml")),
        ("connectors/mediavalet/operations/shares.toml", include_str!("../operations/shares.toml")),
        ("connectors/mediavalet/operations/uploads.toml", include_str!("../operations/uploads.toml")),
        ("connectors/mediavalet/operations/user_groups.toml", include_str!("../operations/user_groups.toml")),
        ("connectors/mediavalet/operations/users.toml", include_str!("../operations/users.toml")),
        ("connectors/mediavalet/operations/webhooks.toml", include_str!("../operations/webhooks.toml")),
    ],
);
