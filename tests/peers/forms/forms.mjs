// Draws the forms of all schemas of a file in Chromium, and prints what it has found as JSON.
//
//   node forms.mjs SCHEMAS.json [FOLDER FOR PICTURES]
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";
import { chromium } from "playwright-core";

const [file, pictures] = process.argv.slice(2);
const bundle = await build({
  entryPoints: [join(import.meta.dirname, "page.jsx")],
  bundle: true,
  write: false,
  jsx: "automatic",
  // The library names this validator in a helper for tests, which is not used here.
  alias: { "@rjsf/validator-ajv8": join(import.meta.dirname, "validator.js") },
  define: { "process.env.NODE_ENV": '"development"' },
});
const style = readFileSync(join(import.meta.dirname, "page.css"), "utf8");
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
// Root may not use the sandbox of Chromium; the page has only what this folder has.
const browser = await chromium.launch({ executablePath, args: process.getuid?.() === 0 ? ["--no-sandbox"] : [] });
const page = await browser.newPage();
await page.setContent(`<!doctype html><title>forms</title><style>${style}</style><div id="form"></div>`);
await page.addScriptTag({ content: bundle.outputFiles[0].text });
const schemas = JSON.parse(readFileSync(file, "utf8"));
const report = {};
for (const [name, schema] of Object.entries(schemas)) {
  report[name] = await page.evaluate((one) => window.check(one), schema);
}
if (pictures) {
  const shown = JSON.parse(process.env.SHOWN ?? "[]");
  for (const [name, choices] of shown) {
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      await page.evaluate(([one, all]) => window.show(one, all), [schemas[name], choices]);
      await page.screenshot({ path: join(pictures, `${name.replaceAll(/[^a-z._-]/g, "-")}-${choices.flat().join("-").replaceAll("/", "")}-${colorScheme}.png`), fullPage: true });
    }
  }
}
await browser.close();
console.log(JSON.stringify(report));
