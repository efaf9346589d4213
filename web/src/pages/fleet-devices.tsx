/** A card for each worker: its device, its memory, its models and their batches; what an operator may do. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { clsx } from "clsx";
import { Cpu, Gauge, LogOut, Pin, PinOff, Play, Power, PowerOff, Server, TriangleAlert } from "lucide-react";
import { useState } from "react";
import { call } from "../api/client";
import type { LoadedModel, Model, Worker } from "../api/types";
import { ago, bytes, compact, count, seconds } from "../lib/format";
import {
  Badge,
  type BadgeTone,
  Button,
  Confirm,
  Dialog,
  Empty,
  ErrorNote,
  Loading,
  Select,
  useNow,
} from "../ui/basics";
import { toast, toastError } from "../ui/toasts";

/** `at`: when this was asked for; on an idle page that may be a while ago, and no worker is silent for it. */
export function Devices({ workers, at }: { workers: Worker[]; at: number }) {
  if (!workers.length)
    return (
      <div className="card">
        <Empty icon={<Server className="size-5" />} title="No worker is alive">
          Predictions are accepted and wait. Start one:{" "}
          <code className="font-mono">lovage worker --device cpu</code>
        </Empty>
      </div>
    );
  const sorted = workers.toSorted((a, b) => Number(isGateway(a)) - Number(isGateway(b)));
  return (
    <section aria-label="Devices">
      <h2 className="mb-3 text-lg font-semibold">Devices</h2>
      <div className={clsx("grid items-start gap-4", workers.length > 1 && "xl:grid-cols-2")}>
        {sorted.map((worker) => (
          <Device key={worker.id} worker={worker} at={at} />
        ))}
      </div>
    </section>
  );
}

const SILENT_SECONDS = 15;

/** It has no device of its own: it passes predictions on to backends. */
const isGateway = (worker: Worker): boolean => worker.device_class === "backends";

const STATES: Record<string, BadgeTone> = {
  ready: "green",
  loading: "blue",
  unhealthy: "red",
  failed: "red",
};

function Device({ worker, at }: { worker: Worker; at: number }) {
  const now = useNow(1000);
  const facts = worker.device_facts as { name?: string; total_bytes?: number };
  const models = worker.models as unknown as LoadedModel[];
  const used = models.reduce((sum, model) => sum + model.bytes, 0);
  const age = (now - Date.parse(worker.seen_at)) / 1000;
  const isSilent = (at - Date.parse(worker.seen_at)) / 1000 > SILENT_SECONDS;
  const drained = worker.queues.length === 0;
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
            <p className="hint truncate">
              {isGateway(worker) ? "Gateway" : facts.name || worker.device_class}
            </p>
          </div>
        </div>
        <div className="flex flex-wrap justify-end gap-1.5">
          {drained && <Badge tone="amber">drained</Badge>}
          <Badge tone={isSilent ? "red" : "green"}>
            {isSilent ? `silent for ${seconds(age)}` : `seen ${age < 3 ? "now" : ago(worker.seen_at, now)}`}
          </Badge>
        </div>
      </div>
      <dl className="num mt-4 flex flex-wrap gap-x-6 gap-y-1 text-[0.9rem]">
        <Pair name="running" value={`${worker.running} of ${worker.slots}`} />
        <Pair name="up" value={ago(worker.started_at, now).replace(" ago", "")} />
        <Pair name="queues" value={worker.queues.join(", ") || "none: it takes nothing new"} />
      </dl>
      {facts.total_bytes ? <MemoryBar models={models} used={used} total={facts.total_bytes} /> : null}
      {models.length > 0 ? (
        <ul className="mt-4 divide-y border-t">
          {models.map((model) => (
            <ModelRow key={model.version} model={model} worker={nameOf(worker)} />
          ))}
        </ul>
      ) : (
        <p className="hint mt-4">
          {isGateway(worker)
            ? "It passes predictions on to backends, and loads nothing itself."
            : "No model is loaded. The first prediction of one loads it."}
        </p>
      )}
      <WorkerActions worker={worker} drained={drained} />
    </article>
  );
}

/** The name by which commands go to it. */
const nameOf = (worker: Worker): string => `${worker.device}@${worker.host}`;

function WorkerActions({ worker, drained }: { worker: Worker; drained: boolean }) {
  const client = useQueryClient();
  const [asked, setAsked] = useState<"drain" | "load">();
  const name = nameOf(worker);
  const command = useMutation({
    mutationFn: (act: "drain" | "resume") => call("POST", `/v1/workers/${worker.id}/${act}`),
    onSuccess: (_, act) => {
      setAsked(undefined);
      toast(act === "drain" ? `${name} takes nothing new.` : `${name} takes predictions again.`);
      client.invalidateQueries({ queryKey: ["status"] });
      client.invalidateQueries({ queryKey: ["queues"] });
    },
    onError: (error, act) => act === "resume" && toastError(error),
  });
  return (
    <div className="mt-4 flex flex-wrap gap-2 border-t pt-4">
      {!isGateway(worker) && (
        <Button small onClick={() => setAsked("load")} aria-label={`Load a model on ${name}`}>
          <Power className="size-3.5" aria-hidden /> Load a model
        </Button>
      )}
      {drained ? (
        <Button
          small
          busy={command.isPending}
          onClick={() => command.mutate("resume")}
          aria-label={`Resume ${name}`}
        >
          <Play className="size-3.5" aria-hidden /> Resume
        </Button>
      ) : (
        <Button small onClick={() => setAsked("drain")} aria-label={`Drain ${name}`}>
          <LogOut className="size-3.5" aria-hidden /> Drain
        </Button>
      )}
      <Confirm
        open={asked === "drain"}
        title={`Drain ${name}?`}
        action="Drain it"
        keep="Keep it working"
        busy={command.isPending}
        error={command.error}
        onClose={() => setAsked(undefined)}
        onConfirm={() => command.mutate("drain")}
      >
        Within a second it takes nothing new and hands back what it has not begun. What runs gets a moment to
        end, and is handed back too: other workers go on with it, and nothing is lost. The worker stays, idle,
        until you resume it.
      </Confirm>
      {asked === "load" && <LoadModel worker={name} onClose={() => setAsked(undefined)} />}
    </div>
  );
}

function LoadModel({ worker, onClose }: { worker: string; onClose: () => void }) {
  const client = useQueryClient();
  const [chosen, setChosen] = useState("");
  const models = useQuery({
    queryKey: ["models", "to-load"],
    queryFn: () => call<{ results: Model[] }>("GET", "/v1/models?limit=100"),
  });
  const runnable = (models.data?.results ?? []).filter((model) => model.latest_version);
  const load = useMutation({
    mutationFn: () => call("POST", `/v1/models/${chosen}/load`, { workers: [worker] }),
    onSuccess: () => {
      toast(`${worker} was asked to load ${chosen}. It appears here when it is ready.`);
      client.invalidateQueries({ queryKey: ["status"] });
      onClose();
    },
  });
  return (
    <Dialog open onClose={onClose} title={`Load a model on ${worker}`}>
      <form
        className="space-y-4"
        onSubmit={(event) => {
          event.preventDefault();
          load.mutate();
        }}
      >
        <p className="text-muted">
          Its first prediction then need not wait. Idle models may be unloaded for it.
        </p>
        {models.isPending && <Loading rows={1} />}
        <ErrorNote error={models.error} retry={() => models.refetch()} />
        <label className="block" htmlFor="model-to-load">
          <span className="label">Model</span>
          <Select
            id="model-to-load"
            className="mt-1.5 w-full"
            value={chosen}
            onChange={(event) => {
              setChosen(event.target.value);
              load.reset();
            }}
          >
            <option value="" disabled>
              Choose one
            </option>
            {runnable.map((model) => (
              <option key={model.id} value={model.id}>
                {model.id}
              </option>
            ))}
          </Select>
        </label>
        <ErrorNote error={load.error} />
        <div className="flex justify-end gap-2">
          <Button onClick={onClose}>Not now</Button>
          <Button type="submit" tone="primary" busy={load.isPending} disabled={!chosen}>
            Load it
          </Button>
        </div>
      </form>
    </Dialog>
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

type Act = "pin" | "unpin" | "unload";
const ACTS: Record<Act, string> = { pin: "keep", unpin: "no longer keep", unload: "unload" };
const HEARTBEAT_MS = 1_500;

function ModelRow({ model, worker }: { model: LoadedModel; worker: string }) {
  const client = useQueryClient();
  const [owner = "", name = ""] = model.model.split("/");
  const command = useMutation({
    mutationFn: (act: Act) =>
      call("POST", `/v1/models/${owner}/${name}/${act}`, { version: model.version, workers: [worker] }),
    onSuccess: (_, act) => {
      toast(`${worker} was asked to ${ACTS[act]} ${model.model}.`);
      // Its next heartbeat says what came of it.
      setTimeout(() => client.invalidateQueries({ queryKey: ["status"] }), HEARTBEAT_MS);
    },
    onError: toastError,
  });
  const elsewhere = worker.startsWith("backends@"); // which forms its batches itself
  const [batch, most] = elsewhere ? [model.in_use, model.limit] : [model.last_batch ?? 0, model.batch_size];
  const share = most ? batch / most : 0;
  return (
    <li className="grid items-center gap-x-4 gap-y-1.5 py-2.5 sm:grid-cols-[minmax(0,1fr)_auto] sm:gap-y-0.5">
      <div className="min-w-0">
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
      <div className="num flex flex-wrap items-center gap-x-3 gap-y-2 whitespace-nowrap text-[0.87rem] text-muted">
        <span>{bytes(model.bytes)}</span>
        <span
          className="flex items-center gap-1.5"
          title={
            elsewhere ? "In flight, of the most at a time" : "Its last batch, of the largest that it forms"
          }
        >
          <svg
            viewBox="0 0 40 6"
            className="h-1.5 w-10"
            role="img"
            aria-label={
              elsewhere ? `${batch} of ${most} in flight` : `the last batch had ${batch} of at most ${most}`
            }
          >
            <rect width="40" height="6" rx="3" fill="var(--hover)" />
            <rect width={Math.min(1, share) * 40} height="6" rx="3" fill="var(--accent)" />
          </svg>
          {batch}/{most || "–"}
        </span>
        {!elsewhere && batch > 1 && <span>{Math.round((model.padding ?? 0) * 100)} % padding</span>}
        {!elsewhere && model.in_use > 0 && <span>{count(model.in_use)} in hand</span>}
        {model.pace > 0 && (
          <span>{model.pace < 1 ? `${compact(1 / model.pace)}/s` : `${seconds(model.pace)} each`}</span>
        )}
      </div>
      {elsewhere || (
        <span className="flex gap-1.5 sm:col-start-2 sm:row-span-2 sm:row-start-1">
          <Button
            small
            onClick={() => command.mutate(model.pinned ? "unpin" : "pin")}
            busy={command.isPending && command.variables !== "unload"}
            aria-label={`${model.pinned ? "Unpin" : "Pin"} ${model.model} on ${worker}`}
          >
            {model.pinned ? (
              <PinOff className="size-3.5" aria-hidden />
            ) : (
              <Pin className="size-3.5" aria-hidden />
            )}
            {model.pinned ? "Unpin" : "Pin"}
          </Button>
          <Button
            small
            onClick={() => command.mutate("unload")}
            busy={command.isPending && command.variables === "unload"}
            aria-label={`Unload ${model.model} from ${worker}`}
          >
            <PowerOff className="size-3.5" aria-hidden /> Unload
          </Button>
        </span>
      )}
    </li>
  );
}
