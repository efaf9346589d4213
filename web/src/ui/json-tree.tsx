/** Any JSON, folded where it is deep or long. */
import { ChevronRight } from "lucide-react";
import { useState } from "react";
import type { Json } from "../api/types";

const PAGE = 100;

export function JsonTree({ value, name, depth = 0 }: { value: Json; name?: string; depth?: number }) {
  const isBranch = typeof value === "object" && value !== null;
  if (!isBranch) return <Leaf value={value} name={name} />;
  return <Branch value={value} name={name} depth={depth} />;
}

function Name({ name }: { name?: string }) {
  return name === undefined ? null : <span className="text-info">{name}: </span>;
}

function Leaf({ value, name }: { value: Json; name?: string }) {
  const shown = typeof value === "string" ? JSON.stringify(value) : String(value);
  const color = typeof value === "string" ? "text-on-soft" : value === null ? "text-faint" : "text-warn";
  return (
    <div className="wrap whitespace-pre-wrap pl-5 font-mono text-[0.83rem] leading-6">
      <Name name={name} />
      <span className={color}>{shown}</span>
    </div>
  );
}

function Branch({
  value,
  name,
  depth,
}: {
  value: Json[] | Record<string, Json>;
  name?: string;
  depth: number;
}) {
  const entries = Array.isArray(value)
    ? value.map((each, i) => [String(i), each] as const)
    : Object.entries(value);
  const [open, setOpen] = useState(depth < 2 && entries.length <= 50);
  const [most, setMost] = useState(PAGE);
  const size = Array.isArray(value) ? `[${entries.length}]` : `{${entries.length}}`;
  return (
    <div className={depth ? "pl-4" : ""}>
      <button
        type="button"
        aria-expanded={open}
        onClick={() => setOpen(!open)}
        className="flex items-center gap-1 rounded font-mono text-[0.83rem] leading-6 hover:bg-hover"
      >
        <ChevronRight
          className={`size-3.5 text-faint transition-transform ${open ? "rotate-90" : ""}`}
          aria-hidden
        />
        <Name name={name} />
        <span className="text-faint">{size}</span>
      </button>
      {open && (
        <div className="border-l">
          {entries.slice(0, most).map(([key, each]) => (
            <JsonTree key={key} name={key} value={each} depth={depth + 1} />
          ))}
          {entries.length > most && (
            <button
              type="button"
              className="ml-5 text-[0.85rem] text-accent underline"
              onClick={() => setMost(most + PAGE * 5)}
            >
              show more ({entries.length - most} left)
            </button>
          )}
        </div>
      )}
    </div>
  );
}
