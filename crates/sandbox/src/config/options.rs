//! The options a caller starts the sandbox with, and the URLs and credentials it gets back.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Faults;

/// The options of a sandbox. The default is a library of 500 files on a free loopback port.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address to listen on. Port 0 picks a free port.
    pub bind: SocketAddr,
    /// The number of files in the Mediaflow library.
    pub files: u64,
    /// The seed of the random generator. The same seed makes the same library, byte for byte.
    pub seed: u64,
    /// The size of the smallest possible file, in bytes. Sizes are log-uniformly distributed.
    pub min_size: u64,
    /// The size of the largest possible file, in bytes.
    pub max_size: u64,
    /// Whether some files are special: about 4 % must not be downloaded, 4 % lack GDPR consent, and 6 % are already in
    /// MediaValet.
    pub refusals: bool,
    /// The lifetime of the access tokens of both login servers.
    pub token_lifetime: Duration,
    /// How MediaValet's login server treats a refresh token that was used.
    pub refresh_policy: RefreshPolicy,
    /// How long MediaValet processes an asset after its upload was finalised.
    pub processing: Duration,
    /// The faults in force at the start. [`Sandbox::set_faults`](crate::Sandbox::set_faults) replaces them.
    pub faults: Faults,
    /// The folder that makes the state survive a crash of the process. To continue with it, the caller has to pass the
    /// same port and the same options that define the library (files, seed, sizes, refusals). `None` uses a temporary
    /// folder.
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

/// How MediaValet's login server treats a refresh token that was used. Under each policy, every token response has a
/// new refresh token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefreshPolicy {
    /// The old token stays valid.
    #[default]
    Reuse,
    /// The old token becomes invalid, and using it again revokes all tokens of the same sign-in.
    OneTime,
    /// As `OneTime`, but a second use within this time is accepted like the first.
    OneTimeGrace(Duration),
}

/// The URLs of one system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The base URL of the API.
    pub endpoint_url: String,
    /// The token endpoint.
    pub token_url: String,
    /// The sign-in page.
    pub authorization_url: String,
}

/// The URLs of both systems.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// URLs of the Mediaflow simulator.
    pub mediaflow: Endpoint,
    /// URLs of the MediaValet simulator.
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

/// The credentials that Mediaflow's login server accepts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaflowCredentials {
    /// The OAuth client id.
    pub client_id: String,
    /// The OAuth client secret.
    pub client_secret: String,
    /// The long-lived refresh token ("server key").
    pub refresh_token: String,
    /// The user of the password grant and of the sign-in page.
    pub username: String,
    /// The password of `username`.
    pub password: String,
}

/// The credentials that MediaValet's gateway and login server accept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediavaletCredentials {
    /// The OAuth client id.
    pub client_id: String,
    /// The OAuth client secret.
    pub client_secret: String,
    /// The value of the header `Ocp-Apim-Subscription-Key`.
    pub subscription_key: String,
    /// The user with all permissions.
    pub username: String,
    /// The password of `username`.
    pub password: String,
    /// The user that may only read.
    pub viewer_username: String,
    /// The password of `viewer_username`.
    pub viewer_password: String,
}

/// The fixed credentials of both systems. They are valid in this sandbox only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// Credentials for Mediaflow.
    pub mediaflow: MediaflowCredentials,
    /// Credentials for MediaValet.
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

/// Returns a connection document for each system, first Mediaflow, then MediaValet.
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
