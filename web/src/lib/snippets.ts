/** The same run from code, with the very inputs of the form. Pure. */
import type { Input } from "../api/types";

export interface Snippet {
  name: string;
  language: string;
  code: string;
}

interface Wanted {
  base: string;
  model: string;
  input: Input;
  streams: boolean;
  version?: string;
}

const KEY = "$LOVAGE_TOKEN";

/** Within single quotes of a shell. */
const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

export function python(value: unknown, depth = 1): string {
  const pad = "    ".repeat(depth);
  const end = "    ".repeat(depth - 1);
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const parts = Array.isArray(value)
    ? value.map((each) => python(each, depth + 1))
    : Object.entries(value).map(([name, each]) => `${JSON.stringify(name)}: ${python(each, depth + 1)}`);
  if (!parts.length) return `${open}${close}`;
  const flat = `${open}${parts.join(", ")}${close}`;
  if (flat.length <= 72 && !flat.includes("\n")) return flat;
  return `${open}\n${parts.map((part) => `${pad}${part},\n`).join("")}${end}${close}`;
}

function openai({ base, model, input, streams }: Wanted): Snippet | null {
  const start = `from openai import OpenAI\n\nclient = OpenAI(api_key="${KEY}", base_url="${base}/v1")\n`;
  const messages = Array.isArray(input.messages)
    ? input.messages
    : typeof input.prompt === "string" && streams
      ? [{ role: "user", content: input.prompt }]
      : null;
  if (messages) {
    const max = input.max_new_tokens ? `\n    max_tokens=${input.max_new_tokens},` : "";
    return {
      name: "openai",
      language: "python",
      code: `${start}chat = client.chat.completions.create(\n    model="${model}",\n    messages=${python(messages, 2)},${max}\n    stream=True,\n)\nfor event in chat:\n    print(event.choices[0].delta.content or "", end="", flush=True)`,
    };
  }
  return null;
}

export function snippets(wanted: Wanted): Snippet[] {
  const { base, model, input, version, streams } = wanted;
  const reference = version ? `${model}:${version}` : model;
  const body = JSON.stringify({ version: version ?? model, input }, null, 2);
  const run = streams
    ? `for event in client.stream("${reference}", input=${python(input, 1)}):\n    print(event, end="")`
    : `print(client.run("${reference}", input=${python(input, 1)}))`;
  const flags = Object.entries(input).map(
    ([name, value]) => `-i ${name}=${quoted(typeof value === "string" ? value : JSON.stringify(value))}`,
  );
  const all: (Snippet | null)[] = [
    {
      name: "curl",
      language: "sh",
      code: `curl -s ${base}/v1/predictions \\\n  -H "Authorization: Bearer ${KEY}" \\\n  -H "Content-Type: application/json" -H "Prefer: wait" \\\n  -d ${quoted(body)}`,
    },
    {
      name: "Python",
      language: "python",
      code: `import replicate\n\nclient = replicate.Client(api_token="${KEY}", base_url="${base}")\n${run}`,
    },
    openai(wanted),
    {
      name: "JavaScript",
      language: "js",
      code: `import Replicate from "replicate";\n\nconst lovage = new Replicate({ auth: process.env.LOVAGE_TOKEN, baseUrl: "${base}/v1" });\nconst output = await lovage.run(${JSON.stringify(reference)}, {\n  input: ${JSON.stringify(input, null, 2).replaceAll("\n", "\n  ")},\n});\nconsole.log(output);`,
    },
    {
      name: "CLI",
      language: "sh",
      code: ["lovage run", reference, ...flags, streams ? "--stream" : ""].filter(Boolean).join(" "),
    },
  ];
  return all.filter((snippet) => snippet !== null);
}
