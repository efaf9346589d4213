/** A time series by uPlot, in the colours of the theme; its numbers are in a table for screen readers. */
import { useEffect, useRef } from "react";
import uPlot from "uplot";
import { useTheme } from "../app/theme";

export interface Series {
  label: string;
  color: string;
  values: (number | null)[];
  fill?: boolean;
}

const HEIGHT = 150;

/** What a color of the style sheet is in this theme: a canvas knows no variables. */
function drawn(color: string, where: HTMLElement): string {
  where.style.color = color;
  const found = getComputedStyle(where).color;
  where.style.color = "";
  return found;
}

export function Chart({
  title,
  at,
  series,
  format,
}: {
  title: string;
  at: number[];
  series: Series[];
  format: (value: number) => string;
}) {
  const box = useRef<HTMLDivElement>(null);
  const theme = useTheme();
  // biome-ignore lint/correctness/useExhaustiveDependencies: a theme's colours are read anew
  useEffect(() => {
    const element = box.current;
    if (!element || at.length < 2) return;
    const options: uPlot.Options = {
      width: element.clientWidth,
      height: HEIGHT,
      padding: [8, 16, 0, 0],
      cursor: { y: false, points: { size: 7 } },
      legend: { show: false },
      scales: { y: { range: (_, __, most) => [0, most > 0 ? most * 1.1 : 1] } },
      axes: [
        {
          stroke: drawn("var(--muted)", element),
          grid: { show: false },
          ticks: { show: false },
          font: "12px Geist",
          size: 26,
          values: "{HH}:{mm}",
        },
        {
          stroke: drawn("var(--muted)", element),
          grid: { stroke: drawn("var(--line)", element), width: 1 },
          ticks: { show: false },
          font: "12px Geist",
          size: (_, values) =>
            Math.max(40, 16 + 7 * Math.max(0, ...(values ?? []).map((each) => each.length))),
          splits: (_, __, ___, most) => [0, most / 2, most].map((each) => each / 1.1),
          values: (_, values) => values.map((value) => format(value)),
        },
      ],
      series: [
        {},
        ...series.map((each) => ({
          label: each.label,
          stroke: drawn(each.color, element),
          width: 1.75,
          fill: each.fill ? `color-mix(in srgb, ${drawn(each.color, element)} 13%, transparent)` : undefined,
          points: { show: sparse(each.values), size: 5 },
        })),
      ],
    };
    const plot = new uPlot(options, [at, ...series.map((each) => each.values)] as uPlot.AlignedData, element);
    const observer = new ResizeObserver(() => plot.setSize({ width: element.clientWidth, height: HEIGHT }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      plot.destroy();
    };
  }, [at, series, theme]);
  return (
    <figure className="card min-w-0 p-4">
      <figcaption className="mb-1 flex flex-wrap items-baseline justify-between gap-x-4">
        <span className="font-medium">{title}</span>
        <span className="flex flex-wrap gap-x-3 text-[0.83rem] text-muted">
          {series.map((each) => (
            <span key={each.label} className="num flex items-center gap-1.5">
              <svg viewBox="0 0 8 8" className="size-2" aria-hidden>
                <rect width="8" height="8" rx="2" fill={each.color} />
              </svg>
              {each.label} <span className="text-ink">{latest(each.values, format)}</span>
            </span>
          ))}
        </span>
      </figcaption>
      {at.length > 1 ? (
        <div ref={box} aria-hidden className="min-h-[150px]" />
      ) : (
        <p className="hint flex min-h-[150px] items-center justify-center">
          Drawn from the second measurement on.
        </p>
      )}
    </figure>
  );
}

/** With few values a line has places of no length: each value gets a dot. */
function sparse(values: (number | null)[]): boolean {
  return values.filter((each) => each !== null).length <= 40;
}

function latest(values: (number | null)[], format: (value: number) => string): string {
  const value = values.findLast((each) => each !== null);
  return value == null ? "–" : format(value);
}

/** A line without axes, for a row of a table. */
export function Sparkline({ values, label }: { values: number[]; label: string }) {
  const most = Math.max(1, ...values);
  const width = 100 / values.length;
  return (
    <svg viewBox="0 0 100 24" preserveAspectRatio="none" role="img" aria-label={label} className="h-6 w-28">
      <rect y="23" width="100" height="1" fill="var(--line-strong)" opacity="0.5" />
      {values.map((value, i) => (
        <rect
          key={i}
          x={i * width + width * 0.15}
          width={width * 0.7}
          y={24 - Math.max(value ? 2 : 0.75, (value / most) * 24)}
          height={Math.max(value ? 2 : 0.75, (value / most) * 24)}
          fill={value ? "var(--danger)" : "var(--line)"}
        />
      ))}
    </svg>
  );
}
