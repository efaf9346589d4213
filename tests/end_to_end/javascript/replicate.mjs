// The `replicate` client for JavaScript, unmodified, with its base URL pointed at LOVAGE_URL.
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { test } from "node:test";
import Replicate, { validateWebhook } from "replicate";

const replicate = new Replicate({ auth: process.env.LOVAGE_KEY, baseUrl: `${process.env.LOVAGE_URL}/v1` });

async function statusBecomes(id, wanted, seconds = 30) {
  const until = Date.now() + seconds * 1000;
  let found;
  do {
    found = await replicate.predictions.get(id);
    if (found.status === wanted) return found;
    await new Promise((resolve) => setTimeout(resolve, 100));
  } while (Date.now() < until);
  assert.fail(`${id} is ${found.status}, not ${wanted}, after ${seconds} s`);
}

const refused = (status, pattern) => (error) => {
  assert.equal(error.response.status, status);
  assert.match(error.message, pattern);
  return true;
};

test("run returns the output, by name and by version", async () => {
  assert.equal(await replicate.run("demo/echo", { input: { text: "hello" } }), "hello");
  const { latest_version } = await replicate.models.get("demo", "echo");
  assert.equal(await replicate.run(`demo/echo:${latest_version.id}`, { input: { text: "again" } }), "again");
  assert.equal((await replicate.run("demo/minilm", { input: { text: "hello" } })).length, 384);
});

test("run that polls tells of its progress", async () => {
  const seen = [];
  const wait = { mode: "poll", interval: 50 };
  const output = await replicate.run("demo/echo", { input: { text: "x", seconds: 0.3 }, wait }, (made) => seen.push(made.status));
  assert.equal(output, "x");
  assert.ok(["starting", "processing"].includes(seen[0]), seen[0]);
  assert.equal(seen.at(-1), "succeeded");
});

test("run raises what the model failed with", async () => {
  await assert.rejects(replicate.run("demo/echo", { input: { fail: "no luck" } }), /no luck/);
});

test("run that is aborted cancels its prediction", async () => {
  const leaving = new AbortController();
  let id;
  const options = { input: { seconds: 60 }, wait: { mode: "poll", interval: 50 }, signal: leaving.signal };
  const progress = (made) => {
    id ??= made.id;
    if (made.status === "processing") leaving.abort();
  };
  await replicate.run("demo/echo", options, progress).catch((error) => assert.equal(error.name, "AbortError"));
  await statusBecomes(id, "canceled");
});

test("stream yields the pieces in order, then done", async () => {
  const events = [];
  for await (const event of replicate.stream("demo/echo", { input: { text: "a b\nc", chunks: 5, seconds: 0.3 } })) events.push(event);
  const pieces = events.filter(({ event }) => event === "output");
  assert.equal(pieces.length, 5);
  assert.equal(pieces.map(({ data }) => data).join(""), "a b\nc");
  assert.equal(events.at(-1).event, "done");
  assert.equal(new Set(events.map(({ id }) => id)).size, events.length);
});

test("a prediction is created, got, waited for and listed", async () => {
  const made = await replicate.predictions.create({ model: "demo/echo", input: { text: "x", seconds: 0.3 } });
  assert.ok(["starting", "processing"].includes(made.status), made.status);
  assert.equal((await replicate.predictions.get(made.id)).id, made.id);
  const ended = await replicate.wait(made, { interval: 50 });
  assert.deepEqual([ended.status, ended.output], ["succeeded", "x"]);
  assert.ok(ended.metrics.predict_time >= 0.3);
  assert.ok((await replicate.predictions.list()).results.some(({ id }) => id === made.id));
});

test("a create that waits comes back ended", async () => {
  const made = await replicate.predictions.create({ model: "demo/echo", input: { text: "y" }, wait: 30 });
  assert.deepEqual([made.status, made.output], ["succeeded", "y"]);
});

test("every page of predictions is walked without a repeat", async () => {
  await replicate.predictions.create({ model: "demo/echo", input: {}, wait: true });
  const ids = [];
  for await (const page of replicate.paginate(replicate.predictions.list)) ids.push(...page.map(({ id }) => id));
  assert.ok(ids.length > 0);
  assert.equal(new Set(ids).size, ids.length);
});

test("cancel stops a running prediction", async () => {
  const made = await replicate.predictions.create({ model: "demo/echo", input: { seconds: 60 } });
  await statusBecomes(made.id, "processing");
  assert.equal((await replicate.predictions.cancel(made.id)).id, made.id);
  await statusBecomes(made.id, "canceled");
});

test("models are listed, got, and have versions", async () => {
  const names = (await replicate.models.list()).results.map(({ owner, name }) => `${owner}/${name}`);
  for (const wanted of ["demo/echo", "demo/words", "demo/minilm"]) assert.ok(names.includes(wanted), wanted);
  const model = await replicate.models.get("demo", "words");
  assert.equal(model.latest_version.openapi_schema.components.schemas.Input.properties.prompt["x-order"], 0);
  const { results } = await replicate.models.versions.list("demo", "words");
  assert.ok(results.some(({ id }) => id === model.latest_version.id));
  assert.equal((await replicate.models.versions.get("demo", "words", results[0].id)).id, results[0].id);
});

test("models are searched", async () => {
  const names = (await replicate.models.search("minilm")).results.map(({ name }) => name);
  assert.deepEqual(names, ["minilm"]);
});

test("a file is created, got, listed and deleted", async () => {
  const made = await replicate.files.create(new File(["hello file"], "note.txt", { type: "text/plain" }), { purpose: "a test" });
  assert.deepEqual([made.name, made.size, made.content_type], ["note.txt", 10, "text/plain"]);
  const found = await replicate.files.get(made.id);
  assert.deepEqual(found.metadata, { purpose: "a test" });
  assert.ok((await replicate.files.list()).results.some(({ id }) => id === made.id));
  assert.equal(await replicate.files.delete(made.id), true);
  await assert.rejects(replicate.files.get(made.id), refused(404, /./));
});

test("a file given as an input is uploaded", async () => {
  const text = new Blob(["file input"], { type: "text/plain" });
  const uploaded = await replicate.run("demo/echo", { input: { text } });
  assert.equal((await replicate.files.get(uploaded.split("/").at(-1))).size, 10);
});

test("a picture is at a URL that needs no key", async () => {
  const [picture] = await replicate.run("demo/digits", { input: { prompt: "3", seed: 1, steps: 2 } });
  const fetched = new Uint8Array(await (await fetch(String(picture))).arrayBuffer()); // over plain http the client gives the URL
  assert.deepEqual([...fetched.slice(1, 4)], [0x50, 0x4e, 0x47]);
});

test("a model is created by its owner and no one else's name is taken", async () => {
  const { username } = await replicate.accounts.current();
  const options = { visibility: "private", hardware: "cpu", description: "made by the JavaScript client" };
  const made = await replicate.models.create(username, "made-in-js", options);
  try {
    assert.deepEqual([made.owner, made.name, made.visibility], [username, "made-in-js", "private"]);
    await assert.rejects(replicate.models.create(username, "made-in-js", options), refused(409, /./));
  } finally {
    await replicate.request(`/models/${username}/made-in-js`, { method: "DELETE" });
  }
});

test("a deployment is made, changed, run and deleted", async () => {
  const { username } = await replicate.accounts.current();
  const { latest_version } = await replicate.models.get("demo", "echo");
  const wanted = { model: "demo/echo", version: latest_version.id, hardware: "cpu", min_instances: 0, max_instances: 1 };
  const made = await replicate.deployments.create({ name: "js-deployed", ...wanted });
  try {
    assert.deepEqual([made.owner, made.current_release.number], [username, 1]);
    const changed = await replicate.deployments.update(username, "js-deployed", { max_instances: 2 });
    assert.equal(changed.current_release.number, 2);
    assert.equal((await replicate.deployments.get(username, "js-deployed")).name, "js-deployed");
    assert.ok((await replicate.deployments.list()).results.some(({ name }) => name === "js-deployed"));
    const ended = await replicate.deployments.predictions.create(username, "js-deployed", { input: { text: "deployed" }, wait: 30 });
    assert.deepEqual([ended.output, ended.deployment], ["deployed", `${username}/js-deployed`]);
  } finally {
    assert.equal(await replicate.deployments.delete(username, "js-deployed"), true);
  }
  await assert.rejects(replicate.deployments.get(username, "js-deployed"), refused(404, /./));
});

test("a webhook is signed with the account's secret", async () => {
  const got = [];
  const receiver = createServer(async (request, response) => {
    let body = "";
    for await (const piece of request) body += piece;
    got.push({ body, id: request.headers["webhook-id"], timestamp: request.headers["webhook-timestamp"], signature: request.headers["webhook-signature"] });
    response.writeHead(204).end();
    receiver.emit("delivered");
  }).listen(0, "127.0.0.1");
  await once(receiver, "listening");
  const delivered = once(receiver, "delivered");
  const webhook = `http://127.0.0.1:${receiver.address().port}/hook`;
  const made = await replicate.predictions.create({ model: "demo/echo", input: { text: "w" }, webhook, webhook_events_filter: ["completed"] });
  await delivered;
  receiver.close();
  const { key: secret } = await replicate.webhooks.default.secret.get();
  const [{ body, ...headers }] = got;
  assert.equal(await validateWebhook({ body, secret, ...headers }), true);
  assert.equal(await validateWebhook({ body: `${body} `, secret, ...headers }), false);
  const told = JSON.parse(body);
  assert.deepEqual([told.id, told.status, told.output], [made.id, "succeeded", "w"]);
});

test("the account, the hardware and the webhook secret are told", async () => {
  assert.ok((await replicate.accounts.current()).username);
  const hardware = await replicate.hardware.list();
  assert.ok(hardware.length > 0);
  assert.ok(hardware.every(({ name, sku }) => name && sku));
  assert.match((await replicate.webhooks.default.secret.get()).key, /^whsec_/);
});

test("an unknown model or prediction is a 404, a wrong token a 401", async () => {
  await assert.rejects(replicate.models.get("demo", "nothing"), refused(404, /demo\/nothing/));
  await assert.rejects(replicate.predictions.get("nothing"), refused(404, /./));
  const stranger = new Replicate({ auth: "lov_wrong", baseUrl: replicate.baseUrl });
  await assert.rejects(stranger.models.get("demo", "echo"), refused(401, /./));
});

test("bad input is a 422 that names the field", async () => {
  const bad = { model: "demo/words", input: { prompt: "x", max_new_tokens: -1 } };
  await assert.rejects(replicate.predictions.create(bad), refused(422, /max_new_tokens/));
});

test("every call that the client offers is made above", () => {
  const told = readFileSync(new URL(import.meta.url), "utf8");
  const leftOut = /^(collections|trainings)\./; // Lovage has no collections and no trainings
  const calls = (part, path) => Object.entries(part).flatMap(([name, one]) => (typeof one === "function" ? [path + name] : calls(one, `${path}${name}.`)));
  const namespaces = Object.entries(replicate).filter(([, one]) => one && typeof one === "object");
  const all = namespaces.flatMap(([name, one]) => calls(one, `${name}.`)).concat("run", "stream", "wait", "paginate", "request");
  assert.ok(all.includes("models.versions.list"), all.join());
  assert.deepEqual(all.filter((call) => !leftOut.test(call) && !told.includes(`replicate.${call}(`)), []);
});
