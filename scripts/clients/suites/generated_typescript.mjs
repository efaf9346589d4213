// Types that openapi-typescript makes from the document that the platform serves, with openapi-fetch: this
// file compiles against them, and one call of each tag answers.
// REQUIRES = ["openapi-typescript@7.13.0", "openapi-fetch@0.17.0", "typescript@5.9.3", "@types/node@26.6.6"]
// CALLS = ["account.get", "anthropic.messages.create", "backends.list", "deployments.list", "files.list", "models.get", "oip.infer", "ollama.chat", "openai.chat.completions.create", "platform.status", "predictions.create", "rerank.create", "tei.model.embed", "webhooks.secret"]
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import createClient from "openapi-fetch";

const here = dirname(fileURLToPath(import.meta.url));
const { TEXT = "", EMBED = "", ECHO = "", RANKER = "", LOVAGE_URL: baseUrl = "", LOVAGE_KEY = "" } = process.env;
/** @param {string} tool @param {string[]} more */
const run = (tool, ...more) =>
  execFileSync(process.execPath, [join(here, "node_modules", tool), ...more], { cwd: here, stdio: "inherit" });
run("openapi-typescript/bin/cli.js", `${baseUrl}/openapi.json`, "-o", "lovage.d.ts", "--default-non-nullable=false");
const checks = ["--noEmit", "--allowJs", "--checkJs", "--strict", "--skipLibCheck", "--target", "es2023"];
run("typescript/bin/tsc", ...checks, "--module", "nodenext", "--types", "node", "generated_typescript.mjs");

/** @type {import("openapi-fetch").Client<import("./lovage.js").paths>} */
const client = createClient({ baseUrl, headers: { Authorization: `Bearer ${LOVAGE_KEY}` } });
/** What an answer holds that is no stream.
 * @template T @param {Promise<{data?: T, error?: unknown}>} answer
 * @returns {Promise<Exclude<NonNullable<T>, string>>} */
async function data(answer) {
  const { data, error } = await answer;
  assert.equal(error, undefined);
  assert.ok(data && typeof data !== "string");
  return /** @type {Exclude<NonNullable<T>, string>} */ (data);
}

const text = { model: TEXT, messages: [{ role: /** @type {const} */ ("user"), content: "Hello" }] };
const [owner = "", name = ""] = TEXT.split("/");
assert.ok((await data(client.GET("/v1/account"))).username);
assert.ok((await data(client.POST("/v1/messages", { body: { ...text, max_tokens: 4 } }))).content);
assert.deepEqual((await data(client.GET("/v1/backends"))).results, []);
assert.ok((await data(client.GET("/v1/deployments"))).results);
assert.ok((await data(client.GET("/v1/files"))).results);
assert.equal((await data(client.GET("/v1/models/{owner}/{name}", { params: { path: { owner, name } } }))).name, name);
const inputs = [{ name: "text", datatype: "BYTES", shape: [1], data: ["hello"] }];
const infer = client.POST("/v2/models/{model}/infer", { params: { path: { model: ECHO } }, body: { inputs } });
assert.ok((await data(infer)).outputs);
const ollama = { ...text, stream: false, options: { num_predict: 4 } };
assert.ok((await data(client.POST("/api/chat", { body: ollama }))).message.content);
const chat = await data(client.POST("/v1/chat/completions", { body: { ...text, max_tokens: 4 } }));
assert.equal(chat.usage.completion_tokens, 4);
assert.ok((await data(client.GET("/status"))).live_workers);
const made = client.POST("/v1/predictions", {
  params: { header: { Prefer: "wait" } },
  body: { version: ECHO, input: { text: "hello" } },
});
assert.equal((await data(made)).status, "succeeded");
const ranked = { model: RANKER, query: "a", documents: ["b", "c"] };
assert.equal((await data(client.POST("/v1/rerank", { body: ranked }))).results.length, 2);
const [maker = "", embedder = ""] = EMBED.split("/");
const path = { owner: maker, name: embedder };
const embed = client.POST("/tei/{owner}/{name}/embed", { params: { path }, body: { inputs: ["a", "b"] } });
assert.equal((await data(embed)).length, 2);
assert.ok((await data(client.GET("/v1/webhooks/default/secret"))).key);
const wrong = await client.POST("/v1/predictions", { body: { version: "nobody/none", input: {} } });
assert.equal(wrong.error?.status, 404);
