import { describe, expect, it } from "vitest";
import type { Input, Version } from "../api/types";
import { missingParts, wantedNames } from "./folder";
import { ago, bytes, seconds } from "./format";
import { mediaOf, stripOf, viewOf } from "./output";
import { addSample, type Sample, seriesOf } from "./samples";
import { choicesOf, cleanInput, faultsOf, formOf, initialInput, isConcatenated, kindOf } from "./schema-form";
import { python, snippets } from "./snippets";

const TEXT = {
  openapi_schema: {
    components: {
      schemas: {
        Input: {
          type: "object",
          properties: {
            temperature: { type: "number", minimum: 0, maximum: 5, default: 0.7, "x-order": 3 },
            prompt: { type: "string", "x-order": 0 },
            messages: {
              type: "array",
              "x-order": 1,
              items: { type: "object", properties: { role: {}, content: {} } },
            },
            max_new_tokens: { type: "integer", minimum: 1, maximum: 32_768, default: 128, "x-order": 2 },
            size: { allOf: [{ $ref: "#/components/schemas/size" }], default: "small", "x-order": 4 },
          },
          oneOf: [{ required: ["prompt"] }, { required: ["messages"] }],
        },
        size: { type: "string", enum: ["small", "large"] },
        Output: { type: "array", items: { type: "string" }, "x-cog-array-display": "concatenate" },
      },
    },
  },
} as unknown as Version;

describe("a form", () => {
  const form = formOf(TEXT);

  it("puts what a person needs in front, in the schema's order", () => {
    expect(form.front.map((field) => field.name)).toEqual(["prompt", "messages"]);
    expect(form.advanced.map((field) => field.name)).toEqual(["max_new_tokens", "temperature", "size"]);
  });

  it("knows each field's kind, through references too", () => {
    const kinds = Object.fromEntries(
      [...form.front, ...form.advanced].map((field) => [field.name, field.kind]),
    );
    expect(kinds).toEqual({
      prompt: "text",
      messages: "messages",
      max_new_tokens: "slider",
      temperature: "slider",
      size: "choice",
    });
    expect(kindOf("image", { type: "string", format: "uri" })).toBe("file");
    expect(kindOf("seed", { type: "integer", minimum: 0, maximum: 2 ** 53 })).toBe("seed");
    const either = [{ type: "boolean" }, { type: "string" }];
    expect(kindOf("fail", { anyOf: either, default: false })).toBe("json");
    expect(kindOf("suffix", { anyOf: either })).toBe("text");
  });

  it("asks for exactly one of two, and offers the choice", () => {
    expect(choicesOf(form).map((field) => field.name)).toEqual(["prompt", "messages"]);
    expect(faultsOf(form, {})).toHaveProperty("prompt");
    expect(faultsOf(form, { prompt: "x" })).toEqual({});
    expect(faultsOf(form, { prompt: "x", messages: [{ role: "user", content: "y" }] }).prompt).toMatch(
      /not both/,
    );
  });

  it("names the bound that a number breaks", () => {
    expect(faultsOf(form, { prompt: "x", temperature: 6 })).toEqual({ temperature: "At most 5." });
    expect(faultsOf(form, { prompt: "x", max_new_tokens: 1.5 })).toEqual({
      max_new_tokens: "This must be a whole number.",
    });
  });

  it("sends what was filled in and nothing else", () => {
    expect(cleanInput(form, { prompt: "x", messages: [], temperature: 0, size: "" })).toEqual({
      prompt: "x",
      temperature: 0,
      size: "",
    });
  });

  it("begins with the model's example, without what it does not know", () => {
    expect(initialInput(form, { prompt: "once", gone: 1, temperature: null })).toEqual({ prompt: "once" });
  });

  it("takes pieces for one text when the schema says so", () => {
    expect(isConcatenated(TEXT)).toBe(true);
    expect(isConcatenated(undefined)).toBe(false);
  });
});

describe("an output", () => {
  it.each([
    [["a", "b"], true, "text"],
    [["a", "b"], false, "json"],
    ["plain", false, "text"],
    ["http://h/v1/files/content/outputs/x/0.png?expires=1", false, "files"],
    [[0.1, 0.2, 0.3, 0.4], false, "vector"],
    [
      [
        [1, 2, 3, 4],
        [1, 2, 3, 4],
      ],
      false,
      "vectors",
    ],
    [[{ label: "cat", score: 0.9 }], false, "scores"],
    [{ labels: ["a"], scores: [0.5] }, false, "scores"],
    [[{ a: 1, b: "x" }], false, "table"],
    [{ a: { b: 1 } }, false, "json"],
    [null, false, "nothing"],
  ])("%j is shown as it should", (output, joined, kind) => {
    expect(viewOf(output as never, joined).kind).toBe(kind);
  });

  it("knows pictures and sound by their names", () => {
    expect(mediaOf("https://h/0.png?signature=x")).toBe("image");
    expect(mediaOf("https://h/0.wav")).toBe("audio");
    expect(mediaOf("https://h/0.txt")).toBe("file");
  });

  it("keeps a strip between -1 and 1", () => {
    const strip = stripOf([1, 2, -4, 8], 2);
    expect(strip).toEqual([0.75, 1]);
    expect(stripOf([0, 0], 8)).toEqual([0, 0]);
  });
});

describe("the same run from code", () => {
  const all = snippets({
    base: "http://h",
    model: "a/b",
    input: { prompt: "it's 'so'", n: 2 },
    streams: true,
  });

  it("holds the very input, quoted for the shell", () => {
    const curl = all.find((each) => each.name === "curl");
    expect(curl?.code).toContain(`it'\\''s '\\''so'\\''`);
    expect(all.find((each) => each.name === "CLI")?.code).toBe(
      `LOVAGE_URL=http://h lovage run a/b -i prompt='it'\\''s '\\''so'\\''' -i n='2' --stream`,
    );
  });

  it("is offered for OpenAI's client only where that can run it", () => {
    expect(all.map((each) => each.name)).toContain("openai");
    const plain = snippets({ base: "http://h", model: "a/b", input: { text: "x" }, streams: false });
    expect(plain.map((each) => each.name)).not.toContain("openai");
  });

  it("gives OpenAI's client its own fields, and the model's others as extra_body", () => {
    const text = all.find((each) => each.name === "openai")?.code;
    expect(text).toContain(
      `client.completions.create(\n    model="a/b",\n    prompt="it's 'so'",\n    stream=True,`,
    );
    expect(text).toContain('extra_body={"n": 2},');
    const of = (runtime: string, input: Input) =>
      snippets({ base: "http://h", model: "a/b", input, streams: false, runtime, version: "v1" }).find(
        (each) => each.name === "openai",
      )?.code;
    expect(of("embedding", { text: "x", normalize: true })).toContain(
      'embeddings.create(\n    model="a/b:v1",\n    input="x",\n    extra_body={"normalize": True},',
    );
    expect(of("image-generation", { prompt: "seven", num_images: 2 })).toContain(
      'prompt="seven",\n    n=2,\n)',
    );
  });

  it("writes Python's own constants", () => {
    expect(python({ a: true, b: null, c: [1, "x"] })).toBe('{"a": True, "b": None, "c": [1, "x"]}');
  });
});

describe("figures", () => {
  it("are as people read them", () => {
    expect([0, 0.0004, 0.25, 3.456, 75, 4000, 90_000].map(seconds)).toEqual([
      "0 ms",
      "<1 ms",
      "250 ms",
      "3.46 s",
      "75.0 s",
      "66 min 40 s",
      "25.0 h",
    ]);
    expect(bytes(185_000_000)).toBe("185 MB");
    const now = Date.parse("2026-01-01T00:10:00Z");
    expect(ago("2026-01-01T00:00:00Z", now)).toBe("10 min ago");
    expect(ago("2026-01-01T00:12:00Z", now)).toBe("in 2 min");
  });
});

describe("samples of counters", () => {
  const sample = (at: number, requests: number): Sample => ({
    at,
    requests,
    errors: 0,
    inFlight: 1,
    waiting: 0,
  });

  it("become rates, but for a counter that began anew", () => {
    const samples = [sample(0, 10), sample(5, 20), sample(10, 3), sample(12, 7)].reduce(
      addSample,
      [] as Sample[],
    );
    expect(seriesOf(samples).rate).toEqual([null, 2, null, 2]);
  });

  it("count once for one moment, and the oldest go", () => {
    const twice = [sample(0, 1), sample(0, 1)].reduce(addSample, [] as Sample[]);
    expect(twice).toHaveLength(1);
    const many = Array.from({ length: 400 }, (_, i) => sample(i, i)).reduce(addSample, [] as Sample[]);
    expect(many).toHaveLength(360);
    expect(many.at(-1)?.at).toBe(399);
  });
});

describe("an upload", () => {
  it("leaves out what no worker would fetch", () => {
    const names = ["config.json", "model.safetensors", "pytorch_model.bin", "onnx/model.onnx", ".git/x"];
    expect(wantedNames(names)).toEqual(["config.json", "model.safetensors"]);
    expect(wantedNames(["config.json", "model.onnx", "a/__pycache__/b.pyc"])).toEqual([
      "config.json",
      "model.onnx",
    ]);
  });

  it("goes on with the parts that the server misses", () => {
    const file = new File(["0123456789"], "w.safetensors");
    const upload = {
      id: "u",
      model: "ada/m",
      part_bytes: 4,
      files: [{ name: "w.safetensors", size: 10, sha256: "", parts: 3, missing: [0, 2] }],
    } as unknown as Parameters<typeof missingParts>[0];
    const parts = missingParts(upload, [{ name: "w.safetensors", file }]);
    expect(parts.map((part) => [part.path, part.content.size])).toEqual([
      ["/v1/models/ada/m/upload/u/0/0", 4],
      ["/v1/models/ada/m/upload/u/0/2", 2],
    ]);
  });
});
