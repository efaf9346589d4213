// langchain.js: chat, streams, tools, structured answers, embeddings.
// REQUIRES = ["@langchain/openai@1.6.0", "@langchain/core@1.4.0", "zod@4.6.7"]
// CALLS = ["openai.chat.completions.create", "openai.responses.create", "openai.embeddings.create"]
import assert from "node:assert/strict";
import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { tool } from "@langchain/core/tools";
import { ChatOpenAI, OpenAIEmbeddings } from "@langchain/openai";
import { z } from "zod";

const { TEXT, CALLER, EMBED, LOVAGE_URL, LOVAGE_KEY: apiKey } = process.env;
const place = { apiKey, maxRetries: 0, configuration: { baseURL: `${LOVAGE_URL}/v1` } };
const number = z.object({ n: z.number().int().min(0).max(9) });
const add = tool(({ n }) => String(n + 1), { name: "add", description: "Adds one.", schema: number });

for (const useResponsesApi of [false, true]) {
  const chat = new ChatOpenAI({ model: TEXT, maxTokens: 16, useResponsesApi, ...place });
  assert.ok((await chat.invoke("Hello")).text);
  let text = "";
  for await (const part of await chat.stream("Hello")) text += part.text;
  assert.ok(text);

  const caller = new ChatOpenAI({ model: CALLER, maxTokens: 200, useResponsesApi, ...place });
  const forced = caller.bindTools([add], { tool_choice: "add", parallel_tool_calls: false });
  const call = await forced.invoke("Hello");
  assert.ok(number.safeParse(call.tool_calls[0].args).success);
  const result = new ToolMessage({ content: "2", tool_call_id: call.tool_calls[0].id });
  assert.ok(await caller.bindTools([add]).invoke([new HumanMessage("Hello"), call, result]));
  const structured = caller.withStructuredOutput(number, { method: "jsonSchema", name: "number" });
  assert.ok((await structured.invoke("A number?")).n <= 9);
}

const vectors = new OpenAIEmbeddings({ model: EMBED, ...place });
assert.equal((await vectors.embedDocuments(["a", "b"])).length, 2);
await assert.rejects(new ChatOpenAI({ model: "nobody/none", ...place }).invoke("Hello"), /nobody\/none/);
