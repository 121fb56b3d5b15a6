//! Settings that connections over HTTP share. A connector flattens them into its own settings.
//!
//! [`HttpSettings`] has the pace and the reach of a connection, [`OAuthSettings`] the client of an OAuth 2 sign-in.
//! What a vendor fixes, such as the URLs of its login server, are [`OAuthPresets`]: they fill both the form and the
//! values that a connection leaves out.
//!
//! ```
//! use schemars::{JsonSchema, Schema};
//! use serde::Deserialize;
//! use trunkline_rest::{HttpSettings, OAuthPresets, OAuthSettings};
//!
//! const OAUTH: OAuthPresets = OAuthPresets {
//!     token_url: "https://login.example.com/token",
//!     authorization_url: "https://login.example.com/authorize",
//!     credentials: "From the developer portal of Example.",
//!     documentation: "https://docs.example.com/sign-in",
//!     revocation_url: None,
//!     redirect_uri: None,
//! };
//!
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(rename_all = "camelCase")]
//! #[schemars(transform = |schema: &mut Schema| OAUTH.describe(schema))]
//! struct Settings {
//!     #[serde(flatten)]
//!     oauth: OAuthSettings,
//!     #[serde(flatten)]
//!     http: HttpSettings,
//! }
//! # let schema = schemars::schema_for!(Settings);
//! # assert_eq!(schema.pointer("/properties/tokenUrl/default").unwrap(), "https://login.example.com/token");
//! ```

use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use serde_json::{Map, Value};
use trunkline_core::{Error, ErrorKind, Result, Secret};
use url::Url;

use crate::{ClientAuth, Grant, OAuth};

/// The pace and the reach of a connection, for [`ClientBuilder::settings`](crate::ClientBuilder::settings).
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpSettings {
    /// # Requests a Second
    /// Maximum number of requests a second. If absent, the rate follows the service's throttling.
    #[schemars(range(min = 1, max = 1000), extend("examples" = [10], "x-group" = "advanced"))]
    pub requests_per_second: Option<u32>,
    /// # Requests at Once
    /// Maximum number of concurrent requests of all runs together; 16 if absent.
    #[schemars(range(min = 1, max = 100), extend("examples" = [16], "x-group" = "advanced"))]
    pub requests_at_once: Option<u32>,
    /// # Allow Private Network
    /// Whether the URLs may lead to a private network or to this machine. If off, such an address is rejected, whatever
    /// host name leads to it. If on, the operator of the host has to allow it as well.
    #[serde(default)]
    #[schemars(extend("examples" = [false], "x-group" = "advanced"))]
    pub allow_private_network: bool,
}

/// The client of an OAuth 2 sign-in.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OAuthSettings {
    /// # Client ID
    #[schemars(extend("examples" = ["my-integration"], "x-doc" = rfc("#section-2.2")))]
    pub client_id: String,
    /// # Client Secret
    /// Leave it out for a public client.
    #[schemars(extend("examples" = [{ "env": "CLIENT_SECRET" }], "x-doc" = rfc("#section-2.3.1")))]
    pub client_secret: Option<Secret>,
    /// # Client Authentication
    /// How client ID and secret are sent to the token URL: as form fields, or as Basic authentication.
    #[serde(default)]
    #[schemars(extend("examples" = ["form"], "x-doc" = rfc("#section-2.3.1"), "x-group" = "advanced"))]
    pub client_authentication: ClientAuth,
    /// # Token URL
    /// URL that issues tokens.
    #[schemars(extend("examples" = ["https://login.example.com/token"], "x-doc" = rfc("#section-3.2")))]
    pub token_url: Option<Url>,
    /// # Authorization URL
    /// URL at which a user signs in; used by the flow `authorization_code` only.
    #[schemars(extend("examples" = ["https://login.example.com/authorize"], "x-doc" = rfc("#section-3.1")))]
    pub authorization_url: Option<Url>,
    /// # Revocation URL
    /// URL at which tokens are revoked when the connection is removed.
    #[schemars(extend(
        "examples" = ["https://login.example.com/revoke"], "x-group" = "advanced",
        "x-doc" = "https://www.rfc-editor.org/rfc/rfc7009"
    ))]
    pub revocation_url: Option<Url>,
    /// # Redirect URI
    /// URL that the browser returns to after the sign-in, if it is not the host's own.
    #[schemars(extend(
        "examples" = ["https://host.example.com/rest/v1/oauth2/callback"], "x-group" = "advanced",
        "x-doc" = rfc("#section-3.1.2")
    ))]
    pub redirect_uri: Option<Url>,
}

/// Returns the address of a section of the standard of OAuth 2.
fn rfc(section: &str) -> String {
    format!("https://www.rfc-editor.org/rfc/rfc6749{section}")
}

impl OAuthSettings {
    /// Returns the client with its grant. `scopes` are separated by spaces.
    ///
    /// # Errors
    ///
    /// `config` if there is no token URL, or no authorization URL for a sign-in in the browser.
    pub fn oauth(self, grant: Grant, scopes: &str) -> Result<OAuth> {
        let missing = |message: &str, setting: &'static str| Error::new(ErrorKind::Config, message).setting(setting);
        if matches!(grant, Grant::AuthorizationCode) && self.authorization_url.is_none() {
            return Err(missing("the flow authorization_code needs an authorization URL", "/authorizationUrl"));
        }
        Ok(OAuth {
            client_id: self.client_id,
            client_secret: self.client_secret,
            client_auth: self.client_authentication,
            token_url: self.token_url.ok_or_else(|| missing("OAuth 2 needs a token URL", "/tokenUrl"))?,
            authorization_url: self.authorization_url,
            revocation_url: self.revocation_url,
            redirect_uri: self.redirect_uri,
            scopes: scopes.split_whitespace().map(str::to_owned).collect(),
            grant,
        })
    }

    /// Makes the token URL required in a schema, for connectors whose login server is not known.
    pub fn require_token_url(schema: &mut Schema) {
        require(schema, "tokenUrl");
    }
}

/// What a vendor fixes in the OAuth 2 settings of its connections. The client always has a secret.
#[derive(Clone, Copy, Debug)]
pub struct OAuthPresets {
    /// The token URL of connections that have none.
    pub token_url: &'static str,
    /// The authorization URL of connections that have none.
    pub authorization_url: &'static str,
    /// The help text of client ID and client secret: where they come from.
    pub credentials: &'static str,
    /// The vendor's page on signing in.
    pub documentation: &'static str,
    /// The help text of the revocation URL, if it says more than that of [`OAuthSettings`].
    pub revocation_url: Option<&'static str>,
    /// The help text of the redirect URI, if it says more than that of [`OAuthSettings`].
    pub redirect_uri: Option<&'static str>,
}

impl OAuthPresets {
    /// Writes the presets into the schema of settings that contain [`OAuthSettings`].
    pub fn describe(&self, schema: &mut Schema) {
        require(schema, "clientSecret");
        let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
        let mut set = |setting: &str, keyword: &str, text: &str| {
            if let Some(Value::Object(property)) = properties.get_mut(setting) {
                property.insert(keyword.to_owned(), text.into());
            }
        };
        set("clientId", "description", self.credentials);
        set("clientSecret", "description", self.credentials);
        for (setting, help) in [("revocationUrl", self.revocation_url), ("redirectUri", self.redirect_uri)] {
            if let Some(help) = help {
                set(setting, "description", help);
            }
        }
        for setting in
            ["clientId", "clientSecret", "clientAuthentication", "tokenUrl", "authorizationUrl", "redirectUri"]
        {
            set(setting, "x-doc", self.documentation);
        }
        for setting in ["tokenUrl", "authorizationUrl"] {
            set(setting, "x-group", "advanced");
        }
        set("tokenUrl", "default", self.token_url);
        set("authorizationUrl", "default", self.authorization_url);
        for setting in ["tokenUrl", "authorizationUrl"] {
            if let Some(Value::Object(property)) = properties.get_mut(setting) {
                without_null(property);
            }
        }
    }

    /// Returns settings in which the URLs that the connection leaves out are the vendor's.
    ///
    /// # Errors
    ///
    /// `internal` if a preset is not a URL.
    pub fn fill(&self, settings: OAuthSettings) -> Result<OAuthSettings> {
        let preset = |text: &str| {
            Url::parse(text).map_err(|error| Error::new(ErrorKind::Internal, format!("the preset {text}: {error}")))
        };
        let (token_url, authorization_url) = (preset(self.token_url)?, preset(self.authorization_url)?);
        Ok(OAuthSettings {
            token_url: settings.token_url.or(Some(token_url)),
            authorization_url: settings.authorization_url.or(Some(authorization_url)),
            ..settings
        })
    }
}

/// Makes an optional property of an object required.
fn require(schema: &mut Schema, setting: &str) {
    let schema = schema.ensure_object();
    if let Some(Value::Object(property)) = schema.get_mut("properties").and_then(|all| all.get_mut(setting)) {
        without_null(property);
    }
    if let Value::Array(required) = schema.entry("required").or_insert_with(|| Value::Array(Vec::new()))
        && !required.iter().any(|name| name == setting)
    {
        required.push(setting.into());
    }
}

/// Removes `null` from the values of an optional property.
fn without_null(property: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = property.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = &types[..] {
            let only = only.clone();
            property.insert("type".into(), only);
        }
    }
    let Some(Value::Array(branches)) = property.get_mut("anyOf") else { return };
    branches.retain(|branch| branch.get("type").is_none_or(|kind| kind != "null"));
    if let [Value::Object(only)] = &branches[..] {
        let only = only.clone();
        property.remove("anyOf");
        for (keyword, value) in only {
            property.entry(keyword).or_insert(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use trunkline_core::schema_of;

    const EXAMPLE: OAuthPresets = OAuthPresets {
        token_url: "https://login.example.com/token",
        authorization_url: "https://login.example.com/authorize",
        credentials: "From Example.",
        documentation: "https://docs.example.com/sign-in",
        revocation_url: None,
        redirect_uri: Some("As registered."),
    };

    #[derive(Deserialize, JsonSchema)]
    #[schemars(transform = |schema: &mut Schema| EXAMPLE.describe(schema))]
    struct Example {
        #[serde(flatten)]
        oauth: OAuthSettings,
    }

    #[test]
    fn presets_fill_the_form_and_the_values() {
        let schema = schema_of::<Example>();
        let property = |name: &str| &schema["properties"][name];
        assert_eq!(schema["required"], json!(["clientId", "clientSecret"]));
        assert_eq!(property("tokenUrl")["default"], "https://login.example.com/token");
        assert_eq!(property("tokenUrl")["type"], "string");
        assert_eq!(property("redirectUri")["description"], "As registered.");
        assert_eq!(property("redirectUri")["type"], json!(["string", "null"]));
        assert_eq!(
            (&property("clientSecret")["writeOnly"], &property("clientSecret")["format"]),
            (&json!(true), &json!("password"))
        );
        assert_eq!(property("clientSecret")["description"], "From Example.");
        let given = json!({ "clientId": "id", "clientSecret": "s", "tokenUrl": "https://other.example/token" });
        let settings: Example = serde_json::from_value(given).unwrap();
        let oauth = EXAMPLE.fill(settings.oauth).unwrap().oauth(Grant::AuthorizationCode, "a  b").unwrap();
        assert_eq!(oauth.token_url.as_str(), "https://other.example/token");
        assert_eq!(oauth.authorization_url.unwrap().as_str(), "https://login.example.com/authorize");
        assert_eq!(oauth.scopes, ["a", "b"]);
    }

    #[test]
    fn a_missing_url_names_its_setting() {
        let settings = |url: &str| -> OAuthSettings {
            serde_json::from_value(json!({ "clientId": "id", url: "https://login.example.com" })).unwrap()
        };
        let error = settings("tokenUrl").oauth(Grant::AuthorizationCode, "").err().unwrap();
        assert_eq!((error.kind(), error.setting_pointer()), (ErrorKind::Config, Some("/authorizationUrl")));
        let error = settings("authorizationUrl").oauth(Grant::AuthorizationCode, "").err().unwrap();
        assert_eq!((error.kind(), error.setting_pointer()), (ErrorKind::Config, Some("/tokenUrl")));
        assert!(settings("tokenUrl").oauth(Grant::ClientCredentials, "").is_ok());
    }
}
