/** Where a prediction's time went: queue, load, batch wait, run, upload. */
import { seconds } from "../lib/format";

const PHASES: [string, string, string][] = [
  ["queue", "queue", "var(--c6)"],
  ["load", "load", "var(--c4)"],
  ["batch_wait", "batch wait", "var(--c3)"],
  ["tokenise", "tokenise", "var(--c2)"],
  ["run", "run", "var(--c1)"],
  ["post", "upload", "var(--c5)"],
  ["store", "store", "var(--line-strong)"],
];

export function Waterfall({ metrics }: { metrics: Record<string, unknown> }) {
  const total = Number(metrics.total_time ?? 0);
  const parts = PHASES.map(([key, label, color]) => ({ label, color, value: Number(metrics[key] ?? 0) }));
  if (!total) return null;
  let start = 0;
  const rows = parts.map((part) => {
    const row = { ...part, from: start / total, width: part.value / total };
    start += part.value;
    return row;
  });
  const shown = rows.filter((row) => row.value >= 0.0005 || row.width > 0.01);
  return (
    <figure aria-label={`Where ${seconds(total)} went`}>
      <svg
        viewBox="0 0 100 4"
        preserveAspectRatio="none"
        className="h-2.5 w-full overflow-hidden rounded-full"
        aria-hidden
      >
        <rect width="100" height="4" fill="var(--hover)" />
        {rows.map((row) => (
          <rect key={row.label} x={row.from * 100} width={row.width * 100} height="4" fill={row.color} />
        ))}
      </svg>
      <ul className="num mt-2 flex flex-wrap gap-x-4 gap-y-1 text-[0.85rem] text-muted">
        {shown.map((row) => (
          <li key={row.label} className="flex items-center gap-1.5">
            <svg viewBox="0 0 8 8" className="size-2" aria-hidden>
              <rect width="8" height="8" rx="2" fill={row.color} />
            </svg>
            {row.label} <span className="text-ink">{seconds(row.value)}</span>
          </li>
        ))}
        <li className="ml-auto">
          total <span className="font-medium text-ink">{seconds(total)}</span>
        </li>
      </ul>
    </figure>
  );
}
