//! The services of the sandbox and their base paths.

use serde::Serialize;

/// The services that share the listener, each below its own base path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Service {
    Mediaflow,
    MediaflowLogin,
    MediaflowFiles,
    Mediavalet,
    MediavaletLogin,
    Blob,
    /// The sandbox's own pages.
    Sandbox,
    /// A path outside all services: the response is 404.
    Unknown,
}

impl Service {
    pub(crate) const BASES: [(&'static str, Service); 6] = [
        ("/mediaflow/1", Service::Mediaflow),
        ("/mediaflow-login", Service::MediaflowLogin),
        ("/mediaflow-files", Service::MediaflowFiles),
        ("/mediavalet", Service::Mediavalet),
        ("/mediavalet-login", Service::MediavaletLogin),
        ("/blob", Service::Blob),
    ];

    /// Returns the service that serves `path`.
    pub(crate) fn of(path: &str) -> Service {
        if path == "/" || path.starts_with("/_sandbox/") {
            return Service::Sandbox;
        }
        let under = |base: &str| path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        Service::BASES.iter().find(|(base, _)| under(base)).map_or(Service::Unknown, |(_, service)| *service)
    }

    pub(crate) fn base(self) -> &'static str {
        Service::BASES.iter().find(|(_, service)| *service == self).map_or("", |(base, _)| base)
    }

    pub(crate) fn is_api(self) -> bool {
        matches!(self, Service::Mediaflow | Service::Mediavalet)
    }

    pub(crate) fn is_faultable(self) -> bool {
        self.is_api() || matches!(self, Service::Blob | Service::MediaflowFiles)
    }
}
