// What a host in another language does with the API: connect by OAuth, save a flow, run it, follow it, and read the outcome of
// every item. The types come from the description of the API.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import createClient from "openapi-fetch";

import type { components, paths } from "./openapi.js";

type Event = components["schemas"]["RunEventView"];
type Item = components["schemas"]["Item"];

const variable = (name: string): string => process.env[name] ?? assert.fail(`${name} is not set`);
const server = variable("SERVER");
const headers = { Authorization: `Bearer ${variable("TOKEN")}` };
const api = createClient<paths>({ baseUrl: server, headers });

/** Returns the body of a success, or fails with the problem. */
function ok<T>(result: { data?: T; error?: components["schemas"]["Problem"] }): T {
  assert.equal(result.error, undefined, result.error?.detail);
  return result.data ?? assert.fail("there is no body");
}

// The catalogue leads to the connector and to what it can do.
const connectors = ok(await api.GET("/rest/v1/connectors")).items;
assert.ok(connectors.some((one) => one.name === "mediavalet"));
const actions = ok(await api.GET("/rest/v1/actions", { params: { query: { connector: "mediaflow", search: "download", lists: false } } })).items;
assert.ok(actions.length > 0 && actions.every((one) => one.connector === "mediaflow"));

// Connect: one account signs in with a code in the browser, the other with a password.
const documents = JSON.parse(variable("CONNECTIONS"));
const added = ok(await api.POST("/rest/v1/connections", { body: { connections: documents } }));
assert.deepEqual([added.added].flat().sort(), ["mediaflow", "mediavalet"]);
const begun = ok(await api.POST("/rest/v1/connections/{name}/authorize", { params: { path: { name: "mediavalet" } } }));
const approved = await fetch(`${begun.open}&approve=1`, { redirect: "manual" });
const returned = await fetch(approved.headers.get("location") ?? assert.fail("the login server does not redirect"));
assert.equal(returned.status, 200);
for (const name of ["mediaflow", "mediavalet"]) {
  const check = ok(await api.POST("/rest/v1/connections/{name}/check", { params: { path: { name } } }));
  assert.ok(check.ok, JSON.stringify(check));
}

// A faulty flow is refused with the place of each fault.
const document = JSON.parse(readFileSync(variable("FLOW"), "utf8"));
const faulty = { ...document, steps: [{ id: "x", action: "mediavalet.asset.nothing" }] };
const refused = await api.POST("/rest/v1/flows", { body: { flow: { document: faulty } } });
assert.equal(refused.response.status, 422);
assert.ok(refused.error?.findings?.some((one) => one.pointer.startsWith("/steps/0")), JSON.stringify(refused.error));
const report = ok(await api.POST("/rest/v1/flows/validate", { body: { flow: { document } } }));
assert.ok(report.ok, JSON.stringify(report.findings));

// Save the flow and run it.
const connections = { source: "mediaflow", target: "mediavalet" };
const name = ok(await api.POST("/rest/v1/flows", { body: { flow: { document }, connections } })).added.name;
const input = JSON.parse(variable("INPUT"));
const started = await api.POST("/rest/v1/flows/{name}/runs", { params: { path: { name } }, body: { input } });
assert.equal(started.response.status, 202);
const { run } = ok(started);

// Follow it until it has ended. A stream that breaks continues after the last event.
const events: Event[] = [];
let last = "0";
for (let stream = 0; events.at(-1)?.event !== "succeeded"; stream += 1) {
  assert.ok(stream < 100, JSON.stringify(events.at(-1)));
  const response = await fetch(`${server}/rest/v1/runs/${run}/events`, { headers: { ...headers, "Last-Event-ID": last } });
  if (response.status === 204) break;
  let text = "";
  for await (const chunk of response.body ?? assert.fail("there is no stream")) {
    text += Buffer.from(chunk).toString();
    // Every stream is cut after a few events, except the last ones.
    if (stream < 3 && text.split("\n\n").length > 5) break;
  }
  for (const block of text.split("\n\n").slice(0, -1)) {
    const lines = new Map(block.split("\n").map((line) => line.split(/: ?(.*)/s) as [string, string]));
    const data = lines.get("data");
    if (data === undefined) continue;
    last = lines.get("id") ?? assert.fail(block);
    events.push(JSON.parse(data));
  }
}
assert.deepEqual(events.map((one) => one.seq), events.map((_, index) => index + 1), "no event is missing or comes twice");

// Read the outcomes to the last page.
const items: Item[] = [];
for (let cursor: string | undefined; ; ) {
  const page = ok(await api.GET("/rest/v1/runs/{run}/items", { params: { path: { run }, query: { limit: 7, cursor } } }));
  // The same route responds with CSV to clients that accept nothing else.
  if (typeof page === "string") throw new assert.AssertionError({ message: "the page is no JSON" });
  items.push(...page.items);
  if (page.next == null) break;
  cursor = page.next;
}
const ended = ok(await api.GET("/rest/v1/runs/{run}", { params: { path: { run } } }));
assert.equal(ended.status, "succeeded");
assert.equal(items.length, Number(variable("FILES")));
assert.ok(items.every((one) => one.status === "done"));
console.log(`${items.length} items, ${events.length} events`);
