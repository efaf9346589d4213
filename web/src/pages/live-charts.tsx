/** Load and calls of a backend or a peer as the page has seen them since it was opened: the platform keeps no
 * minutes of them. */
import { useEffect, useMemo, useState } from "react";
import { compact } from "../lib/format";
import { addSample, type Sample, seriesOf } from "../lib/samples";
import { Chart, type Series } from "../ui/chart";

/** `waiting`: what the second line of the load is. */
export function LiveCharts({ sample, waiting = "waiting" }: { sample: Sample; waiting?: string }) {
  const [samples, setSamples] = useState<Sample[]>([]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: a sample is another one when its time is
  useEffect(() => setSamples((known) => addSample(known, sample)), [sample.at]);
  const shown = useMemo(() => {
    const series = seriesOf(samples);
    return {
      at: series.at,
      calls: [
        { label: "calls/s", color: "var(--c1)", values: series.rate, fill: true },
        { label: "failed/s", color: "var(--c5)", values: series.errors },
      ] satisfies Series[],
      load: [
        { label: "in flight", color: "var(--c2)", values: series.inFlight, fill: true },
        { label: waiting, color: "var(--c3)", values: series.waiting },
      ] satisfies Series[],
    };
  }, [samples, waiting]);
  return (
    <div className="min-w-0">
      <div className="grid gap-4 xl:grid-cols-2">
        <Chart title="Load" at={shown.at} series={shown.load} format={compact} />
        <Chart title="Calls" at={shown.at} series={shown.calls} format={rateWords} />
      </div>
      <p className="hint mt-2">Since this page was opened.</p>
    </div>
  );
}

const rateWords = (value: number): string => (value > 0 && value < 10 ? value.toFixed(1) : compact(value));
