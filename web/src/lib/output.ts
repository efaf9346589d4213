/** What kind of thing an output is, so that it is shown as a person wants to see it. Pure. */
import type { Json } from "../api/types";

export type View =
  | { kind: "nothing" }
  | { kind: "text"; text: string }
  | { kind: "files"; urls: string[] }
  | { kind: "vector"; values: number[] }
  | { kind: "vectors"; rows: number[][] }
  | { kind: "scores"; rows: { label: string; score: number }[] }
  | { kind: "table"; columns: string[]; rows: Record<string, Json>[] }
  | { kind: "json"; value: Json };

const URL_LIKE = /^(https?:\/\/\S+|data:[\w/+.-]+;base64,\S+)$/;

const isNumbers = (value: Json): value is number[] =>
  Array.isArray(value) && value.length > 3 && value.every((each) => typeof each === "number");
const isRecord = (value: Json): value is Record<string, Json> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function scoresOf(value: Json[]): { label: string; score: number }[] | null {
  const rows = value.map((each) => {
    if (!isRecord(each) || typeof each.score !== "number") return null;
    const label = each.label ?? each.token_str ?? each.answer ?? each.word;
    return typeof label === "string" && Object.keys(each).length <= 4 ? { label, score: each.score } : null;
  });
  return rows.every((row) => row !== null) ? rows : null;
}

/** `joined`: texts of a list are pieces of one text. */
export function viewOf(output: Json | undefined, joined: boolean): View {
  if (output === null || output === undefined) return { kind: "nothing" };
  if (typeof output === "string")
    return URL_LIKE.test(output) ? { kind: "files", urls: [output] } : { kind: "text", text: output };
  if (isNumbers(output)) return { kind: "vector", values: output };
  if (Array.isArray(output) && output.length) {
    if (output.every((each) => typeof each === "string")) {
      if (output.every((each) => URL_LIKE.test(each as string)))
        return { kind: "files", urls: output as string[] };
      if (joined) return { kind: "text", text: output.join("") };
    }
    if (output.every(isNumbers)) return { kind: "vectors", rows: output as number[][] };
    const scores = scoresOf(output);
    if (scores) return { kind: "scores", rows: scores };
    if (output.length <= 500 && output.every(isRecord)) return tableOf(output);
  }
  if (isRecord(output)) {
    if (isNumbers(output.embedding ?? null)) return { kind: "vector", values: output.embedding as number[] };
    const { labels, scores } = output;
    if (Array.isArray(labels) && Array.isArray(scores) && labels.length === scores.length)
      return {
        kind: "scores",
        rows: labels.map((label, i) => ({ label: String(label), score: Number(scores[i]) })),
      };
    if (Object.keys(output).length > 1 && Object.values(output).every((each) => typeof each === "number"))
      return {
        kind: "scores",
        rows: Object.entries(output).map(([label, score]) => ({ label, score: score as number })),
      };
  }
  return { kind: "json", value: output };
}

function tableOf(rows: Record<string, Json>[]): View {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  return columns.length <= 8 ? { kind: "table", columns, rows } : { kind: "json", value: rows };
}

export type Media = "image" | "audio" | "video" | "file";
const ENDINGS: [RegExp, Media][] = [
  [/^data:image\/|\.(png|jpe?g|gif|webp|avif)(\?|$)/i, "image"],
  [/^data:audio\/|\.(wav|mp3|ogg|flac|m4a)(\?|$)/i, "audio"],
  [/^data:video\/|\.(mp4|webm|mov)(\?|$)/i, "video"],
];

export const mediaOf = (url: string): Media => ENDINGS.find(([ending]) => ending.test(url))?.[1] ?? "file";

export const fileName = (url: string): string =>
  url.startsWith("data:") ? "file" : decodeURIComponent(url.split("?")[0]?.split("/").at(-1) ?? "file");

/** Places on a strip of at most `cells`: the mean of each, from -1 to 1 by the largest of them. */
export function stripOf(values: number[], cells: number): number[] {
  const n = Math.min(cells, values.length);
  const means = Array.from({ length: n }, (_, i) => {
    const part = values.slice(Math.floor((i * values.length) / n), Math.floor(((i + 1) * values.length) / n));
    return part.reduce((sum, each) => sum + each, 0) / part.length;
  });
  const most = Math.max(1e-12, ...means.map(Math.abs));
  return means.map((mean) => mean / most);
}
