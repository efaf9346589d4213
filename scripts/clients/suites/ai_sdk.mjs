// Vercel's AI SDK: chat, streams, tools, objects, embeddings, over its compatible and its OpenAI provider.
// REQUIRES = ["ai@7.0.173", "@ai-sdk/openai@4.0.118", "@ai-sdk/openai-compatible@3.0.92", "@ai-sdk/cohere@4.0.52", "zod@4.6.7"]
// CALLS = ["openai.chat.completions.create", "openai.responses.create", "openai.embeddings.create", "rerank.cohere"]
import assert from "node:assert/strict";
import { createCohere } from "@ai-sdk/cohere";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, embedMany, generateText, Output, rerank, streamText, tool } from "ai";
import { z } from "zod";

const { TEXT, CALLER, EMBED, RANKER, LOVAGE_URL, LOVAGE_KEY: apiKey } = process.env;
const baseURL = `${LOVAGE_URL}/v1`;
globalThis.AI_SDK_LOG_WARNINGS = false;
const compatible = createOpenAICompatible({ name: "lovage", baseURL, apiKey, supportsStructuredOutputs: true });
const openai = createOpenAI({ baseURL, apiKey });
const number = z.object({ n: z.number().int().min(0).max(9) });
const add = tool({ description: "Adds one.", inputSchema: number, execute: ({ n }) => n + 1 });

for (const [name, provider] of Object.entries({ compatible, openai })) {
  const asked = { model: provider(TEXT), prompt: "Hello", maxOutputTokens: 16, maxRetries: 0 };
  assert.ok((await generateText(asked)).text, name);
  const pieces = [];
  for await (const piece of streamText(asked).textStream) pieces.push(piece);
  assert.ok(pieces.join(""), name);

  const forced = { ...asked, model: provider(CALLER), maxOutputTokens: 200, tools: { add }, toolChoice: "required" };
  forced.providerOptions = { openai: { parallelToolCalls: false }, lovage: { parallel_tool_calls: false } };
  const { toolCalls, toolResults } = await generateText(forced);
  assert.equal(toolResults[0].output, toolCalls[0].input.n + 1, name);
  const calls = [];
  for await (const part of streamText(forced).fullStream) if (part.type === "tool-call") calls.push(part.input);
  assert.ok(number.safeParse(calls[0]).success, name);

  const { output } = await generateText({ ...asked, maxOutputTokens: 200, output: Output.object({ schema: number }) });
  assert.ok(output.n <= 9, name);
  const model = provider.embeddingModel(EMBED);
  assert.equal((await embedMany({ model, values: ["a", "b"], maxRetries: 0 })).embeddings.length, 2, name);
  await assert.rejects(generateText({ ...asked, model: provider("nobody/none") }), (error) => {
    assert.ok(APICallError.isInstance(error), error);
    assert.equal(error.statusCode, 404);
    return true;
  });
}

const cohere = createCohere({ baseURL: `${LOVAGE_URL}/v2`, apiKey });
const ranked = await rerank({
  model: cohere.reranking(RANKER),
  query: "What is celery?",
  documents: ["A plant.", "A whale.", "Celery is a plant."],
  topN: 2,
});
assert.equal(ranked.ranking.length, 2);
