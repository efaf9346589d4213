/** An output, as the kind of thing that it is. */
import { clsx } from "clsx";
import { Download } from "lucide-react";
import { memo, useEffect, useRef, useState } from "react";
import { here, isOwn } from "../api/client";
import type { Json } from "../api/types";
import { fileName, mediaOf, stripOf, type View, viewOf } from "../lib/output";
import type { GrowingText } from "../lib/stream";
import { buttonClass, CopyButton } from "./basics";
import { JsonTree } from "./json-tree";

export const Output = memo(function Output({ value, joined }: { value: Json | undefined; joined: boolean }) {
  const view = viewOf(value, joined);
  return <Shown view={view} />;
});

function Shown({ view }: { view: View }) {
  switch (view.kind) {
    case "nothing":
      return <p className="text-muted">No output.</p>;
    case "text":
      return <TextOutput text={view.text} />;
    case "files":
      return (
        <div className={view.urls.length > 1 ? "grid gap-3 sm:grid-cols-2" : ""}>
          {view.urls.map((url) => (
            <FileOutput key={url.split("?")[0]} url={url} />
          ))}
        </div>
      );
    case "vector":
      return <Vectors rows={[view.values]} />;
    case "vectors":
      return <Vectors rows={view.rows} />;
    case "scores":
      return <Scores rows={view.rows} />;
    case "table":
      return <Table columns={view.columns} rows={view.rows} />;
    case "json":
      return <JsonTree value={view.value} />;
  }
}

function TextOutput({ text }: { text: string }) {
  if (!text) return <p className="text-muted">An empty text.</p>;
  return (
    <div className="wrap whitespace-pre-wrap leading-relaxed" data-testid="text-output">
      {text}
    </div>
  );
}

const BLOCK = 4_000;

/** Text that grows: each frame adds one text node, and after BLOCK characters a line's end begins a new block, so that
 * what stands already is not laid out again: ten thousand tokens cost no more a frame than ten. */
export function StreamedText({ text }: { text: GrowingText }) {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    let shown = 0;
    let generation = -1;
    let block = document.createElement("div");
    let size = 0;
    const begin = () => {
      block = document.createElement("div");
      size = 0;
      element.append(block);
    };
    const add = (piece: string) => {
      block.append(piece);
      size += piece.length;
    };
    const show = () => {
      if (generation !== text.generation) {
        generation = text.generation;
        shown = 0;
        element.replaceChildren();
        begin();
      }
      const added = text.from(shown);
      shown = text.length;
      const end = size > BLOCK ? added.indexOf("\n") : -1;
      if (end < 0) return add(added);
      add(added.slice(0, end));
      begin();
      add(added.slice(end + 1));
    };
    show();
    return text.subscribe(show);
  }, [text]);
  return (
    <div
      ref={box}
      className="wrap whitespace-pre-wrap leading-relaxed [&>div:last-child]:after:ml-px [&>div:last-child]:after:inline-block [&>div:last-child]:after:h-[1.05em] [&>div:last-child]:after:w-[0.5ch] [&>div:last-child]:after:animate-pulse [&>div:last-child]:after:bg-accent [&>div:last-child]:after:align-text-bottom"
      data-testid="text-output"
    />
  );
}

/** From how many pixels on a picture is shown as it is; smaller ones are enlarged, each pixel a square. */
const SMALL = 160;

function FileOutput({ url }: { url: string }) {
  const [small, setSmall] = useState(false);
  const own = isOwn(url);
  const source = own ? (url.startsWith("data:") ? url : here(url)) : url;
  const kind = own ? mediaOf(url) : "file";
  const name = fileName(url);
  return (
    <figure className="min-w-0">
      {kind === "image" && (
        <img
          src={source}
          alt={`The output ${name}`}
          onLoad={({ currentTarget }) => setSmall(currentTarget.naturalWidth < SMALL)}
          className={clsx(
            "max-w-full rounded-lg border bg-sunken",
            small && "w-56 [image-rendering:pixelated]",
          )}
        />
      )}
      {kind === "audio" && <audio src={source} controls className="w-full" aria-label={name} />}
      {kind === "video" && (
        <video src={source} controls className="max-w-full rounded-lg" aria-label={name} />
      )}
      <figcaption className="mt-2 flex items-center gap-2">
        <a href={source} download={name} className={buttonClass("plain", true)}>
          <Download className="size-4" aria-hidden /> {name}
        </a>
      </figcaption>
    </figure>
  );
}

const CELLS = 96;

function Vectors({ rows }: { rows: number[][] }) {
  const [shown, setShown] = useState(8);
  return (
    <div className="space-y-4">
      {rows.slice(0, shown).map((values, i) => (
        <div key={i}>
          <div className="mb-1.5 flex items-center justify-between gap-3">
            <span className="text-muted">
              {rows.length > 1 && `${i + 1}: `}
              {values.length.toLocaleString("en")} numbers
            </span>
            <CopyButton text={JSON.stringify(values)} label="Copy" />
          </div>
          <HeatStrip values={values} />
          <p className="num mt-1.5 truncate font-mono text-[0.8rem] text-faint">
            [
            {values
              .slice(0, 8)
              .map((each) => each.toFixed(4))
              .join(", ")}
            , …]
          </p>
        </div>
      ))}
      {rows.length > shown && (
        <button type="button" className="text-accent underline" onClick={() => setShown(shown + 50)}>
          {rows.length - shown} more
        </button>
      )}
    </div>
  );
}

function HeatStrip({ values }: { values: number[] }) {
  const cells = stripOf(values, CELLS);
  return (
    <svg
      viewBox={`0 0 ${cells.length} 8`}
      preserveAspectRatio="none"
      className="h-12 w-full rounded-md"
      role="img"
      aria-label={`${values.length} numbers as colours: green above zero, blue below`}
    >
      <rect width={cells.length} height="8" fill="var(--sunken)" />
      {cells.map((cell, i) => (
        <rect
          key={i}
          x={i}
          width="1.02"
          height="8"
          fill={cell >= 0 ? "var(--c1)" : "var(--c2)"}
          opacity={Math.abs(cell) ** 0.7}
        />
      ))}
    </svg>
  );
}

function Scores({ rows }: { rows: { label: string; score: number }[] }) {
  const most = Math.max(1e-9, ...rows.map((row) => Math.abs(row.score)));
  return (
    <table className="w-full">
      <thead className="sr-only">
        <tr>
          <th>label</th>
          <th>score</th>
        </tr>
      </thead>
      <tbody>
        {rows.map((row, i) => (
          <tr key={i}>
            <td className="wrap w-1/3 py-1 pr-3 font-medium">{row.label}</td>
            <td className="py-1">
              <svg viewBox="0 0 100 4" preserveAspectRatio="none" className="h-2 w-full" aria-hidden>
                <rect width="100" height="4" rx="2" fill="var(--hover)" />
                <rect width={(Math.abs(row.score) / most) * 100} height="4" rx="2" fill="var(--accent)" />
              </svg>
            </td>
            <td className="num w-20 py-1 pl-3 text-right">{row.score.toFixed(4)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Table({ columns, rows }: { columns: string[]; rows: Record<string, Json>[] }) {
  return (
    <section className="max-h-96 overflow-auto rounded-lg border" aria-label="Table" tabIndex={-1}>
      <table className="w-full text-left text-[0.9rem]">
        <thead className="sticky top-0 bg-sunken">
          <tr>
            {columns.map((column) => (
              <th key={column} className="px-3 py-2 font-medium">
                {column}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row, i) => (
            <tr key={i} className="border-t">
              {columns.map((column) => (
                <td key={column} className="wrap px-3 py-1.5">
                  {typeof row[column] === "object" ? JSON.stringify(row[column]) : String(row[column] ?? "")}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
