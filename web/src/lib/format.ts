/** Numbers, times and sizes as people read them. */

export function seconds(value: number | null | undefined): string {
  if (value == null || Number.isNaN(value)) return "–";
  if (value < 0.001) return value === 0 ? "0 ms" : "<1 ms";
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 10) return `${value.toFixed(2)} s`;
  if (value < 120) return `${value.toFixed(1)} s`;
  if (value < 7200) return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
  if (value < 172_800) return `${(value / 3600).toFixed(1)} h`;
  return `${Math.round(value / 86_400)} days`;
}

export function ms(value: number): string {
  const n = value * 1000;
  return n < 10 ? n.toFixed(1) : Math.round(n).toLocaleString("en");
}

export function bytes(value: number | null | undefined): string {
  if (!value) return "0 B";
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log10(value) / 3));
  const n = value / 1000 ** power;
  return `${n >= 100 || power === 0 ? Math.round(n) : n.toFixed(1)} ${units[power]}`;
}

export function count(value: number | null | undefined): string {
  return (value ?? 0).toLocaleString("en");
}

export function compact(value: number): string {
  return Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(value);
}

const UNITS: [number, string][] = [
  [60, "s"],
  [3600, "min"],
  [86_400, "h"],
  [2_592_000, "d"],
];

export function ago(time: string | null | undefined, now = Date.now()): string {
  if (!time) return "never";
  const passed = (now - Date.parse(time)) / 1000;
  const past = passed >= 0;
  const value = Math.abs(passed);
  if (value < 3) return "just now";
  for (const [i, [limit, unit]] of UNITS.entries()) {
    if (value < limit) {
      const n = Math.floor(value / (i ? (UNITS[i - 1]?.[0] ?? 1) : 1));
      return past ? `${n} ${unit} ago` : `in ${n} ${unit}`;
    }
  }
  return new Date(time).toLocaleDateString("en", { year: "numeric", month: "short", day: "numeric" });
}

export function moment(time: string | null | undefined): string {
  return time
    ? new Date(time).toLocaleString("en", {
        month: "short",
        day: "numeric",
        hour: "2-digit",
        minute: "2-digit",
        second: "2-digit",
        hour12: false,
      })
    : "–";
}

export const shortId = (id: string): string => (id.length > 12 ? `${id.slice(0, 6)}…${id.slice(-4)}` : id);

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}
