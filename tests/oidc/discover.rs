//! `connection discover`: its output, pasted into a connection, is enough to sign in.

use serde_json::Value;

use trunkline_tests::Cli;

use super::{Login, call, signed_in};

#[tokio::test]
async fn discovered_settings_can_be_pasted() {
    let Some(login) = Login::start(&[]).await else { return };
    let cli = Cli::default();
    let found = cli
        .run(&["connection", "discover", "--allow-private-network", &login.url(""), "--json"])
        .await
        .expect(0)
        .json();
    assert_eq!(found["settings"]["tokenUrl"], login.url("/token"));
    assert_eq!(found["settings"]["authorizationUrl"], login.url("/auth"));
    assert_eq!(found["settings"]["revocationUrl"], login.url("/token/revocation"));
    assert_eq!(found["userInfoUrl"], login.url("/me"));
    assert!(found["supported"]["grants"].as_array().unwrap().contains(&"refresh_token".into()), "{found}");
    assert!(!cli.data().exists() && !cli.key_file().exists(), "it needs no store");

    let mut document = login.document();
    let settings = document.as_object_mut().unwrap();
    for given in ["tokenUrl", "authorizationUrl", "issuer", "scopes"] {
        settings.shift_remove(given);
    }
    settings.extend(found["settings"].as_object().unwrap().clone());
    let connected = signed_in(&cli.runtime(), document).await;
    assert_eq!(call(&connected).await.unwrap(), "ada");

    // The text output begins with the same settings in a form to paste.
    let text = cli.run(&["connection", "discover", "--allow-private-network", &login.url("/")]).await.expect(0).stdout;
    let (settings, rest) = text.split_once("\n\n").unwrap();
    assert_eq!(serde_json::from_str::<Value>(settings).unwrap(), found["settings"]);
    assert!(settings.contains(&login.url("/token/revocation")) && rest.contains("offline_access"), "{rest}");

    // The command can also write them into a document, and changes nothing else there.
    let mut document = login.document();
    (document["tokenUrl"], document["name"]) = ("https://wrong.example.com/token".into(), "filled".into());
    cli.pipe(&["connection", "add", "-"], &document.to_string()).await.expect(0);
    let fill = ["connection", "discover", "--allow-private-network", &login.url(""), "--into", "filled", "--json"];
    let output = cli.run(&fill).await.expect(0).json();
    assert_eq!(output["settings"]["tokenUrl"], login.url("/token"), "{output}");
    let kept = cli.runtime().connections().connection("filled").await.unwrap().settings;
    assert_eq!((&kept["tokenUrl"], &kept["scopes"]), (&login.url("/token").into(), &document["scopes"]));
    assert_eq!(kept["clientSecret"], document["clientSecret"]);
    assert_eq!(cli.run(&fill).await.expect(0).json()["settings"], serde_json::json!({}));

    // Another path has no discovery document.
    let error = cli
        .run(&["connection", "discover", "--allow-private-network", &login.url("/api"), "--json"])
        .await
        .expect(1)
        .error();
    assert!(error["hint"].is_string(), "{error}");
}
