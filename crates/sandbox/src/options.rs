//! What a caller chooses before the sandbox starts, and what it is told afterwards: addresses and credentials.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Faults;

/// How the sandbox is made. `Options::default()` is a library of 500 files on an ephemeral loopback port.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address to listen on; port 0 picks a free one.
    pub bind: SocketAddr,
    /// How many files the Mediaflow library holds.
    pub files: u64,
    /// The same seed makes the same library, byte for byte.
    pub seed: u64,
    /// Smallest file in bytes; sizes are drawn log-uniformly.
    pub min_size: u64,
    /// Largest file in bytes.
    pub max_size: u64,
    /// About 4 % of the files may not be downloaded, 4 % lack GDPR consent, 6 % are in MediaValet already.
    pub refusals: bool,
    /// Lifetime of the access tokens of both login servers.
    pub token_lifetime: Duration,
    /// What MediaValet's login server does with a refresh token that was used.
    pub refresh_policy: RefreshPolicy,
    /// How long an asset is being processed after its upload was finalised.
    pub processing: Duration,
    /// Faults from the start on; [`Sandbox::set_faults`](crate::Sandbox::set_faults) changes them.
    pub faults: Faults,
    /// Folder in which everything that was answered survives the death of the process. The caller keeps the options
    /// that define the library (files, seed, sizes, refusals) and the port, and passes the same ones again.
    pub state: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            files: 500,
            seed: 1,
            min_size: 1024,
            max_size: 20 * 1024 * 1024,
            refusals: false,
            token_lifetime: Duration::from_secs(3600),
            refresh_policy: RefreshPolicy::default(),
            processing: Duration::from_millis(200),
            faults: Faults::default(),
            state: None,
        }
    }
}

/// What becomes of a MediaValet refresh token once it was used. Every answer carries a new one in all three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefreshPolicy {
    /// The old one keeps working.
    #[default]
    Reuse,
    /// The old one is dead, and using it again revokes everything that came from the same sign-in.
    OneTime,
    /// As `OneTime`, but a second use within this time is answered as if it were the first.
    OneTimeGrace(Duration),
}

/// Addresses of one system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Base of the API.
    pub endpoint_url: String,
    /// Token endpoint.
    pub token_url: String,
    /// Sign-in page.
    pub authorization_url: String,
}

/// Addresses of both systems.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// The Mediaflow look-alike.
    pub mediaflow: Endpoint,
    /// The MediaValet look-alike.
    pub mediavalet: Endpoint,
}

impl Endpoints {
    pub(crate) fn at(base: &str) -> Endpoints {
        Endpoints {
            mediaflow: Endpoint {
                endpoint_url: format!("{base}/mediaflow/1"),
                token_url: format!("{base}/mediaflow-login/1/oauth2/token"),
                authorization_url: format!("{base}/mediaflow-login/authorize"),
            },
            mediavalet: Endpoint {
                endpoint_url: format!("{base}/mediavalet"),
                token_url: format!("{base}/mediavalet-login/connect/token"),
                authorization_url: format!("{base}/mediavalet-login/connect/authorize"),
            },
        }
    }
}

/// What Mediaflow's login server accepts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaflowCredentials {
    /// OAuth client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// The long-lived server key.
    pub refresh_token: String,
    /// User of the password grant and of the sign-in page.
    pub username: String,
    /// The user's password.
    pub password: String,
}

/// What MediaValet's gateway and login server accept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediavaletCredentials {
    /// OAuth client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// Key for the header `Ocp-Apim-Subscription-Key`.
    pub subscription_key: String,
    /// User who may do everything.
    pub username: String,
    /// The user's password.
    pub password: String,
    /// User who may only read.
    pub viewer_username: String,
    /// That user's password.
    pub viewer_password: String,
}

/// The fixed credentials of both systems. They open nothing but this sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// The Mediaflow look-alike.
    pub mediaflow: MediaflowCredentials,
    /// The MediaValet look-alike.
    pub mediavalet: MediavaletCredentials,
}

impl Default for Credentials {
    fn default() -> Self {
        Credentials {
            mediaflow: MediaflowCredentials {
                client_id: "sandbox-mediaflow".into(),
                client_secret: "sandbox-mediaflow-secret".into(),
                refresh_token: "sandbox-mediaflow-server-key".into(),
                username: "editor@example.com".into(),
                password: "sandbox-editor".into(),
            },
            mediavalet: MediavaletCredentials {
                client_id: "sandbox-mediavalet".into(),
                client_secret: "sandbox-mediavalet-secret".into(),
                subscription_key: "0123456789abcdef0123456789abcdef".into(),
                username: "integration@example.com".into(),
                password: "sandbox-integration".into(),
                viewer_username: "viewer@example.com".into(),
                viewer_password: "sandbox-viewer".into(),
            },
        }
    }
}

/// Connection documents for both systems, ready to use.
pub(crate) fn settings(endpoints: &Endpoints, credentials: &Credentials) -> Vec<Value> {
    let (flow, valet) = (&credentials.mediaflow, &credentials.mediavalet);
    vec![
        json!({
            "name": "mediaflow",
            "connector": "mediaflow-v1.0",
            "endpointUrl": endpoints.mediaflow.endpoint_url,
            "allowPrivateNetwork": true,
            "authentication": "oauth2",
            "flows": "refresh_token",
            "clientId": flow.client_id,
            "clientSecret": flow.client_secret,
            "tokenUrl": endpoints.mediaflow.token_url,
            "refreshToken": flow.refresh_token,
        }),
        json!({
            "name": "mediavalet",
            "connector": "mediavalet-v1.0",
            "endpointUrl": endpoints.mediavalet.endpoint_url,
            "allowPrivateNetwork": true,
            "subscriptionKey": valet.subscription_key,
            "authentication": "oauth2",
            "flows": "password",
            "clientId": valet.client_id,
            "clientSecret": valet.client_secret,
            "tokenUrl": endpoints.mediavalet.token_url,
            "authorizationUrl": endpoints.mediavalet.authorization_url,
            "scopes": "openid api offline_access",
            "username": valet.username,
            "password": valet.password,
        }),
    ]
}
