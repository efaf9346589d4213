/** One prediction from its waiting to its output: the right half of the playground, and the top of its own page. */
import { Link } from "@tanstack/react-router";
import { ExternalLink, Hourglass, Square } from "lucide-react";
import type { ReactNode } from "react";
import { isEnded, type Json, type Prediction } from "../api/types";
import { type Followed, useCancel } from "../app/prediction";
import { ago, bytes, seconds } from "../lib/format";
import { Button, ErrorNote, Loading, Pre, Progress, StatusBadge, useNow } from "./basics";
import { Output, StreamedText } from "./output";
import { toastError } from "./toasts";
import { Waterfall } from "./waterfall";

export function RunView({
  followed,
  joined,
  actions,
}: {
  followed: Followed;
  joined: boolean;
  actions?: ReactNode;
}) {
  const { prediction, error, text, streaming } = followed;
  if (!prediction) return error ? <ErrorNote error={error} /> : <Loading rows={3} />;
  const running = !isEnded(prediction.status);
  return (
    <div className="space-y-4" data-testid="run" data-status={prediction.status}>
      <div className="flex flex-wrap items-center justify-between gap-2">
        <div className="flex items-center gap-2.5">
          <StatusBadge status={prediction.status} />
          <Elapsed prediction={prediction} />
        </div>
        <div className="flex flex-wrap items-center gap-1.5">
          {running && <CancelButton id={prediction.id} />}
          {actions}
        </div>
      </div>
      {prediction.status === "starting" && <Waiting prediction={prediction} />}
      {prediction.status === "processing" && <Silence prediction={prediction} text={text} />}
      {prediction.status === "processing" && <Steps prediction={prediction} />}
      {prediction.status === "failed" && <Failure prediction={prediction} />}
      {prediction.status === "canceled" && (
        <p className="text-muted">{prediction.error ?? "It was canceled before it had ended."}</p>
      )}
      <Body prediction={prediction} joined={joined} streaming={streaming} text={text} />
      {!running && <Waterfall metrics={prediction.metrics} />}
    </div>
  );
}

function Body({
  prediction,
  joined,
  streaming,
  text,
}: {
  prediction: Prediction;
  joined: boolean;
  streaming: boolean;
  text: Followed["text"];
}) {
  if (prediction.data_removed)
    return <p className="text-muted">Its data was removed {ago(prediction.completed_at)} or later.</p>;
  if (streaming && joined) return prediction.status === "starting" ? null : <StreamedText text={text} />;
  if (prediction.output === null || prediction.output === undefined) {
    return prediction.status === "succeeded" ? <Output value={null} joined={joined} /> : null;
  }
  return <Output value={prediction.output as Json} joined={joined} />;
}

function Elapsed({ prediction }: { prediction: Prediction }) {
  const now = useNow(250);
  const total = prediction.metrics.total_time as number | undefined;
  const passed = total ?? Math.max(0, (now - Date.parse(prediction.created_at)) / 1000);
  return <span className="num text-muted">{total === undefined && passed < 1 ? "" : seconds(passed)}</span>;
}

function CancelButton({ id }: { id: string }) {
  const { cancel, busy } = useCancel(id);
  return (
    <Button small tone="danger" busy={busy} onClick={() => cancel().catch(toastError)}>
      <Square className="size-3.5" aria-hidden /> Cancel
    </Button>
  );
}

/** What it waits for, in a few words: its place in the queue, its model or its batch. */
export function waitsFor({ queue: place, waiting_for: waiting }: Prediction): string {
  if (waiting?.what === "batch") return "Waiting for the batch before it";
  if (waiting?.what === "model")
    return waiting.state === "downloading" ? "Its model is being downloaded" : "Its model is being loaded";
  if (place?.position) return place.position === 1 ? "Next in line" : `Number ${place.position} in line`;
  return place?.more_than ? `Behind more than ${place.more_than} others` : "Waiting for a worker";
}

/** Where it stands, when it is likely to start, and what it waits for. */
function Waiting({ prediction }: { prediction: Prediction }) {
  const waiting = prediction.waiting_for;
  const claimed = waiting?.what === "model" || waiting?.what === "batch";
  return (
    <div className="space-y-2 rounded-lg bg-sunken p-3.5" role="status">
      <p className="flex items-center gap-2 font-medium">
        <Hourglass className="size-4 text-warn" aria-hidden /> {waitsFor(prediction)}
      </p>
      <Progress value={waiting?.percent == null ? null : waiting.percent / 100} label="Waiting" />
      {claimed ? <Claimed waiting={waiting} /> : <Queued prediction={prediction} />}
    </div>
  );
}

/** Why nothing comes though a worker has it. */
function Claimed({ waiting }: { waiting: NonNullable<Prediction["waiting_for"]> }) {
  return (
    <p className="hint num">
      {waiting.total_bytes ? `${bytes(waiting.bytes ?? 0)} of ${bytes(waiting.total_bytes)}. ` : ""}
      {waiting.what === "model"
        ? "The next runs find it loaded."
        : "Its model is loaded, and has others in hand."}
      {waiting.worker && ` On ${waiting.worker}.`}
    </p>
  );
}

function Queued({ prediction }: { prediction: Prediction }) {
  const expected = prediction.queue?.starts_in_seconds;
  const reasons = prediction.routing?.reasons ?? [];
  return (
    <p className="hint">
      {expected
        ? `Expected to start in ${seconds(expected.p50)}, at most ${seconds(expected.p90)} nine times of ten.`
        : "A model that is not loaded yet is loaded first; that can take a while."}
      {prediction.routing?.queue && ` It waits in the queue ${prediction.routing.queue}.`}
      {reasons.length > 0 && ` ${reasons.join("; ")}.`}
    </p>
  );
}

const SILENT_MS = 2_000;

/** Its model has it in hand and says nothing for a while, which is no fault. */
function Silence({ prediction, text }: { prediction: Prediction; text: Followed["text"] }) {
  const now = useNow(500); // the first piece ends it
  const ran = now - Date.parse(prediction.started_at ?? prediction.created_at);
  if (text.length || prediction.progress || !prediction.urls.stream || ran < SILENT_MS) return null;
  return (
    <p className="hint flex items-center gap-2" role="status">
      <Hourglass className="size-4 shrink-0 text-warn" aria-hidden />
      It runs; its output has not begun to come.
    </p>
  );
}

function Steps({ prediction }: { prediction: Prediction }) {
  const { progress } = prediction;
  if (!progress?.total) return prediction.urls.stream ? null : <Progress value={null} label="Running" />;
  return (
    <div className="space-y-1.5">
      <Progress value={progress.done / progress.total} label="Steps" />
      <p className="hint num">
        step {progress.done} of {progress.total}
      </p>
    </div>
  );
}

function Failure({ prediction }: { prediction: Prediction }) {
  return (
    <div className="space-y-2">
      <ErrorNote error={prediction.error ?? "It failed, and did not say why."} />
      {prediction.error_code && (
        <p className="hint">
          Code <code className="font-mono">{prediction.error_code}</code>.{" "}
          {ADVICE[prediction.error_code] ?? ""}{" "}
          {(["input", "logs"] as const).map((tab) => (
            <Link
              key={tab}
              to="/p/$id"
              params={{ id: prediction.id }}
              search={{ tab }}
              className="mr-3 rounded font-medium text-accent hover:underline"
            >
              Its {tab}
            </Link>
          ))}
        </p>
      )}
      {prediction.logs && (
        <details>
          <summary className="cursor-pointer text-[0.9rem] font-medium text-muted">Logs</summary>
          <Pre
            name="Logs"
            className="wrap mt-2 max-h-60 overflow-auto whitespace-pre-wrap rounded-lg bg-sunken p-3 font-mono text-[0.8rem]"
          >
            {prediction.logs}
          </Pre>
        </details>
      )}
    </div>
  );
}

const ADVICE: Record<string, string> = {
  invalid_input: "The model refused the input, or an input file could not be had: look at the input.",
  model_unavailable: "The model could not be fetched or loaded: its page says why.",
  model_failed: "The model's own code raised it: look at the input and the logs.",
  run_timeout: "It ran longer than its version allows: a smaller input may be quick enough.",
  worker_crashed: "The model's process died while running it, more than once. Others were not touched.",
  storage_error: "The output was made and could not be kept. Run it again.",
};

export function OpenLink({ id }: { id: string }) {
  return (
    <Link
      to="/p/$id"
      params={{ id }}
      className="inline-flex min-h-8 items-center gap-1.5 rounded-lg px-2.5 text-[0.87rem] font-medium text-muted hover:bg-hover hover:text-ink"
    >
      <ExternalLink className="size-4" aria-hidden /> Details
    </Link>
  );
}
