//! Sign-ins and token refreshes against the sandbox's login servers and against oidc-provider.

mod oauth;
mod oidc;
mod refresh;
