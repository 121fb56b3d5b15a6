//! What the operator allows: no setting, no discovered or signed URL and no redirect leads to another host or port.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use futures::{FutureExt, TryStreamExt};
use serde_json::json;
use trunkline_core::*;
use trunkline_rest::*;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{any, path},
};

use crate::support::{login::*, *};

/// An API that the operator allows, and a server that is not in the list.
struct Rig {
    api: MockServer,
    other: MockServer,
    policy: NetworkPolicy,
}

impl Rig {
    /// `allows_all` is the sabotage twin.
    async fn new(allows_all: bool) -> Rig {
        let (api, other) = (MockServer::start().await, MockServer::start().await);
        let elsewhere = ResponseTemplate::new(302).insert_header("location", format!("{}/file", other.uri()));
        Mock::given(path("/moved")).respond_with(elsewhere).mount(&api).await;
        for server in [&api, &other] {
            let body = json!({ "access_token": "a", "token_type": "bearer", "issuer": server.uri() });
            Mock::given(any()).respond_with(ResponseTemplate::new(200).set_body_json(body)).mount(server).await;
        }
        let allowed = NetworkPolicy::any().with_hosts(&format!("api.example.com, {}", api.address())).unwrap();
        Rig { api, other, policy: if allows_all { NetworkPolicy::any() } else { allowed } }
    }

    fn environment(&self) -> HttpEnvironment {
        HttpEnvironment::default().with_network(self.policy.clone())
    }

    fn context(&self) -> ConnectionContext {
        let host = ConnectionHost::from(Arc::new(MemoryVault::default())).with_extension(self.environment());
        ConnectionContext::new("conn", host)
    }

    fn client(&self, base: &str, oauth: Option<OAuth>) -> Result<Client> {
        let auth = oauth.map_or(Auth::Bearer("t".into()), Auth::OAuth);
        builder(base).auth(auth, self.context()).data_hosts(["*"]).build()
    }

    /// The ways to the other server, each with the error that a policy causes, if any.
    async fn ways(&self) -> Vec<(&'static str, Option<Error>)> {
        let (api, other) = (self.api.uri(), self.other.uri());
        let oauth = |token: &str| OAuth {
            token_url: format!("{token}/token").parse().unwrap(),
            ..oauth(&self.api, Grant::ClientCredentials)
        };
        let call = async |client: Result<Client>| get(&client?).await.map(drop);
        let client = || self.client(&api, None).unwrap();
        let download = async |address: String| {
            let locate = move |_| {
                let url = address.parse().unwrap();
                async move { Ok(url) }.boxed()
            };
            let file = client().download(locate, 0, &Context::default()).await?;
            file.bytes.try_collect::<Vec<_>>().await.map(drop)
        };
        let upload = async {
            let (file, cx) = file(10, Some(10));
            let save = |_| async { Ok(()) };
            let url = format!("{other}/upload?sig=x").into();
            client().upload_blocks(&url, &file, BlockCheckpoint::default(), save, &cx).await.map(drop)
        };
        let sign_out = async {
            let revocation_url = Some(format!("{other}/revoke").parse().unwrap());
            let client = self.client(&api, Some(OAuth { revocation_url, ..oauth(&api) }))?;
            get(&client).await.map(drop)
        };
        let refresh = async {
            let client = self.client(&api, Some(OAuth { grant: refresh_token(), ..oauth(&other) }))?;
            get(&client).await.map(drop)
        };
        vec![
            ("the endpoint", call(self.client(&other, None)).await.err()),
            ("the token URL", call(self.client(&api, Some(oauth(&other)))).await.err()),
            ("the token URL of a refresh", refresh.await.err()),
            ("the revocation URL", sign_out.await.err()),
            ("discovery", discover(&self.environment(), &other, true).await.err()),
            ("a signed URL of a download", download(format!("{other}/file?sig=x")).await.err()),
            ("a redirect of a download", download(format!("{api}/moved")).await.err()),
            ("a signed URL of an upload", upload.await.err()),
            ("another port of the same host", call(self.client("http://127.0.0.1:9", None)).await.err()),
            ("another name of the same host", call(self.client(&other.replace("127.0.0.1", "localhost"), None)).await.err()),
        ]
    }
}

fn is_refused(error: &Option<Error>) -> bool {
    let option = NextStep::SetOption { name: "allow-hosts".to_owned() };
    error.as_ref().is_some_and(|error| error.kind() == ErrorKind::Config && error.next_steps().contains(&option))
}

#[tokio::test]
async fn no_way_leads_to_a_host_that_the_operator_does_not_allow() {
    let rig = Rig::new(false).await;
    for (way, error) in rig.ways().await {
        assert!(is_refused(&error), "{way}: {error:?}");
    }
    assert_eq!(rig.other.received_requests().await.unwrap().len(), 0, "nothing arrived");
    get(&rig.client(&rig.api.uri(), None).unwrap()).await.unwrap();
    // The sabotage twin: without the list, the same ways lead there.
    let rig = Rig::new(true).await;
    for (way, error) in rig.ways().await {
        assert!(!is_refused(&error), "{way}: {error:?}");
    }
    assert!(rig.other.received_requests().await.unwrap().len() >= 6);
}

#[tokio::test]
async fn a_connection_reaches_a_private_network_only_with_the_consent_of_the_operator() {
    let rig = Rig::new(true).await;
    let base = rig.api.uri();
    let build = |policy: NetworkPolicy, private: bool| {
        let environment = HttpEnvironment::default().with_network(policy);
        let host = ConnectionHost::from(Arc::new(MemoryVault::default())).with_extension(environment);
        let builder = Client::builder("Test Service", base.parse().unwrap(), table(ROWS)).private_network(private);
        builder.auth(Auth::None, ConnectionContext::new("conn", host)).build()
    };
    let consent = || NetworkPolicy::default().with_private_network(true);
    let error = build(NetworkPolicy::default(), true).err().unwrap();
    assert_eq!((error.kind(), error.setting_pointer()), (ErrorKind::Config, Some("/allowPrivateNetwork")));
    assert!(error.next_steps().contains(&NextStep::SetOption { name: "allow-private-network".to_owned() }), "{error:?}");
    // Consent alone does not open the network to a connection that does not ask for it.
    assert_eq!(build(consent(), false).err().unwrap().setting_pointer(), Some("/endpointUrl"));
    assert!(discover(&HttpEnvironment::default(), &base, true).await.is_err());
    assert_eq!(rig.api.received_requests().await.unwrap().len(), 0);
    // The twin: with the consent of both, the call arrives.
    get(&build(consent(), true).unwrap()).await.unwrap();
}
