//! The choice of active runs when there are more than the limit: no run blocks others without limit.

use serde_json::json;
use trunkline_tests::{Cli, milliseconds, sandbox, until};

use super::{
    Serve,
    runs::{long, short, slow, slowly},
    save,
};

async fn finished_at(serve: &Serve, run: &str) -> u64 {
    let ended = serve.ended(run).await;
    assert_eq!(ended["status"], "succeeded", "{ended}");
    milliseconds(&ended["finished_at"])
}

#[tokio::test]
async fn a_waiting_run_does_not_count_as_active() {
    let cli = Cli::default();
    let wait = json!({ "name": "approval", "steps": [{ "id": "ok", "wait": { "signal": "approved" } }],
        "output": { "by": "{{ steps.ok.by }}" } });
    save(&cli, &wait).await;
    save(&cli, &json!({ "name": "quick", "steps": [{ "id": "pause", "wait": { "for": "10ms" } }] })).await;
    let serve = Serve::with(&cli, &["--listen", "127.0.0.1:0", "--at-once", "1"]).await;
    let waits = serve.run("approval", &json!({})).await;
    until("the wait", async || {
        let (_, reply) = serve.get(&format!("/rest/v1/runs/{waits}")).await;
        reply["waiting"]["ok"].is_object().then_some(())
    })
    .await;
    for _ in 0..3 {
        let quick = serve.run("quick", &json!({})).await;
        finished_at(&serve, &quick).await;
    }
    let signal = format!("/rest/v1/runs/{waits}/signals/approved");
    assert_eq!(serve.post(&signal, &json!({ "by": "Ada" })).await.0, 202);
    assert_eq!(serve.ended(&waits).await["output"], json!({ "by": "Ada" }));
    assert_eq!(serve.post(&signal, &json!({})).await.0, 409, "the run is over");
}

#[tokio::test]
async fn flows_with_many_runs_alternate_with_other_flows() {
    let cli = Cli::default();
    let sandbox = sandbox(slowly(100)).await;
    cli.connect(&sandbox).await;
    save(&cli, &slow("many", json!("parallel"))).await;
    save(&cli, &slow("few", json!("parallel"))).await;
    let serve = Serve::with(&cli, &["--listen", "127.0.0.1:0", "--at-once", "1"]).await;
    serve.run("many", &long()).await;
    let mut many = Vec::new();
    for _ in 0..5 {
        many.push(serve.run("many", &short()).await);
    }
    let few = serve.run("few", &short()).await;
    assert!(finished_at(&serve, &few).await <= finished_at(&serve, &many[0]).await);
    for run in &many {
        finished_at(&serve, run).await;
    }
    sandbox.stop().await;
}

#[tokio::test]
async fn a_flow_can_limit_its_active_runs() {
    let cli = Cli::default();
    let sandbox = sandbox(slowly(100)).await;
    cli.connect(&sandbox).await;
    save(&cli, &slow("two", json!({ "parallel": 2 }))).await;
    let serve = Serve::start(&cli).await;
    let first = [serve.run("two", &long()).await, serve.run("two", &long()).await];
    let third = serve.run("two", &short()).await;
    let ends = [finished_at(&serve, &first[0]).await, finished_at(&serve, &first[1]).await];
    assert!(finished_at(&serve, &third).await >= ends[0].min(ends[1]), "the third waited for one of the first");
    sandbox.stop().await;
}
