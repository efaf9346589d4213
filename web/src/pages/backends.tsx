/** Backends, for administrators: what runs versions elsewhere, how it does, and what can be done to it. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Cable, CirclePause, FlaskConical, Play, Plus, RefreshCw, Trash2 } from "lucide-react";
import { useState } from "react";
import { api, call, data, type Schemas } from "../api/client";
import { useSession } from "../app/session";
import { ago, compact, count, plural, seconds } from "../lib/format";
import {
  Badge,
  type BadgeTone,
  Button,
  Confirm,
  Dialog,
  Empty,
  ErrorNote,
  Facts,
  Loading,
  PageHeader,
  Skeleton,
  useNow,
} from "../ui/basics";
import { toast } from "../ui/toasts";
import { LiveCharts } from "./live-charts";
import { NewBackend } from "./new-backend";
import { Peers } from "./peers";

type Backend = Schemas["BackendOut"];
type Stats = Schemas["BackendStatsOut"];
type Tried = Schemas["BackendTestOut"];

const LIST_MS = 15_000;
const STATS_MS = 5_000;

export function BackendsPage() {
  const session = useSession();
  const [adding, setAdding] = useState(false);
  const backends = useQuery({
    queryKey: ["backends"],
    queryFn: () => data(api.GET("/v1/backends")),
    refetchInterval: LIST_MS,
    enabled: Boolean(session?.user?.is_admin),
  });
  if (session && !session.user?.is_admin)
    return <p className="text-muted">This page is for administrators.</p>;
  const add = (
    <Button tone="primary" onClick={() => setAdding(true)}>
      <Plus className="size-4" aria-hidden /> Add a backend
    </Button>
  );
  return (
    <>
      <PageHeader title="Backends" actions={add}>
        Servers elsewhere that run models for this platform: vLLM, Ollama, TEI, another Lovage.
      </PageHeader>
      <ErrorNote error={backends.error} retry={() => backends.refetch()} />
      {backends.isPending && <Loading rows={4} />}
      {backends.data && !backends.data.results.length && (
        <div className="card">
          <Empty icon={<Cable className="size-5" />} title="No backend yet" action={add}>
            Add one, and what it serves can become models here, with the same keys, queues, streams and
            webhooks as all others. A gateway worker calls it:{" "}
            <code className="font-mono">lovage worker --backends</code>
          </Empty>
        </div>
      )}
      <div className={backends.data?.results.length ? "space-y-5" : "mt-5 space-y-5"}>
        {backends.data?.results.map((backend) => (
          <BackendCard key={backend.name} backend={backend} />
        ))}
        <Peers />
      </div>
      <Dialog open={adding} onClose={() => setAdding(false)} title="Add a backend">
        <NewBackend onDone={() => setAdding(false)} />
      </Dialog>
    </>
  );
}

const TONES: Record<string, BadgeTone> = {
  healthy: "green",
  degraded: "amber",
  open: "red",
  unreachable: "red",
};

function BackendCard({ backend }: { backend: Backend }) {
  const now = useNow(5_000);
  const stats = useQuery({
    queryKey: ["backend-stats", backend.name],
    queryFn: () => data(api.GET("/v1/backends/{name}/stats", { params: { path: { name: backend.name } } })),
    refetchInterval: STATS_MS,
  });
  const state = stats.data?.state ?? backend.state;
  return (
    <article className="card p-5" aria-label={backend.name}>
      <div className="flex flex-wrap items-start justify-between gap-3">
        <div className="min-w-0">
          <h2 className="flex flex-wrap items-center gap-2 font-semibold">
            <span className="wrap">{backend.name}</span>
            <Badge>{backend.kind}</Badge>
            <Badge tone={TONES[state] ?? "gray"}>{state}</Badge>
            {backend.draining && <Badge tone="amber">draining</Badge>}
          </h2>
          <p className="hint wrap mt-0.5 font-mono">{backend.url}</p>
        </div>
        <Actions backend={backend} />
      </div>
      {stats.data?.reason && state !== "healthy" && (
        <p className={`wrap mt-3 text-[0.9rem] ${state === "unknown" ? "text-muted" : "text-danger"}`}>
          {stats.data.reason}
          {state === "unknown" && ". Start one: lovage worker --backends"}
        </p>
      )}
      <ErrorNote error={stats.error} retry={() => stats.refetch()} />
      {stats.isPending && <Skeleton className="mt-4 h-40 w-full" />}
      {stats.data && (
        <div className="mt-4 grid items-start gap-5 lg:grid-cols-[20rem_minmax(0,1fr)]">
          <Facts rows={factsOf(backend, stats.data, now)} />
          <LiveCharts
            sample={{
              at: stats.dataUpdatedAt / 1000,
              requests: stats.data.requests,
              errors: stats.data.errors,
              inFlight: stats.data.in_flight,
              waiting: stats.data.waiting,
            }}
          />
        </div>
      )}
      <Served backend={backend} breakers={stats.data?.models ?? {}} />
    </article>
  );
}

function factsOf(backend: Backend, stats: Stats, now: number): [string, string][] {
  const share = stats.requests ? ` (${((stats.errors / stats.requests) * 100).toFixed(1)} %)` : "";
  return [
    ["Last check", stats.probed_at ? ago(stats.probed_at, now) : "never"],
    ["Answered checks", stats.uptime === null ? "–" : `${(stats.uptime * 100).toFixed(1)} %`],
    ["In flight", `${count(stats.in_flight)} of ${count(backend.max_concurrency)} a gateway`],
    ["Waiting for it", count(stats.waiting)],
    ["Calls", count(stats.requests)],
    ["Failed calls", `${count(stats.errors)}${share}`],
    ["Latency p50, p95", `${seconds(stats.latency_p50)}, ${seconds(stats.latency_p95)}`],
    ["Tokens in, out", `${compact(stats.input_tokens)}, ${compact(stats.output_tokens)}`],
    ["Credential", backend.has_credential ? "set" : "none"],
  ];
}

const BREAKERS: Record<string, BadgeTone> = { closed: "green", half_open: "amber", open: "red" };

function Served({ backend, breakers }: { backend: Backend; breakers: Record<string, string> }) {
  if (!backend.served.length)
    return (
      <p className="hint mt-4">
        Nobody has asked yet what it serves: Test asks, and Register makes models of it.
      </p>
    );
  return (
    <details className="mt-4">
      <summary className="font-medium text-muted">
        It serves {plural(backend.served.length, "model")}, as of {ago(backend.served_at)}
      </summary>
      <ul className="mt-2 divide-y">
        {backend.served.map((served) => (
          <li key={served.name} className="flex flex-wrap items-center gap-2 py-2">
            <code className="wrap font-mono text-[0.9rem]">{served.name}</code>
            <Badge>{served.task}</Badge>
            {breakers[served.name] && (
              <Badge tone={BREAKERS[breakers[served.name] ?? ""] ?? "gray"}>
                {breakers[served.name] === "closed"
                  ? "answers"
                  : `circuit breaker ${breakers[served.name]?.replace("_", "-")}`}
              </Badge>
            )}
            {served.context_length > 0 && (
              <span className="hint num">{count(served.context_length)} tokens</span>
            )}
            {served.dimensions > 0 && <span className="hint num">{served.dimensions} dimensions</span>}
          </li>
        ))}
      </ul>
    </details>
  );
}

type Ask = "drain" | "remove" | "register";

function Actions({ backend }: { backend: Backend }) {
  const client = useQueryClient();
  const [asked, setAsked] = useState<Ask>();
  const [tried, setTried] = useState<Tried>();
  const path = `/v1/backends/${encodeURIComponent(backend.name)}`;
  const refresh = () => {
    client.invalidateQueries({ queryKey: ["backends"] });
    client.invalidateQueries({ queryKey: ["backend-stats", backend.name] });
  };
  const done = (words: string) => {
    toast(words);
    setAsked(undefined);
    refresh();
  };
  const test = useMutation({
    mutationFn: () => call<Tried>("POST", `${path}/test`),
    onSuccess: (result) => {
      setTried(result);
      refresh();
    },
  });
  const drain = useMutation({
    mutationFn: (draining: boolean) => call("PATCH", path, { draining }),
    onSuccess: (_, draining) =>
      done(draining ? `${backend.name} is given nothing more.` : `${backend.name} is given work again.`),
  });
  const remove = useMutation({
    mutationFn: () => call("DELETE", path),
    onSuccess: () => done(`${backend.name} is removed.`),
  });
  return (
    <div className="flex flex-wrap gap-2">
      <Button small onClick={() => test.mutate()} busy={test.isPending} aria-label={`Test ${backend.name}`}>
        <FlaskConical className="size-3.5" aria-hidden /> Test
      </Button>
      <Button small onClick={() => setAsked("register")} aria-label={`Register models of ${backend.name}`}>
        <RefreshCw className="size-3.5" aria-hidden /> Register
      </Button>
      {backend.draining ? (
        <Button
          small
          busy={drain.isPending}
          onClick={() => drain.mutate(false)}
          aria-label={`Resume ${backend.name}`}
        >
          <Play className="size-3.5" aria-hidden /> Resume
        </Button>
      ) : (
        <Button small onClick={() => setAsked("drain")} aria-label={`Drain ${backend.name}`}>
          <CirclePause className="size-3.5" aria-hidden /> Drain
        </Button>
      )}
      <Button small tone="danger" onClick={() => setAsked("remove")} aria-label={`Remove ${backend.name}`}>
        <Trash2 className="size-3.5" aria-hidden /> Remove
      </Button>
      <TestResult
        name={backend.name}
        tried={tried}
        error={test.error}
        onClose={() => {
          setTried(undefined);
          test.reset();
        }}
      />
      <Confirm
        open={asked === "drain"}
        title={`Drain ${backend.name}?`}
        action="Drain it"
        keep="Keep it working"
        busy={drain.isPending}
        error={drain.error}
        onClose={() => setAsked(undefined)}
        onConfirm={() => drain.mutate(true)}
      >
        It is given nothing more; what runs there goes on. What only it can run waits until you resume it.
      </Confirm>
      <Confirm
        open={asked === "remove"}
        title={`Remove ${backend.name}?`}
        action="Remove it"
        busy={remove.isPending}
        error={remove.error}
        onClose={() => setAsked(undefined)}
        onConfirm={() => remove.mutate()}
      >
        Its models stay here, and their predictions wait until a backend of this name is there again.
      </Confirm>
      {asked === "register" && (
        <Register backend={backend} path={path} onClose={() => setAsked(undefined)} onDone={refresh} />
      )}
    </div>
  );
}

function TestResult({
  name,
  tried,
  error,
  onClose,
}: {
  name: string;
  tried: Tried | undefined;
  error: unknown;
  onClose: () => void;
}) {
  return (
    <Dialog open={Boolean(tried || error)} onClose={onClose} title={`Test of ${name}`}>
      <div className="space-y-4">
        <ErrorNote error={error} />
        {tried && !tried.ok && <ErrorNote error={tried.error} />}
        {tried?.ok && (
          <>
            <p>
              It answers, within {seconds(tried.seconds)}, and serves {plural(tried.served.length, "model")}.
            </p>
            <ul className="max-h-60 overflow-auto">
              {tried.served.map((served) => (
                <li key={served.name} className="flex flex-wrap items-center gap-2 py-1">
                  <code className="wrap font-mono text-[0.9rem]">{served.name}</code>
                  <Badge>{served.task}</Badge>
                </li>
              ))}
            </ul>
          </>
        )}
        <p className="hint">Called from the API's machine; gateway workers check it from theirs.</p>
        <div className="flex justify-end">
          <Button tone="primary" onClick={onClose}>
            Close
          </Button>
        </div>
      </div>
    </Dialog>
  );
}

function Register({
  backend,
  path,
  onClose,
  onDone,
}: {
  backend: Backend;
  path: string;
  onClose: () => void;
  onDone: () => void;
}) {
  const [open, setOpen] = useState(false);
  const register = useMutation({
    mutationFn: () =>
      call<Schemas["SyncOut"]>("POST", `${path}/sync`, { visibility: open ? "public" : "private" }),
    onSuccess: onDone,
  });
  return (
    <Dialog open onClose={onClose} title={`Register what ${backend.name} serves`}>
      {register.data ? (
        <div className="space-y-4">
          <ul className="max-h-72 divide-y overflow-auto">
            {register.data.results.map((each) => (
              <li key={each.upstream} className="py-2">
                <p className="flex flex-wrap items-center gap-2">
                  <code className="wrap font-mono text-[0.9rem]">{each.model || each.upstream}</code>
                  <Badge tone={each.error ? "red" : each.is_new ? "green" : "gray"}>
                    {each.error ? "not registered" : each.is_new ? "new" : "was there"}
                  </Badge>
                </p>
                {each.error && <p className="wrap text-[0.87rem] text-danger">{each.error}</p>}
              </li>
            ))}
          </ul>
          <div className="flex justify-end">
            <Button tone="primary" onClick={onClose}>
              Close
            </Button>
          </div>
        </div>
      ) : (
        <form
          className="space-y-4"
          onSubmit={(event) => {
            event.preventDefault();
            register.mutate();
          }}
        >
          <p className="text-muted">
            Each of its models becomes a model here, owned by{" "}
            <code className="font-mono">{backend.name}</code>, or a version of the one that is there.
          </p>
          <label className="flex items-center gap-2.5">
            <input
              type="checkbox"
              checked={open}
              onChange={(event) => setOpen(event.target.checked)}
              className="size-4 accent-[var(--accent)]"
            />
            Public: everybody with an account here may see and run them
          </label>
          <ErrorNote error={register.error} />
          <div className="flex justify-end gap-2">
            <Button onClick={onClose}>Not now</Button>
            <Button type="submit" tone="primary" busy={register.isPending}>
              Register them
            </Button>
          </div>
        </form>
      )}
    </Dialog>
  );
}
