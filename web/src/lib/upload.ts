/** Sending a model's folder in parts: read once for its checksums, then what the server misses of it. */
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { ApiProblem, BASE, BASE_PATH, call, OFFLINE, problemOf, type Schemas } from "../api/client";
import { type FolderFile, missingParts, type Part, sizeOf } from "./folder";

type Upload = Schemas["ModelUploadOut"];

export interface Progress {
  phase: "reading" | "sending";
  done: number;
  total: number;
}

const READ_BYTES = 1_048_576; // hashed within a few milliseconds: the page stays quick
const AT_ONCE = 3;
const TRIES = 6;
async function hashOf(file: File, onRead: (bytes: number) => void, signal: AbortSignal): Promise<string> {
  const hash = sha256.create();
  for (let at = 0; at < file.size; at += READ_BYTES) {
    signal.throwIfAborted();
    const piece = new Uint8Array(await file.slice(at, at + READ_BYTES).arrayBuffer());
    hash.update(piece);
    onRead(piece.length);
  }
  return bytesToHex(hash.digest());
}

/** Whether another try could change it. */
const isLasting = (status: number) => status >= 400 && status < 500 && status !== 408 && status !== 429;

async function putPart({ path, content }: Part, signal: AbortSignal): Promise<ApiProblem | null> {
  const options = {
    method: "PUT",
    body: content,
    headers: { "Content-Type": "application/octet-stream" },
    credentials: "same-origin" as const,
    signal,
  };
  const response = await fetch(`${BASE.origin}${BASE_PATH}${path}`, options).catch(() => null);
  signal.throwIfAborted();
  if (!response) return new ApiProblem(0, "offline", OFFLINE);
  return response.ok ? null : problemOf(response, await response.json().catch(() => undefined));
}

async function sendPart(part: Part, signal: AbortSignal): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const problem = await putPart(part, signal);
    if (!problem) return;
    if (isLasting(problem.status) || attempt === TRIES) throw problem;
    await new Promise((resolve) => setTimeout(resolve, 500 * 2 ** attempt));
  }
}

/** The source for a version of it. Broken off, the same call goes on where it stopped. */
export async function uploadFolder(
  model: string,
  files: FolderFile[],
  onProgress: (progress: Progress) => void,
  signal: AbortSignal,
): Promise<string> {
  const total = sizeOf(files);
  let done = 0;
  const step = (phase: Progress["phase"]) => (bytes: number) => {
    done += bytes;
    onProgress({ phase, done, total });
  };
  const declared = [];
  for (const { name, file } of files)
    declared.push({ name, size: file.size, sha256: await hashOf(file, step("reading"), signal) });
  const upload = await call<Upload>("POST", `/v1/models/${model}/upload`, { files: declared });
  const parts = missingParts(upload, files);
  done = total - parts.reduce((sum, part) => sum + part.content.size, 0);
  const sent = step("sending");
  sent(0);
  const waiting = parts.values();
  const sender = async () => {
    for (const part of waiting) {
      await sendPart(part, signal);
      sent(part.content.size);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, sender));
  return upload.source;
}
