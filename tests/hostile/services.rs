//! Attacks by the services behind connections: runs that call them, one after the other.

use serde_json::json;
use tokio::task::JoinSet;

use super::healthy::Target;

/// The number of runs of each flow and path at the same time.
const AT_ONCE: usize = 2;

/// Starts runs until the task is dropped. Each of them calls a path of the peer.
pub(crate) fn start(calls: &[(&'static str, &'static str)], target: &Target) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for (flow, path) in calls.iter().flat_map(|call| [*call; AT_ONCE]) {
        let (target, http) = (target.clone(), trunkline_tests::http());
        tasks.spawn(async move {
            loop {
                let _ = run(&target, &http, flow, path).await;
            }
        });
    }
    tasks
}

/// Starts a run, and waits for its end.
async fn run(target: &Target, http: &reqwest::Client, flow: &str, path: &str) -> Option<()> {
    let url = format!("{}/rest/v1/flows/{flow}/runs", target.server);
    let body = json!({ "input": { "path": format!("/{path}"), "kind": path } });
    let started = http.post(url).bearer_auth(&target.token).json(&body).send().await.ok()?;
    let started: serde_json::Value = started.json().await.ok()?;
    let url = format!("{}/rest/v1/runs/{}", target.server, started["run"].as_str()?);
    loop {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let run = http.get(&url).bearer_auth(&target.token).send().await.ok()?;
        let run: serde_json::Value = run.json().await.ok()?;
        if run["status"] != "running" {
            return Some(());
        }
    }
}
