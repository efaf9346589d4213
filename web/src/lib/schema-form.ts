/** From a version's schema to the fields of a form: what kind each is, and what stands in front. Pure. */
import type { Input, Json, Schema, Version } from "../api/types";

export type Kind =
  | "choice"
  | "switch"
  | "slider"
  | "number"
  | "seed"
  | "line"
  | "text"
  | "file"
  | "files"
  | "lines"
  | "messages"
  | "json";

export interface Field {
  name: string;
  title: string;
  kind: Kind;
  schema: Schema;
  required: boolean;
  /** Names of which one must be given instead of this one. */
  instead: string[];
}

export interface Form {
  front: Field[];
  advanced: Field[];
}

const LONG = /prompt|text|context|question|query|message|content|instruction/i;
const FRONT = /^(prompt|text|texts|messages|query|question|context|image|audio|video|file|input)$/;
const WIDEST_SLIDER = 100_000;

export function schemas(version: Version | null | undefined): Record<string, Schema> {
  const document = version?.openapi_schema as
    | { components?: { schemas?: Record<string, Schema> } }
    | undefined;
  return document?.components?.schemas ?? {};
}

/** A schema with what it refers to, as one. */
export function resolve(schema: Schema, all: Record<string, Schema>): Schema {
  const parts = [schema, ...(schema.allOf ?? [])];
  const referred = parts.flatMap((part) => {
    const found = part.$ref ? all[part.$ref.split("/").at(-1) ?? ""] : undefined;
    return found ? [resolve(found, all)] : part === schema ? [] : [part];
  });
  const { allOf: _, $ref: __, ...own } = schema;
  return Object.assign({}, ...referred, own);
}

const isUri = (schema: Schema | undefined): boolean => schema?.type === "string" && schema.format === "uri";

export function kindOf(name: string, schema: Schema): Kind {
  if (schema.enum) return "choice";
  if (schema.type === "boolean") return "switch";
  if (schema.type === "integer" || schema.type === "number") {
    if (name === "seed") return "seed";
    const { minimum, maximum } = schema;
    // Without a default a slider would show a value that nobody has chosen.
    const bounded = minimum !== undefined && maximum !== undefined && maximum - minimum <= WIDEST_SLIDER;
    return bounded && schema.default !== undefined ? "slider" : "number";
  }
  if (isUri(schema)) return "file";
  if (schema.type === "string") return LONG.test(name) || (schema.maxLength ?? 0) > 2_000 ? "text" : "line";
  if (schema.type === "array") {
    const items = schema.items ?? {};
    if (isUri(items)) return "files";
    if (items.type === "string") return "lines";
    if (items.properties?.role && items.properties.content) return "messages";
  }
  // What may be a text or something longer is a text to most people; the rest can be sent from code.
  return (schema.anyOf ?? []).some((each) => each.type === "string") && schema.default === undefined
    ? "text"
    : "json";
}

export function formOf(version: Version | null | undefined): Form {
  const all = schemas(version);
  const input = all.Input ?? {};
  const required = new Set(input.required ?? []);
  const groups = (input.oneOf ?? []).map((group) => group.required ?? []);
  const either = groups.flat();
  const fields = Object.entries(input.properties ?? {})
    .map(([name, raw]) => {
      const schema = resolve(raw, all);
      const own = groups.find((group) => group.includes(name));
      return {
        name,
        title: raw.title ?? schema.title ?? name,
        kind: kindOf(name, schema),
        schema,
        required: required.has(name),
        instead: own ? either.filter((other) => !own.includes(other)) : [],
      } satisfies Field;
    })
    .sort((a, b) => (a.schema["x-order"] ?? 99) - (b.schema["x-order"] ?? 99));
  if (fields.length <= 3) return { front: fields, advanced: [] };
  let front = fields.filter((field) => field.required || field.instead.length || FRONT.test(field.name));
  if (!front.length) front = fields.slice(0, 2);
  return { front, advanced: fields.filter((field) => !front.includes(field)) };
}

/** The names of which exactly one is to be given, in the order of the form; empty when there is no such choice. */
export function choicesOf(form: Form): Field[] {
  const first = form.front.find((field) => field.instead.length);
  return first ? form.front.filter((field) => field === first || first.instead.includes(field.name)) : [];
}

/** What the form shows at first: the example of the model, else defaults, else nothing. */
export function initialInput(form: Form, example: Input | null | undefined): Input {
  if (example && Object.keys(example).length) {
    const known = new Map([...form.front, ...form.advanced].map((field) => [field.name, field]));
    return Object.fromEntries(
      Object.entries(example).filter(([name, value]) => {
        const field = known.get(name);
        const isDefault = JSON.stringify(value) === JSON.stringify(field?.schema.default);
        return field && value !== null && (!isDefault || form.front.includes(field));
      }),
    );
  }
  const input: Input = {};
  for (const field of form.front) {
    if (field.schema.default !== undefined) input[field.name] = field.schema.default;
  }
  return input;
}

const isEmpty = (value: Json | undefined): boolean =>
  value === undefined || value === null || value === "" || (Array.isArray(value) && value.length === 0);

/** What is sent: what a person has not filled in is left to the server. Empty texts count where a default would
 * stand in their place. */
export function cleanInput(form: Form, input: Input): Input {
  const fields = [...form.front, ...form.advanced];
  return Object.fromEntries(
    Object.entries(input).filter(([name, value]) => {
      const field = fields.find((each) => each.name === name);
      if (value === "" && field?.schema.default !== undefined && field.schema.default !== "") return true;
      return !isEmpty(value);
    }),
  );
}

/** What is wrong before anything is sent, by field. The server checks again, and more. */
export function faultsOf(form: Form, input: Input): Record<string, string> {
  const faults: Record<string, string> = {};
  for (const field of [...form.front, ...form.advanced]) {
    const value = input[field.name];
    if (isEmpty(value)) {
      if (field.required) faults[field.name] = "This is needed.";
      const others = field.instead.filter((name) => !isEmpty(input[name]));
      if (field.instead.length && !others.length)
        faults[field.name] = `Fill in this or ${field.instead.join(" or ")}.`;
      continue;
    }
    if (field.instead.some((name) => !isEmpty(input[name])))
      faults[field.name] = `Give either this or ${field.instead.join(" or ")}, not both.`;
    const fault = faultOf(field, value);
    if (fault) faults[field.name] = fault;
  }
  return faults;
}

function faultOf(field: Field, value: Json | undefined): string | undefined {
  const { schema } = field;
  if (typeof value === "number") {
    if (Number.isNaN(value)) return "This must be a number.";
    if (schema.type === "integer" && !Number.isInteger(value)) return "This must be a whole number.";
    if (schema.minimum !== undefined && value < schema.minimum) return `At least ${schema.minimum}.`;
    if (schema.maximum !== undefined && value > schema.maximum) return `At most ${schema.maximum}.`;
  }
  if (typeof value === "string" && schema.maxLength !== undefined && value.length > schema.maxLength)
    return `At most ${schema.maxLength.toLocaleString("en")} characters; these are ${value.length.toLocaleString("en")}.`;
  return undefined;
}

/** An array of texts that is one text to people. */
export function isConcatenated(version: Version | null | undefined): boolean {
  const output = schemas(version).Output ?? {};
  return [output, ...(output.anyOf ?? [])].some((each) => each["x-cog-array-display"] === "concatenate");
}

export const randomSeed = (): number => Math.floor(Math.random() * 2 ** 31);
