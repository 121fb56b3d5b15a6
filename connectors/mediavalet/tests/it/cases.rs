//! Every row of the operation table against cases written from the vendor's reference, and against the vendor's list.

use std::path::Path;

use serde_json::json;
use trunkline_core::Registry;
use trunkline_testkit::cases::Cases;

/// Actions that make one call whose body is not JSON: `unpublished.rs` covers them.
const ELSEWHERE: &[&str] = &[
    "GET /directlinks/export",
    "POST /bulk",
    "POST /organizationalunits/current/logo",
    "POST /organizationalunits/{portal}/logo",
];

fn cases(registry: &Registry) -> Cases<'_> {
    Cases {
        registry,
        connector: "mediavalet",
        folder: Path::new(env!("CARGO_MANIFEST_DIR")),
        settings: json!({ "flows": "password", "username": "ann", "password": "right", "subscriptionKey": "key-of-the-cases" }),
        headers: &[("ocp-apim-subscription-key", "key-of-the-cases"), ("x-mv-api-version", "1.2")],
        elsewhere: ELSEWHERE,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_sends_and_returns_what_the_reference_says() {
    let registry = Registry::discover().unwrap();
    let wrong = cases(&registry).faults().await;
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n"));
}

/// The twin: a case that expects another request and another output is found, and so is a route without a row.
#[tokio::test]
async fn a_row_that_differs_from_its_case_is_found() {
    let registry = Registry::discover().unwrap();
    let found = cases(&registry).faults_of_wrong_cases("GET /users/current").await;
    for part in ["expected {\"method\":\"PUT\"", "returned ", "no row has this route"] {
        assert!(found.contains(part), "wanted {part} in {found}");
    }
}

/// The number of operations without a row may only decrease.
#[test]
fn every_operation_of_the_vendor_has_a_row_or_a_reason() {
    let registry = Registry::discover().unwrap();
    let gaps = cases(&registry).gaps(0);
    assert!(gaps.is_empty(), "{} gaps:\n{}", gaps.len(), gaps.join("\n"));
}
