/** Counters that were looked at again and again, as rates for a chart. */

export interface Sample {
  /** Unix seconds. */
  at: number;
  requests: number;
  errors: number;
  inFlight: number;
  waiting: number;
}

const KEPT = 360;

/** With a new one; the oldest go, and one of the same moment counts once. */
export function addSample(samples: Sample[], sample: Sample): Sample[] {
  if (samples.at(-1)?.at === sample.at) return samples;
  return [...samples.slice(1 - KEPT), sample];
}

/** Rates a second between neighbours; null for the first, and where a counter began anew. */
export function seriesOf(samples: Sample[]) {
  const rate = (pick: (sample: Sample) => number): (number | null)[] =>
    samples.map((sample, i) => {
      const before = samples[i - 1];
      if (!before || pick(sample) < pick(before)) return null;
      return (pick(sample) - pick(before)) / Math.max(0.001, sample.at - before.at);
    });
  return {
    at: samples.map((sample) => sample.at),
    rate: rate((sample) => sample.requests),
    errors: rate((sample) => sample.errors),
    inFlight: samples.map((sample) => sample.inFlight),
    waiting: samples.map((sample) => sample.waiting),
  };
}
