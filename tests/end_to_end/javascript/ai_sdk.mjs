// Vercel's AI SDK, unmodified, over both of its providers: OpenAI-compatible and Replicate, pointed at LOVAGE_URL.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { createReplicate } from "@ai-sdk/replicate";
import { APICallError, embed, embedMany, generateImage, generateText, streamText } from "ai";

const [baseURL, apiKey] = [`${process.env.LOVAGE_URL}/v1`, process.env.LOVAGE_KEY];
const lovage = createOpenAICompatible({ name: "lovage", baseURL, apiKey, includeUsage: true });
const replicate = createReplicate({ apiToken: apiKey, baseURL });
const [WORDS, MINILM, DIGITS] = ["demo/words", "demo/minilm", "demo/digits"];
globalThis.AI_SDK_LOG_WARNINGS = false;
const prompt = "Tell me of the sea.";
const asked = { model: lovage(WORDS), prompt, maxOutputTokens: 20, temperature: 0, maxRetries: 0 };
const isPng = (bytes) => assert.deepEqual([...bytes.slice(0, 4)], [0x89, 0x50, 0x4e, 0x47]);

test("text is generated with its reason and usage", async () => {
  const { text, finishReason, usage } = await generateText(asked);
  assert.ok(text.trim());
  assert.equal(finishReason, "length");
  assert.deepEqual([usage.outputTokens, usage.totalTokens], [20, usage.inputTokens + 20]);
});

test("a system prompt and a conversation are taken", async () => {
  const messages = [{ role: "user", content: "Hello" }, { role: "assistant", content: "Hi" }, { role: "user", content: prompt }];
  const { text } = await generateText({ ...asked, prompt: undefined, system: "Be brief.", messages, seed: 3, topP: 0.9, stopSequences: ["zzz"] });
  assert.ok(text.trim());
});

test("a text streamed says what the whole says", async () => {
  const { text } = await generateText(asked);
  const stream = streamText(asked);
  const pieces = [];
  for await (const piece of stream.textStream) pieces.push(piece);
  assert.equal(pieces.join(""), text);
  assert.ok(pieces.length > 5);
  assert.equal(await stream.finishReason, "length");
  assert.equal((await stream.usage).outputTokens, 20);
});

test("a stream that is aborted ends", async () => {
  const leaving = new AbortController();
  const stream = streamText({ ...asked, maxOutputTokens: 1000, temperature: 0.9, abortSignal: leaving.signal, onError() {} });
  let pieces = 0;
  try {
    for await (const _ of stream.textStream) if (++pieces === 3) leaving.abort();
  } catch (error) {
    assert.equal(error.name, "AbortError");
  }
  assert.ok(pieces < 1000, String(pieces));
});

test("the completion model continues a prompt", async () => {
  const { text } = await generateText({ ...asked, model: lovage.completionModel(WORDS), prompt: "The ship" });
  assert.ok(text.trim());
});

test("texts are embedded alone and together", async () => {
  const model = lovage.embeddingModel(MINILM);
  const { embedding, usage } = await embed({ model, value: "hello" });
  const { embeddings } = await embedMany({ model, values: ["hello", "the sea"] });
  assert.deepEqual([embedding.length, embeddings.length], [384, 2]);
  assert.ok(usage.tokens > 0);
  embeddings[0].forEach((number, at) => assert.ok(Math.abs(number - embedding[at]) < 1e-4));
});

test("images are generated over OpenAI's API", async () => {
  const { images } = await generateImage({ model: lovage.imageModel(DIGITS), prompt: "3", n: 2, maxRetries: 0 });
  assert.equal(images.length, 2);
  images.forEach((image) => isPng(image.uint8Array));
});

test("images are generated over Replicate's API", async () => {
  const { image } = await generateImage({ model: replicate.image(DIGITS), prompt: "3", seed: 1, maxRetries: 0 });
  isPng(image.uint8Array);
});

test("an image that takes longer than the wait is polled for", async () => {
  const providerOptions = { replicate: { maxWaitTimeInSeconds: 1, pollIntervalMillis: 100, num_inference_steps: 200 } };
  const { image } = await generateImage({ model: replicate.image(DIGITS), prompt: "3", providerOptions, maxRetries: 0 });
  isPng(image.uint8Array);
});

test("errors say what is wrong", async () => {
  const failsWith = (call, status, pattern) =>
    assert.rejects(call, (error) => {
      assert.ok(APICallError.isInstance(error), error);
      assert.equal(error.statusCode, status);
      assert.match(error.message, pattern);
      return true;
    });
  await failsWith(generateText({ ...asked, model: lovage("demo/nothing") }), 404, /demo\/nothing/);
  await failsWith(generateText({ ...asked, temperature: 7 }), 400, /temperature/);
  const stranger = createOpenAICompatible({ name: "lovage", baseURL, apiKey: "lov_wrong" });
  await failsWith(generateText({ ...asked, model: stranger(WORDS) }), 401, /./);
  await failsWith(generateImage({ model: replicate.image("demo/nothing"), prompt: "3", maxRetries: 0 }), 404, /model/);
});
