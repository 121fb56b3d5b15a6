// A page that draws a form from a schema with an unchanged form library, operates it, and reports what a person would
// stumble over.
import Form from "@rjsf/core";
import { Component } from "react";
import { flushSync } from "react-dom";
import { createRoot } from "react-dom/client";
import validator from "./validator.js";

const errors = [];
for (const kind of ["error", "warn"]) {
  console[kind] = (...words) => errors.push(words.map(String).join(" ").slice(0, 300));
}
window.addEventListener("error", (event) => errors.push(String(event.message)));

/** Keeps an error of one form from ending the page. */
class Boundary extends Component {
  state = {};
  static getDerivedStateFromError(error) {
    return { error };
  }
  render() {
    return this.state.error ? null : this.props.children;
  }
}

const place = document.getElementById("form");
const root = createRoot(place);
let drawn = 0;

function draw(schema) {
  drawn += 1;
  const form = <Form schema={schema} validator={validator} idSeparator="/" noHtml5Validate onSubmit={() => {}} />;
  flushSync(() => root.render(<Boundary key={drawn}>{form}</Boundary>));
}

function choose(id, option) {
  const select = document.getElementById(id);
  if (!select?.options[option]) return false;
  select.value = select.options[option].value;
  flushSync(() => select.dispatchEvent(new Event("change", { bubbles: true })));
  return true;
}

/** Adds an item to each empty list, so that its fields are there, too. */
function addItems() {
  for (let depth = 0; depth < 3; depth += 1) {
    for (const button of place.querySelectorAll(".rjsf-array-item-add button:not([data-used])")) {
      button.dataset.used = "yes";
      flushSync(() => button.click());
    }
  }
}

/** Returns the names of the members that hold a secret. */
function secrets(schema, found = new Set()) {
  for (const [name, member] of Object.entries(schema?.properties ?? {})) {
    if ((member?.writeOnly && member.type !== "object") || member?.format === "password") found.add(name);
  }
  if (schema && typeof schema === "object") Object.values(schema).forEach((part) => secrets(part, found));
  return found;
}

/** Returns the values of a choice that have no words for people. */
function bareChoices(schema, at = "") {
  if (!schema || typeof schema !== "object") return [];
  const found = [];
  if (Array.isArray(schema.enum)) found.push(`${at}: the choices ${JSON.stringify(schema.enum)} have no title`);
  for (const branch of [...(schema.oneOf ?? []), ...(schema.anyOf ?? [])]) {
    if (!branch.title) found.push(`${at}: the choice ${JSON.stringify(branch).slice(0, 60)} has no title`);
  }
  for (const [key, part] of Object.entries(schema)) {
    if (!["const", "enum", "default", "examples"].includes(key)) found.push(...bareChoices(part, `${at}/${key}`));
  }
  return found;
}

/** Returns whether a name is a word that may stand as a title. */
const isWord = (name) => /^[A-Z][a-z]+$/.test(name);

/** Returns what is wrong with the form as it is drawn now. */
function faults(hidden) {
  const found = errors.splice(0).map((text) => `error: ${text}`);
  for (const one of place.querySelectorAll(".unsupported-field")) found.push(`cannot be drawn: ${one.textContent.slice(0, 200)}`);
  const fields = [...place.querySelectorAll("input:not([type=hidden]), select, textarea")];
  for (const field of fields) {
    const name = field.id.split("/").pop();
    const label = [...(field.labels ?? [])].map((one) => one.textContent.replace("*", "").trim()).find((text) => text);
    if (label === name && !isWord(name)) found.push(`${field.id}: the field has no title`);
    if (hidden.has(name) && field.tagName === "INPUT" && field.type !== "password") {
      found.push(`${field.id}: the secret can be read while it is typed`);
    }
  }
  for (const legend of place.querySelectorAll("fieldset > legend[id]")) {
    const name = legend.id.split("/").pop().replace("__title", "");
    if (name !== "root" && legend.textContent.trim() === name && !isWord(name)) found.push(`${legend.id}: the group has no title`);
  }
  for (const name of hidden) {
    const nodes = [...place.querySelectorAll(`.form-group[class*=rjsf-field]`)].filter((one) => one.querySelector(`[id$="/${name}"]`));
    if (nodes.length && !nodes.some((one) => one.querySelector("input[type=password]"))) {
      const chosen = place.querySelector(`select[id$="/${name}__anyof_select"]`);
      if (!chosen || chosen.selectedIndex === 0) found.push(`${name}: the secret has no field to type it`);
    }
  }
  return { found, fields: fields.map((one) => one.id) };
}

const selects = () => [...place.querySelectorAll("select")].filter((one) => !one.disabled).map((one) => one.id);
const labelOf = ([id, option]) => [id, document.getElementById(id)?.options[option]?.text ?? ""];

/** Draws a form, makes each choice once, and those that appear with a choice as well. */
window.check = (schema) => {
  const hidden = secrets(schema);
  const found = new Set(bareChoices(schema));
  const states = [];
  const walk = (path, known) => {
    draw(schema);
    addItems();
    const labels = [];
    for (const [id, option] of path) {
      labels.push(labelOf([id, option]));
      if (!choose(id, option)) return;
    }
    addItems();
    const now = faults(hidden);
    states.push({ choices: labels, fields: now.fields });
    const where = labels.map(([id, label]) => `${id}=${label} `).join("");
    now.found.forEach((one) => found.add(where + one));
    const fresh = selects().filter((id) => !known.has(id));
    const more = fresh.flatMap((id) => [...document.getElementById(id).options].map((_, option) => [id, option]));
    const after = new Set([...known, ...fresh]);
    if (path.length < 4) more.forEach((choice) => walk([...path, choice], after));
  };
  walk([], new Set());
  return { found: [...found], states };
};

window.show = (schema, choices) => {
  draw(schema);
  return choices.every(([id, option]) => choose(id, option));
};
