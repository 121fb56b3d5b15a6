//! Two connectors or two actions of one name: the error says which crates or files they come from.
#![allow(clippy::unwrap_used, missing_docs)]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_core::{
    Action, ActionEntry, CheckReport, Connector, ConnectorEntry, Context, Effect, Registry, Result, VaultSlot,
    any_connector, async_trait,
};

#[derive(Deserialize, Serialize, JsonSchema)]
struct Nothing {}

macro_rules! shop {
    ($connector:ident, $name:literal, $version:literal, $action:ident) => {
        struct $connector;

        #[async_trait]
        impl Connector for $connector {
            const NAME: &'static str = $name;
            const VERSION: &'static str = $version;
            const TITLE: &'static str = "Shop";
            type Settings = Nothing;
            type Client = Nothing;
            fn connect(settings: Nothing, _: VaultSlot) -> Result<Nothing> {
                Ok(settings)
            }
            async fn check(_: &Nothing) -> CheckReport {
                CheckReport::default()
            }
        }

        struct $action;

        #[async_trait]
        impl Action for $action {
            type Connector = $connector;
            type Input = Nothing;
            type Output = Nothing;
            const NAME: &'static str = "order.get";
            const TITLE: &'static str = "Get an order";
            const EFFECT: Effect = Effect::Read;
            async fn run(_: &Nothing, _: Nothing, _: &Context) -> Result<Nothing> {
                Ok(Nothing {})
            }
        }
    };
}

shop!(Shop, "shop", "1.0", GetOrder);
shop!(OtherShop, "shop", "2.1", GetOtherOrder);
shop!(Store, "store", "1.0", GetStoreOrder);

fn error(registry: Registry) -> String {
    registry.checked().err().expect("a clash").message().to_owned()
}

/// `submit!` registers with the package of the crate that it is written in.
mod submitted {
    use super::*;

    trunkline_core::submit! { ConnectorEntry::of::<Shop>() }
    trunkline_core::submit! { ActionEntry::of::<GetOrder>() }
    trunkline_core::submit! { ConnectorEntry::of::<OtherShop>() }
    trunkline_core::submit! { ActionEntry::of::<GetOtherOrder>() }
    trunkline_core::submit! { ConnectorEntry::of::<Store>() }
    trunkline_core::submit! { ActionEntry::of::<GetStoreOrder>() }
    trunkline_core::submit! { ActionEntry::of::<GetStoreOrder>() }
}

#[test]
fn submitted_names_that_clash_are_reported_with_their_crates_and_versions() {
    let error = Registry::discover().err().expect("clashes").message().to_owned();
    let package = concat!("trunkline-core ", env!("CARGO_PKG_VERSION"));
    for part in [
        "the connector shop is registered twice",
        &format!("{package} (registry::Shop) as shop-v1.0"),
        &format!("{package} (registry::OtherShop) as shop-v2.1"),
        &format!(
            "the action store.order.get is registered twice: by {package} (registry::GetStoreOrder) and by {package}"
        ),
    ] {
        assert!(error.contains(part), "wanted {part} in {error}");
    }
    assert!(!error.contains("the action shop."), "the connectors clash, not their actions: {error}");
}

#[test]
fn names_that_clash_without_a_crate_are_reported_with_their_types_or_files() {
    let two = Registry::empty().with_connector::<Shop>().with_connector::<OtherShop>();
    assert_eq!(
        error(two),
        "the registry: the connector shop is registered twice: by registry::Shop as shop-v1.0 and by \
         registry::OtherShop as shop-v2.1"
    );
    let loaded = Registry::empty().with_connector::<Shop>();
    let loaded = loaded.with_any(any_connector::<OtherShop>(), Vec::new(), "mine/shop/connector.toml");
    let loaded = error(loaded);
    assert!(loaded.contains("registry::Shop as shop-v1.0 and by mine/shop/connector.toml as shop-v2.1"), "{loaded}");
    let actions = Registry::empty().with_connector::<Shop>().with_action::<GetOrder>();
    let entry = ActionEntry::of::<GetOtherOrder>().from_package("acme-shop", "3.2.1");
    let actions = error(actions.with_entry(entry));
    assert!(actions.contains("by registry::GetOrder and by acme-shop 3.2.1 (registry::GetOtherOrder)"), "{actions}");
}

/// The twin: without a clash there is no error.
#[test]
fn names_that_differ_are_accepted() {
    let registry = Registry::empty().with_connector::<Shop>().with_connector::<Store>();
    let registry = registry.with_action::<GetOrder>().with_action::<GetStoreOrder>().checked().unwrap();
    assert_eq!(registry.connectors().count(), 2);
    assert!(registry.connectors().all(|one| one.actions().count() == 1));
}
