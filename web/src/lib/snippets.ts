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
  runtime?: string;
  version?: string;
}

const KEY = "$LOVAGE_TOKEN";
const PYTHON_KEY = 'os.environ["LOVAGE_TOKEN"]';

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

/** Fields that OpenAI's client has by these very names; a model's other inputs go as `extra_body`. */
const THEIR_TEXT = ["temperature", "top_p", "seed", "stop", "presence_penalty", "frequency_penalty"];

function openaiCall(wanted: Wanted): { call: string; own: Input; left: Input; print: string } | null {
  const { input, streams, runtime } = wanted;
  const { prompt, messages, text, max_new_tokens, ...rest } = input;
  if (Array.isArray(messages) || (typeof prompt === "string" && streams)) {
    const theirs = Object.entries(rest).filter(([name]) => THEIR_TEXT.includes(name));
    const most = max_new_tokens === undefined ? {} : { max_tokens: max_new_tokens };
    const left = Object.fromEntries(Object.entries(rest).filter(([name]) => !THEIR_TEXT.includes(name)));
    const own = {
      ...(messages ? { messages } : { prompt }),
      ...most,
      ...Object.fromEntries(theirs),
      stream: true,
    };
    const said = messages ? 'choices[0].delta.content or ""' : "choices[0].text";
    return {
      call: messages ? "chat.completions.create" : "completions.create",
      own: own as Input,
      left,
      print: `for event in answer:\n    print(event.${said}, end="", flush=True)`,
    };
  }
  if (runtime === "embedding" && text !== undefined) {
    const { text: _, ...left } = input;
    return {
      call: "embeddings.create",
      own: { input: text },
      left,
      print: "print(answer.data[0].embedding)",
    };
  }
  if (runtime === "image-generation" && typeof prompt === "string") {
    const { prompt: _, num_images, ...left } = input;
    const own = { prompt, ...(num_images === undefined ? {} : { n: num_images }) } as Input;
    return { call: "images.generate", own, left, print: "print(answer.data[0].url)" };
  }
  return null;
}

function openai(wanted: Wanted, reference: string): Snippet | null {
  const found = openaiCall(wanted);
  if (!found) return null;
  const { call, own, left, print } = found;
  const given = { model: reference, ...own, ...(Object.keys(left).length ? { extra_body: left } : {}) };
  const lines = Object.entries(given).map(([name, value]) => `    ${name}=${python(value, 2)},\n`);
  return {
    name: "openai",
    language: "python",
    code: `import os\n\nfrom openai import OpenAI\n\nclient = OpenAI(api_key=${PYTHON_KEY}, base_url="${wanted.base}/v1")\nanswer = client.${call}(\n${lines.join("")})\n${print}`,
  };
}

export function snippets(wanted: Wanted): Snippet[] {
  const { base, model, input, version, streams } = wanted;
  const reference = version ? `${model}:${version}` : model;
  const body = JSON.stringify({ version: version ?? model, input }, null, 2).replaceAll("\n", "\n  ");
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
      code: `import os\n\nimport replicate\n\nclient = replicate.Client(api_token=${PYTHON_KEY}, base_url="${base}")\n${run}`,
    },
    openai(wanted, reference),
    {
      name: "JavaScript",
      language: "js",
      code: `import Replicate from "replicate";\n\nconst lovage = new Replicate({ auth: process.env.LOVAGE_TOKEN, baseUrl: "${base}/v1" });\nconst output = await lovage.run(${JSON.stringify(reference)}, {\n  input: ${JSON.stringify(input, null, 2).replaceAll("\n", "\n  ")},\n});\nconsole.log(output);`,
    },
    {
      name: "CLI",
      language: "sh",
      code: [`LOVAGE_URL=${base} lovage run`, reference, ...flags, streams ? "--stream" : ""]
        .filter(Boolean)
        .join(" "),
    },
  ];
  return all.filter((snippet) => snippet !== null);
}
