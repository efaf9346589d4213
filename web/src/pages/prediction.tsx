/** One prediction: what happened when, what came out, why it failed. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { RotateCcw, SearchX, SlidersHorizontal, Trash2 } from "lucide-react";
import { useState } from "react";
import { ApiProblem, call } from "../api/client";
import { type Input, isEnded, type Json, type Prediction } from "../api/types";
import { versionQuery } from "../app/models";
import { createPrediction, useFollowed } from "../app/prediction";
import { ago, moment, seconds } from "../lib/format";
import { isConcatenated } from "../lib/schema-form";
import {
  Button,
  buttonClass,
  Code,
  Confirm,
  CopyButton,
  Empty,
  ErrorNote,
  Facts,
  Loading,
  Pre,
  StatusBadge,
} from "../ui/basics";
import { JsonTree } from "../ui/json-tree";
import { RunView } from "../ui/run-view";
import { Tabs } from "../ui/tabs";
import { toast, toastError } from "../ui/toasts";
import { WebhooksTab } from "./prediction-webhooks";
import { EventsTab, Timeline } from "./timeline";

export type PredictionTab = "output" | "input" | "logs" | "events" | "webhooks" | "raw";

export function PredictionPage({ id, tab = "output" }: { id: string; tab?: PredictionTab }) {
  const followed = useFollowed(id);
  const { prediction, error } = followed;
  if (!prediction) return error ? <Missing id={id} error={error} /> : <Loading rows={6} />;
  return <Found followed={followed} prediction={prediction} tab={tab} />;
}

function Missing({ id, error }: { id: string; error: unknown }) {
  const signedOut = error instanceof ApiProblem && error.status === 401;
  if (!signedOut && !(error instanceof ApiProblem && error.status === 404))
    return <ErrorNote error={error} />;
  return (
    <div className="card">
      <h1 className="sr-only">Prediction</h1>
      <Empty
        icon={<SearchX className="size-5" />}
        title={signedOut ? "Sign in to see this prediction" : "This prediction is not there"}
        action={
          signedOut ? (
            <Link to="/sign-in" search={{ next: `/p/${id}` }} className={buttonClass("primary")}>
              Sign in
            </Link>
          ) : (
            <Link to="/predictions" className={buttonClass()}>
              Your predictions
            </Link>
          )
        }
      >
        {!signedOut && "Its address may be wrong, or it is somebody else's."}
      </Empty>
    </div>
  );
}

function Found({
  followed,
  prediction,
  tab,
}: {
  followed: ReturnType<typeof useFollowed>;
  prediction: Prediction;
  tab: PredictionTab;
}) {
  const navigate = useNavigate();
  const [owner = "", name = ""] = prediction.model.split("/");
  const version = useQuery({ ...versionQuery(owner, name, prediction.version), retry: false });
  const joined = version.data ? isConcatenated(version.data) : Boolean(prediction.urls.stream);
  const open = (next: PredictionTab) =>
    navigate({ to: ".", search: next === "output" ? {} : { tab: next }, replace: true, resetScroll: false });
  const tabs = [
    { value: "output" as const, label: "Output", content: <RunView followed={followed} joined={joined} /> },
    { value: "input" as const, label: "Input", content: <InputTab prediction={prediction} /> },
    { value: "logs" as const, label: "Logs", content: <LogsTab prediction={prediction} /> },
    { value: "events" as const, label: "Events", content: <EventsTab prediction={prediction} /> },
    { value: "webhooks" as const, label: "Webhooks", content: <WebhooksTab prediction={prediction} /> },
    {
      value: "raw" as const,
      label: "Raw",
      content: <Code text={JSON.stringify(prediction, null, 2)} language="JSON" />,
    },
  ];
  return (
    <>
      <header className="mb-5 flex flex-wrap items-start justify-between gap-3">
        <div className="min-w-0">
          <div className="flex flex-wrap items-center gap-2.5">
            <h1 className="wrap text-xl font-semibold tracking-tight">
              <Link to="/models/$owner/$name" params={{ owner, name }} className="hover:underline">
                {prediction.model}
              </Link>
            </h1>
            <StatusBadge status={prediction.status} />
          </div>
          <p className="hint mt-1 flex items-center gap-1">
            <code className="wrap font-mono">{prediction.id}</code>
            <CopyButton text={prediction.id} name="Copy the id" />
          </p>
        </div>
        <Actions prediction={prediction} owner={owner} name={name} />
      </header>
      <div className="grid items-start gap-5 lg:grid-cols-[19rem_minmax(0,1fr)]">
        <div className="order-2 space-y-5 lg:sticky lg:top-6 lg:order-1">
          <Timeline prediction={prediction} />
          <About prediction={prediction} />
        </div>
        <section className="card order-1 min-w-0 px-4 pt-1 pb-5 sm:px-5 lg:order-2">
          <Tabs label="Parts of the prediction" value={tab} onChange={open} tabs={tabs} />
        </section>
      </div>
    </>
  );
}

function Actions({ prediction, owner, name }: { prediction: Prediction; owner: string; name: string }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const [removing, setRemoving] = useState(false);
  const ended = isEnded(prediction.status);
  const again = useMutation({
    mutationFn: () => createPrediction(client, prediction.version, prediction.input as Input),
    onSuccess: (made) => navigate({ to: "/p/$id", params: { id: made.id } }),
    onError: toastError,
  });
  const remove = useMutation({
    mutationFn: () => call("DELETE", `/v1/predictions/${prediction.id}`),
    onSuccess: () => {
      setRemoving(false);
      client.invalidateQueries({ queryKey: ["prediction", prediction.id] });
      toast("Its input, output, logs and files are removed.");
    },
  });
  if (prediction.data_removed) return null;
  return (
    <div className="flex flex-wrap gap-2">
      {prediction.input && (
        <>
          <Button onClick={() => again.mutate()} busy={again.isPending}>
            <RotateCcw className="size-4" aria-hidden /> Run again
          </Button>
          <Link
            to="/models/$owner/$name"
            params={{ owner, name }}
            search={{ run: prediction.id }}
            className={buttonClass()}
          >
            <SlidersHorizontal className="size-4" aria-hidden /> Change and run
          </Link>
        </>
      )}
      {ended && (
        <Button tone="danger" onClick={() => setRemoving(true)}>
          <Trash2 className="size-4" aria-hidden /> Remove data
        </Button>
      )}
      <Confirm
        open={removing}
        title="Remove its data?"
        action="Remove it"
        busy={remove.isPending}
        error={remove.error}
        onClose={() => setRemoving(false)}
        onConfirm={() => remove.mutate()}
      >
        Input, output, logs and files are removed for good. That it ran, when and for how long stays.
      </Confirm>
    </div>
  );
}

function About({ prediction }: { prediction: Prediction }) {
  const { metrics } = prediction;
  const rows: [string, React.ReactNode][] = [
    ["Made", ago(prediction.created_at)],
    [
      "Version",
      <code key="v" className="font-mono">
        {prediction.version.slice(0, 12)}
      </code>,
    ],
    ["Source", prediction.source],
  ];
  if (prediction.deployment) rows.push(["Deployment", prediction.deployment]);
  if (typeof metrics.backend === "string") rows.push(["Backend", metrics.backend]);
  if (Array.isArray(metrics.backends_tried))
    rows.push(["Backends tried", metrics.backends_tried.join(", then ")]);
  if (metrics.batch_size) rows.push(["Batch", String(metrics.batch_size)]);
  if (typeof metrics.padding === "number") rows.push(["Padding", `${(metrics.padding * 100).toFixed(0)} %`]);
  if (metrics.output_tokens)
    rows.push(["Tokens", `${metrics.prompt_tokens ?? "?"} in, ${metrics.output_tokens} out`]);
  if (metrics.seed !== undefined) rows.push(["Seed", String(metrics.seed)]);
  if (prediction.timeout) rows.push(["Timeout", seconds(prediction.timeout)]);
  if (prediction.deadline) rows.push(["Deadline", moment(prediction.deadline)]);
  return (
    <section className="card p-5" aria-label="About">
      <Facts rows={rows} />
    </section>
  );
}

function InputTab({ prediction }: { prediction: Prediction }) {
  if (!prediction.input) return <p className="text-muted">Its data was removed.</p>;
  const all = Object.entries(prediction.input as Record<string, Json>);
  const brief = all.filter(([, value]) => typeof value === "number" || typeof value === "boolean");
  return (
    <dl className="space-y-4">
      {all
        .filter((each) => !brief.includes(each))
        .map(([name, value]) => (
          <div key={name}>
            <dt className="label mb-1 flex items-center justify-between">
              {name}
              <CopyButton
                text={typeof value === "string" ? value : JSON.stringify(value)}
                name={`Copy ${name}`}
              />
            </dt>
            <dd>
              {typeof value === "object" ? (
                <JsonTree value={value} />
              ) : (
                <Pre
                  name={name}
                  className="wrap max-h-96 overflow-auto whitespace-pre-wrap rounded-lg bg-sunken p-3 font-mono text-[0.85rem]"
                >
                  {String(value)}
                </Pre>
              )}
            </dd>
          </div>
        ))}
      {brief.length > 0 && (
        <div className="grid gap-x-8 border-t pt-2 sm:grid-cols-2">
          {brief.map(([name, value]) => (
            <div key={name} className="flex justify-between gap-4 border-b py-1.5">
              <dt className="wrap text-muted">{name}</dt>
              <dd className="num font-mono text-[0.87rem]">{String(value)}</dd>
            </div>
          ))}
        </div>
      )}
    </dl>
  );
}

function LogsTab({ prediction }: { prediction: Prediction }) {
  if (!prediction.logs)
    return (
      <p className="text-muted">{isEnded(prediction.status) ? "The model wrote nothing." : "Nothing yet."}</p>
    );
  return <Code text={prediction.logs} language="logs" />;
}
