/** What the devices do, what waits for them and for how long, and the charts of the last hours. */
import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useMemo } from "react";
import { api, data } from "../api/client";
import type { StatusOut } from "../api/types";
import { useSession } from "../app/session";
import { bytes, compact, count, seconds } from "../lib/format";
import { ErrorNote, Loading, PageHeader, Section } from "../ui/basics";
import { Chart, type Series } from "../ui/chart";
import { Devices } from "./fleet-devices";
import { Queues } from "./fleet-queues";

const BUSY_MS = 2_500;
const IDLE_MS = 20_000;
const WINDOWS = ["1h", "6h", "24h", "48h"];

export function FleetPage({ window = "6h" }: { window?: string }) {
  const session = useSession();
  const status = useQuery({
    queryKey: ["status"],
    queryFn: () => data(api.GET("/status")),
    // A page that nobody looks at while nothing happens should cost the API next to nothing.
    refetchInterval: ({ state }) => (state.data?.running || state.data?.waiting ? BUSY_MS : IDLE_MS),
  });
  const found = status.data;
  return (
    <>
      <PageHeader title="Fleet and queue">
        What the devices do, what waits for them, and how the last hours went.
      </PageHeader>
      <ErrorNote error={status.error} retry={() => status.refetch()} />
      {status.isPending && <Loading rows={6} />}
      {found && (
        <div className="space-y-6">
          <Figures status={found} />
          {found.workers ? <Devices workers={found.workers} at={status.dataUpdatedAt} /> : <Hardware />}
          <Queues status={found} />
          {session?.user && <Charts window={window} />}
        </div>
      )}
    </>
  );
}

function Figures({ status }: { status: StatusOut }) {
  const rows: [string, string][] = [
    ["workers alive", count(status.live_workers)],
    ["models loaded", count(status.models_loaded)],
    ["running", count(status.running)],
    ["waiting", count(status.waiting + status.claimed)],
  ];
  return (
    <dl className="grid grid-cols-2 gap-3 sm:grid-cols-4">
      {rows.map(([name, value]) => (
        <div key={name} className="card flex flex-col-reverse px-5 py-4">
          <dt className="hint">{name}</dt>
          <dd className="num text-2xl font-semibold leading-tight">{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function Hardware() {
  const hardware = useQuery({
    queryKey: ["hardware"],
    queryFn: () => data(api.GET("/v1/hardware")),
    refetchInterval: 10_000,
  });
  if (!hardware.data?.length) return null;
  return (
    <Section title="Devices" hint="Administrators see each worker, and can unload models.">
      <ul className="-my-2 divide-y">
        {hardware.data.map((kind) => (
          <li
            key={`${kind.sku}${kind.name}`}
            className="num flex flex-wrap items-center justify-between gap-2 py-2.5"
          >
            <span className="font-medium">
              {kind.name} <span className="font-normal text-muted">({kind.sku})</span>
            </span>
            <span className="text-muted">
              {kind.workers} {kind.workers === 1 ? "worker" : "workers"} · {kind.running} of {kind.slots}{" "}
              running · {kind.versions_loaded} loaded
              {kind.total_bytes > 0 && ` · ${bytes(kind.total_bytes)}`}
            </span>
          </li>
        ))}
      </ul>
    </Section>
  );
}

function Charts({ window }: { window: string }) {
  const navigate = useNavigate();
  const session = useSession();
  const statistics = useQuery({
    queryKey: ["statistics", window],
    queryFn: () => data(api.GET("/v1/statistics", { params: { query: { window } } })),
    refetchInterval: 60_000 /* a point is a minute */,
  });
  const charts = useMemo(() => {
    const points = statistics.data?.points ?? [];
    const step = statistics.data?.step_seconds ?? 60;
    const rate = (pick: (point: (typeof points)[number]) => number) =>
      points.map((point) => pick(point) / step);
    return {
      at: points.map((point) => Date.parse(point.at) / 1000),
      rate: [
        { label: "succeeded", color: "var(--c1)", values: rate((point) => point.succeeded), fill: true },
        { label: "canceled", color: "var(--c6)", values: rate((point) => point.canceled) },
      ] satisfies Series[],
      errors: [
        { label: "failed", color: "var(--c5)", values: points.map((point) => point.failed), fill: true },
      ] satisfies Series[],
      times: [
        { label: "p50", color: "var(--c1)", values: points.map((point) => point.p50) },
        { label: "p95", color: "var(--c3)", values: points.map((point) => point.p95) },
      ] satisfies Series[],
      queue: [
        { label: "waiting", color: "var(--c3)", values: points.map((point) => point.waiting), fill: true },
        { label: "running", color: "var(--c2)", values: points.map((point) => point.running) },
      ] satisfies Series[],
    };
  }, [statistics.data]);
  return (
    <section aria-label="Charts">
      <div className="mb-3 flex flex-wrap items-center justify-between gap-2">
        <h2 className="text-lg font-semibold">
          The last hours{" "}
          <span className="text-base font-normal text-muted">
            {session?.user?.is_admin ? "of everybody's predictions" : "of your predictions"}
          </span>
        </h2>
        <div className="flex gap-1" role="group" aria-label="How far back">
          {WINDOWS.map((each) => (
            <button
              key={each}
              type="button"
              aria-pressed={window === each}
              onClick={() =>
                navigate({ to: "/fleet", search: { window: each }, replace: true, resetScroll: false })
              }
              className={`min-h-8 rounded-lg px-3 font-medium ${window === each ? "bg-soft text-on-soft" : "text-muted hover:bg-hover"}`}
            >
              {each}
            </button>
          ))}
        </div>
      </div>
      <ErrorNote error={statistics.error} retry={() => statistics.refetch()} />
      {statistics.isPending && <Loading rows={4} />}
      {statistics.data && (
        <div className="grid gap-4 xl:grid-cols-2">
          <Chart title="Predictions a second" at={charts.at} series={charts.rate} format={rateWords} />
          <Chart title="From acceptance to success" at={charts.at} series={charts.times} format={seconds} />
          <Chart title="Queue" at={charts.at} series={charts.queue} format={compact} />
          <Chart title="Failures" at={charts.at} series={charts.errors} format={compact} />
        </div>
      )}
      <p className="hint mt-2">A minute appears when it is over.</p>
    </section>
  );
}

const rateWords = (value: number): string =>
  value === 0 ? "0" : value < 0.1 ? value.toFixed(3) : value < 10 ? value.toFixed(1) : compact(value);
