/** What the devices do, what waits for them and for how long, and the charts of the last hours. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { Cpu, Gauge, Pin, PowerOff, Server, TriangleAlert } from "lucide-react";
import { useMemo } from "react";
import { api, call, data } from "../api/client";
import type { LoadedModel, StatusOut, Worker } from "../api/types";
import { useSession } from "../app/session";
import { ago, bytes, compact, count, plural, seconds } from "../lib/format";
import {
  Badge,
  type BadgeTone,
  Button,
  Empty,
  ErrorNote,
  Loading,
  PageHeader,
  Section,
  useNow,
} from "../ui/basics";
import { Chart, type Series } from "../ui/chart";
import { toast, toastError } from "../ui/toasts";

const BUSY_MS = 2_500;
const IDLE_MS = 8_000;
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
          {found.workers ? <Devices workers={found.workers} /> : <Hardware />}
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
    ["waiting", count(status.waiting)],
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

function Devices({ workers }: { workers: Worker[] }) {
  if (!workers.length)
    return (
      <div className="card">
        <Empty icon={<Server className="size-5" />} title="No worker is alive">
          Predictions are accepted and wait. Start one:{" "}
          <code className="font-mono">lovage worker --device cpu</code>
        </Empty>
      </div>
    );
  return (
    <section aria-label="Devices">
      <h2 className="mb-3 text-lg font-semibold">Devices</h2>
      <div className="grid gap-4 xl:grid-cols-2">
        {workers.map((worker) => (
          <Device key={worker.id} worker={worker} />
        ))}
      </div>
    </section>
  );
}

const STATES: Record<string, BadgeTone> = {
  ready: "green",
  loading: "blue",
  unhealthy: "red",
  failed: "red",
};

function Device({ worker }: { worker: Worker }) {
  const now = useNow(1000);
  const facts = worker.device_facts as { name?: string; total_bytes?: number };
  const models = worker.models as unknown as LoadedModel[];
  const used = models.reduce((sum, model) => sum + model.bytes, 0);
  const age = (now - Date.parse(worker.seen_at)) / 1000;
  return (
    <article className="card p-5" aria-label={`${worker.device} on ${worker.host}`}>
      <div className="flex items-start justify-between gap-3">
        <div className="flex min-w-0 items-center gap-3">
          <span className="flex size-10 shrink-0 items-center justify-center rounded-xl bg-soft text-on-soft">
            {worker.device_class === "cpu" ? (
              <Cpu className="size-5" aria-hidden />
            ) : (
              <Gauge className="size-5" aria-hidden />
            )}
          </span>
          <div className="min-w-0">
            <h3 className="wrap font-semibold">
              {worker.device} <span className="font-normal text-muted">on {worker.host}</span>
            </h3>
            <p className="hint truncate">{facts.name || worker.device_class}</p>
          </div>
        </div>
        <Badge tone={age > 15 ? "red" : "green"}>
          {age > 15 ? `silent for ${seconds(age)}` : `seen ${age < 3 ? "now" : ago(worker.seen_at, now)}`}
        </Badge>
      </div>
      <dl className="num mt-4 flex flex-wrap gap-x-6 gap-y-1 text-[0.9rem]">
        <Pair name="running" value={`${worker.running} of ${worker.slots}`} />
        <Pair name="up" value={ago(worker.started_at, now).replace(" ago", "")} />
        <Pair name="queues" value={worker.queues.join(", ")} />
      </dl>
      {facts.total_bytes ? <MemoryBar models={models} used={used} total={facts.total_bytes} /> : null}
      {models.length > 0 ? (
        <ul className="mt-4 divide-y border-t">
          {models.map((model) => (
            <ModelRow key={model.version} model={model} worker={`${worker.device}@${worker.host}`} />
          ))}
        </ul>
      ) : (
        <p className="hint mt-4">No model is loaded. The first prediction of one loads it.</p>
      )}
    </article>
  );
}

function Pair({ name, value }: { name: string; value: string }) {
  return (
    <div className="flex gap-1.5">
      <dt className="text-muted">{name}</dt>
      <dd className="wrap">{value}</dd>
    </div>
  );
}

const COLORS = ["var(--c1)", "var(--c2)", "var(--c3)", "var(--c4)", "var(--c5)", "var(--c6)"];

function MemoryBar({ models, used, total }: { models: LoadedModel[]; used: number; total: number }) {
  let start = 0;
  return (
    <figure className="mt-4" aria-label={`Models take ${bytes(used)} of ${bytes(total)}`}>
      <svg
        viewBox="0 0 100 4"
        preserveAspectRatio="none"
        className="h-2 w-full overflow-hidden rounded-full"
        aria-hidden
      >
        <rect width="100" height="4" fill="var(--hover)" />
        {models.map((model, i) => {
          const width = Math.max(model.bytes ? 0.6 : 0, (model.bytes / total) * 100);
          const x = start;
          start += width;
          return <rect key={model.version} x={x} width={width} height="4" fill={COLORS[i % COLORS.length]} />;
        })}
      </svg>
      <figcaption className="hint num mt-1">
        models take {bytes(used)} of {bytes(total)}
      </figcaption>
    </figure>
  );
}

function ModelRow({ model, worker }: { model: LoadedModel; worker: string }) {
  const client = useQueryClient();
  const [owner = "", name = ""] = model.model.split("/");
  const unload = useMutation({
    mutationFn: () =>
      call("POST", `/v1/models/${owner}/${name}/unload`, { version: model.version, workers: [worker] }),
    onSuccess: () => {
      toast(`${worker} was asked to unload ${model.model}.`);
      client.invalidateQueries({ queryKey: ["status"] });
    },
    onError: toastError,
  });
  const share = model.limit ? model.in_use / model.limit : 0;
  return (
    <li className="flex flex-wrap items-center gap-x-4 gap-y-1.5 py-2.5">
      <div className="min-w-0 flex-1 basis-48">
        <p className="flex flex-wrap items-center gap-2">
          <Link
            to="/models/$owner/$name"
            params={{ owner, name }}
            className="wrap font-medium hover:underline"
          >
            {model.model}
          </Link>
          <Badge tone={STATES[model.state] ?? "gray"}>{model.state}</Badge>
          {model.pinned && (
            <Badge>
              <Pin className="size-3" aria-hidden /> pinned
            </Badge>
          )}
        </p>
        {model.reason && (
          <p className="wrap flex items-start gap-1.5 text-[0.87rem] text-danger">
            <TriangleAlert className="mt-0.5 size-3.5 shrink-0" aria-hidden /> {model.reason}
            {model.retry_in ? ` Tried again in ${seconds(model.retry_in)}.` : ""}
          </p>
        )}
      </div>
      <div className="num flex items-center gap-3 text-[0.87rem] text-muted">
        <span>{bytes(model.bytes)}</span>
        <span className="flex items-center gap-1.5">
          <svg
            viewBox="0 0 40 6"
            className="h-1.5 w-10"
            role="img"
            aria-label={`${model.in_use} of ${model.limit} in the batch`}
          >
            <rect width="40" height="6" rx="3" fill="var(--hover)" />
            <rect width={Math.min(1, share) * 40} height="6" rx="3" fill="var(--accent)" />
          </svg>
          {model.in_use}/{model.limit || "–"}
        </span>
        {model.pace > 0 && (
          <span>{model.pace < 1 ? `${compact(1 / model.pace)}/s` : `${seconds(model.pace)} each`}</span>
        )}
        <Button
          small
          onClick={() => unload.mutate()}
          busy={unload.isPending}
          aria-label={`Unload ${model.model} from ${worker}`}
        >
          <PowerOff className="size-3.5" aria-hidden /> Unload
        </Button>
      </div>
    </li>
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

function Queues({ status }: { status: StatusOut }) {
  const isOperator = Boolean(status.queues);
  const lanes = useQuery({
    queryKey: ["lanes"],
    queryFn: () => data(api.GET("/v1/queue")),
    enabled: isOperator && status.waiting > 0,
    refetchInterval: 4_000,
  });
  const found = lanes.data;
  const empty = status.waiting === 0;
  return (
    <Section
      title="Queue"
      hint={
        empty
          ? undefined
          : `${plural(status.waiting, "prediction waits", "predictions wait")}${found && !found.complete ? "; the first of them are counted below" : ""}`
      }
    >
      {empty && <p className="text-muted">Nothing waits. What comes in starts at once.</p>}
      {!empty && !isOperator && (
        <p className="text-muted">Where your own stand is shown with each of them, under Predictions.</p>
      )}
      {!empty && lanes.isPending && isOperator && <Loading rows={2} />}
      {!empty && <ErrorNote error={lanes.error} retry={() => lanes.refetch()} />}
      {!empty && found && (
        <div className="grid gap-x-8 gap-y-6 lg:grid-cols-3">
          <Lanes title="By queue" lanes={found.queues} />
          <Lanes title="By model" lanes={found.models} />
          <Lanes title="By user" lanes={found.users} />
        </div>
      )}
    </Section>
  );
}

interface Lane {
  name: string;
  waiting: number;
  oldest_seconds: number;
}

const SHOWN_LANES = 8;
const LONG_WAIT = 60;

/** A bar for each, as long as what waits of it; amber when its oldest has waited for long. */
function Lanes({ title, lanes }: { title: string; lanes: Lane[] }) {
  const most = Math.max(1, ...lanes.map((lane) => lane.waiting));
  return (
    <div className="min-w-0">
      <h3 className="mb-2 text-[0.9rem] font-medium text-muted">{title}</h3>
      <ul className="space-y-3">
        {lanes.slice(0, SHOWN_LANES).map((lane) => (
          <li key={lane.name}>
            <div className="num mb-1 flex items-baseline justify-between gap-3">
              <span className="truncate font-medium">{lane.name}</span>
              <span className="hint shrink-0">
                {count(lane.waiting)}, oldest {seconds(lane.oldest_seconds)}
              </span>
            </div>
            <svg
              viewBox="0 0 100 3"
              preserveAspectRatio="none"
              className="h-2 w-full overflow-hidden rounded-full"
              aria-hidden
            >
              <rect width="100" height="3" fill="var(--hover)" />
              <rect
                width={(lane.waiting / most) * 100}
                height="3"
                fill={lane.oldest_seconds > LONG_WAIT ? "var(--c3)" : "var(--c1)"}
              />
            </svg>
          </li>
        ))}
      </ul>
      {lanes.length > SHOWN_LANES && <p className="hint mt-2">and {lanes.length - SHOWN_LANES} more</p>}
    </div>
  );
}

function Charts({ window }: { window: string }) {
  const navigate = useNavigate();
  const session = useSession();
  const statistics = useQuery({
    queryKey: ["statistics", window],
    queryFn: () => data(api.GET("/v1/statistics", { params: { query: { window } } })),
    refetchInterval: 30_000,
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
