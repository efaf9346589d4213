// The `openai` client for JavaScript, unmodified, with its base URL pointed at LOVAGE_URL.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";

const openai = new OpenAI({ apiKey: process.env.LOVAGE_KEY, baseURL: `${process.env.LOVAGE_URL}/v1`, maxRetries: 0 });
const [WORDS, MINILM, DIGITS] = ["demo/words", "demo/minilm", "demo/digits"];
const messages = [{ role: "user", content: "Tell me of the sea." }];

test("models are listed and retrieved", async () => {
  const ids = [];
  for await (const model of openai.models.list()) ids.push(model.id);
  assert.ok(ids.includes(WORDS) && ids.includes(MINILM), ids.join());
  const found = await openai.models.retrieve(WORDS);
  assert.deepEqual([found.id, found.object, found.owned_by], [WORDS, "model", "demo"]);
});

test("a chat streamed says what the whole says", async () => {
  const asked = { model: WORDS, messages, max_completion_tokens: 20, temperature: 0 };
  const whole = await openai.chat.completions.create(asked);
  const { role, content } = whole.choices[0].message;
  assert.equal(role, "assistant");
  assert.ok(content);
  assert.equal(whole.usage.total_tokens, whole.usage.prompt_tokens + whole.usage.completion_tokens);
  const events = [];
  const stream = await openai.chat.completions.create({ ...asked, stream: true, stream_options: { include_usage: true } });
  for await (const event of stream) events.push(event);
  assert.equal(events.map((event) => event.choices[0]?.delta.content ?? "").join(""), content);
  assert.equal(events[0].choices[0].delta.role, "assistant");
  assert.deepEqual(events.at(-1).usage, whole.usage);
});

test("the stream helper puts the message together", async () => {
  const stream = openai.chat.completions.stream({ model: WORDS, messages, max_completion_tokens: 12, temperature: 0 });
  let pieces = "";
  stream.on("content", (piece) => (pieces += piece));
  const final = await stream.finalChatCompletion();
  assert.ok(pieces);
  assert.equal(final.choices[0].message.content, pieces);
});

test("a completion has text, reason and usage, plain and streamed", async () => {
  const asked = { model: WORDS, prompt: "The ship", max_tokens: 12, temperature: 0 };
  const made = await openai.completions.create(asked);
  assert.deepEqual([made.object, made.choices[0].finish_reason, made.usage.completion_tokens], ["text_completion", "length", 12]);
  let text = "";
  for await (const event of await openai.completions.create({ ...asked, stream: true })) text += event.choices[0]?.text ?? "";
  assert.ok(text.trim());
  assert.equal(text, made.choices[0].text);
});

test("embeddings are the same as floats and as base64", async () => {
  const floats = await openai.embeddings.create({ model: MINILM, input: "hello", encoding_format: "float" });
  const packed = await openai.embeddings.create({ model: MINILM, input: ["hello", "the sea"] }); // base64 on the wire
  assert.deepEqual(packed.data.map(({ index }) => index), [0, 1]);
  assert.equal(floats.data[0].embedding.length, 384);
  packed.data[0].embedding.forEach((number, at) => assert.ok(Math.abs(number - floats.data[0].embedding[at]) < 1e-4));
});

test("embeddings of token ids and with fewer dimensions", async () => {
  const ids = { model: MINILM, input: [[101, 7592, 102], [101, 102]], dimensions: 64 };
  await assert.rejects(openai.embeddings.create(ids), /token ids/); // of which tokenizer, nobody has said
  const { data } = await openai.embeddings.create({ ...ids, token_ids: true });
  assert.deepEqual(data.map(({ embedding }) => embedding.length), [64, 64]);
  assert.ok(Math.abs(Math.hypot(...data[0].embedding) - 1) < 1e-4);
});

test("images come as URLs and as base64", async () => {
  const byUrl = await openai.images.generate({ model: DIGITS, prompt: "3", n: 2, response_format: "url" });
  assert.equal(byUrl.data.length, 2);
  const fetched = await fetch(byUrl.data[0].url);
  assert.deepEqual([fetched.status, fetched.headers.get("content-type")], [200, "image/png"]);
  const inline = await openai.images.generate({ model: DIGITS, prompt: "3", response_format: "b64_json" });
  assert.equal(Buffer.from(inline.data[0].b64_json, "base64").toString("latin1", 1, 4), "PNG");
});

test("several choices, a seed and a stop string are honoured", async () => {
  const asked = { model: WORDS, messages, n: 2, seed: 5, max_tokens: 30 };
  const [first, again] = [await openai.chat.completions.create(asked), await openai.chat.completions.create(asked)];
  const texts = first.choices.map(({ message }) => message.content);
  assert.deepEqual(again.choices.map(({ message }) => message.content), texts);
  assert.notEqual(texts[0], texts[1]);
  const stop = texts[0].trim().split(/\s+/)[3];
  const stopped = await openai.chat.completions.create({ ...asked, n: 1, stop: [stop] });
  assert.equal(stopped.choices[0].message.content, texts[0].slice(0, texts[0].indexOf(stop)));
  assert.equal(stopped.choices[0].finish_reason, "stop");
});

test("a stream that is left ends", async () => {
  const stream = await openai.chat.completions.create({ model: WORDS, messages, max_tokens: 1000, temperature: 0.9, stream: true });
  let pieces = 0;
  for await (const _ of stream) if (++pieces === 3) break;
  assert.ok(stream.controller.signal.aborted);
});

test("an absent model is not found, by name", async () => {
  await assert.rejects(openai.models.retrieve("demo/nothing"), OpenAI.NotFoundError);
  const absent = openai.chat.completions.create({ model: "gpt-4o", messages });
  await assert.rejects(absent, (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.deepEqual([error.status, error.code, error.param], [404, "model_not_found", "model"]);
    assert.match(error.message, /gpt-4o/);
    return true;
  });
});

test("bad input and a wrong key are told apart", async () => {
  const hot = openai.chat.completions.create({ model: WORDS, messages, temperature: 7 });
  await assert.rejects(hot, (error) => error instanceof OpenAI.BadRequestError && error.param === "temperature");
  for (const [name, value] of Object.entries({ tools: [{ type: "function", function: { name: "f" } }], n: 1000 })) {
    const asked = openai.chat.completions.create({ model: WORDS, messages, [name]: value });
    await assert.rejects(asked, (error) => error instanceof OpenAI.BadRequestError && error.param === name, name);
  }
  const stranger = new OpenAI({ apiKey: "lov_wrong", baseURL: openai.baseURL, maxRetries: 0 });
  await assert.rejects(stranger.models.retrieve(WORDS), OpenAI.AuthenticationError);
});
