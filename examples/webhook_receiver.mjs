// Receives webhooks: `LOVAGE_WEBHOOK_SECRET=whsec_… PORT=9000 node webhook_receiver.mjs`. Needs nothing but Node.
//
// Verifies the signature (Standard Webhooks), refuses what is older than five minutes, and answers before it works.
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const MOST_SECONDS = 300;
const MOST_BYTES = 20_000_000;
const key = Buffer.from(process.env.LOVAGE_WEBHOOK_SECRET.replace(/^whsec_/, ""), "base64");
const seen = new Set(); // in a table with a unique key, where several processes receive

function isGenuine(headers, body) {
  const { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signatures = "" } = headers;
  if (!(Math.abs(Date.now() / 1000 - Number(timestamp)) < MOST_SECONDS)) return false;
  const expected = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest();
  return signatures.split(" ").some((signature) => {
    const [version, value = ""] = signature.split(",");
    const given = Buffer.from(value, "base64");
    return version === "v1" && given.length === expected.length && timingSafeEqual(given, expected);
  });
}

function work(prediction) {
  console.log(prediction.id, prediction.status, JSON.stringify(prediction.error ?? prediction.output));
}

const server = createServer(async (request, response) => {
  const blocks = [];
  let size = 0;
  for await (const block of request) {
    size += block.length;
    if (size > MOST_BYTES) return response.writeHead(413).end();
    blocks.push(block);
  }
  const body = Buffer.concat(blocks);
  if (!isGenuine(request.headers, body)) return response.writeHead(400).end("the signature is not ours");
  response.writeHead(204).end();
  const id = request.headers["webhook-id"];
  if (seen.has(id)) return; // a delivery may come twice
  seen.add(id);
  work(JSON.parse(body));
});
server.listen(Number(process.env.PORT ?? 9000), "127.0.0.1", () => console.log(`listens on ${server.address().port}`));
