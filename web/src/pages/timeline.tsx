/** What happened to a prediction: its attempts, each with worker, backend and reason; and all its events. */
import { useQuery } from "@tanstack/react-query";
import { clsx } from "clsx";
import { api, data, type Schemas } from "../api/client";
import { isEnded, type Prediction } from "../api/types";
import { moment, seconds } from "../lib/format";
import { ErrorNote, Loading } from "../ui/basics";
import { waitsFor } from "../ui/run-view";

type HistoryEvent = Schemas["HistoryEventOut"];

/** Asked for again when it moves: what it was, when it began, how it ended. */
function useEvents(prediction: Prediction) {
  const { id, status, started_at, data_removed } = prediction;
  return useQuery({
    queryKey: ["events", id, status, started_at, data_removed],
    queryFn: () =>
      data(api.GET("/v1/predictions/{prediction_id}/events", { params: { path: { prediction_id: id } } })),
    placeholderData: (before) => before,
    staleTime: 10_000,
  });
}

type Tone = "done" | "now" | "bad" | "later";

const ENDS: Record<string, [string, Tone]> = {
  succeeded: ["Succeeded", "done"],
  failed: ["Failed", "bad"],
  canceled: ["Canceled", "bad"],
  data_removed: ["Its data was removed", "later"],
};

/** The words for an event; webhooks have a tab of their own. */
function wordsOf(event: HistoryEvent, ofMany: boolean): [string, Tone] {
  switch (event.event) {
    case "accepted":
      return ["Accepted", "done"];
    case "started":
      return [ofMany ? `Attempt ${event.attempt} began` : "A worker took it", "done"];
    case "handed_back":
      return [`Attempt ${event.attempt} was given up`, "bad"];
    case "webhook":
      return [`Webhook ${event.webhook}`, (event.status_code ?? 500) < 300 ? "done" : "bad"];
    default:
      return ENDS[event.event] ?? [event.event, "done"];
  }
}

function noteOf(event: HistoryEvent): string {
  const parts = [
    event.event === "started" && event.worker && `on ${event.worker}`,
    event.event === "webhook" && event.status_code && `answered ${event.status_code}`,
    event.seconds != null && `within ${seconds(event.seconds)}`,
    event.backend && `by the backend ${event.backend}`,
    event.reason,
  ];
  return parts.filter(Boolean).join(", ");
}

interface Moment {
  title: string;
  at: string | null;
  note: string;
  tone: Tone;
}

function momentsOf(prediction: Prediction, events: HistoryEvent[]): Moment[] {
  const shown = events.filter((event) => event.event !== "webhook");
  const ofMany = shown.filter((event) => event.event === "started").length > 1;
  const moments = shown.map((event): Moment => {
    const [title, tone] = wordsOf(event, ofMany);
    return { title, tone, at: event.at, note: noteOf(event) };
  });
  const [first] = moments;
  const queue = prediction.routing?.queue;
  if (first && queue)
    first.note = first.note ? `to the queue ${queue}: ${first.note}` : `to the queue ${queue}`;
  const last = moments.at(-1);
  if (prediction.status === "processing" && last) last.tone = "now";
  if (prediction.status === "starting")
    moments.push({ title: waitsFor(prediction), at: null, note: "", tone: "now" });
  return moments;
}

export function Timeline({ prediction }: { prediction: Prediction }) {
  const events = useEvents(prediction);
  const moments = momentsOf(prediction, events.data?.results ?? []);
  return (
    <section className="card p-5" aria-label="Timeline">
      {events.isPending && <Loading rows={3} />}
      <ErrorNote error={events.error} retry={() => events.refetch()} />
      <ol className="space-y-4">
        {events.data &&
          moments.map((each, i) => (
            <li key={`${each.title}${each.at}`} className="relative pl-6">
              {i < moments.length - 1 && (
                <span className="absolute top-4 bottom-[-1.2rem] left-[5px] w-px bg-line" aria-hidden />
              )}
              <Dot tone={each.tone} className="absolute top-1.5 left-0" />
              <p className="font-medium">{each.title}</p>
              <p className="hint num">{each.at ? moment(each.at) : "now"}</p>
              {each.note && <p className="hint wrap mt-0.5 line-clamp-4">{each.note}</p>}
            </li>
          ))}
      </ol>
    </section>
  );
}

function Dot({ tone, className }: { tone: Tone; className?: string }) {
  return (
    <span
      aria-hidden
      className={clsx(
        "size-[11px] shrink-0 rounded-full border-2",
        tone === "done" && "border-accent bg-accent",
        tone === "now" && "animate-pulse border-info bg-surface",
        tone === "bad" && "border-danger bg-danger",
        tone === "later" && "border-strong bg-surface",
        className,
      )}
    />
  );
}

export function EventsTab({ prediction }: { prediction: Prediction }) {
  const events = useEvents(prediction);
  if (events.isPending) return <Loading />;
  if (!events.data) return <ErrorNote error={events.error} retry={() => events.refetch()} />;
  const list = events.data.results;
  const began = Date.parse(prediction.created_at);
  const ofMany = list.filter((event) => event.event === "started").length > 1;
  return (
    <>
      <ol className="-my-2 divide-y">
        {list.map((event, i) => {
          const [title, tone] = wordsOf(event, ofMany);
          const note = noteOf(event);
          return (
            <li
              key={`${event.event}${event.at}${i}`}
              className="flex flex-wrap items-baseline gap-x-4 gap-y-0.5 py-2.5"
            >
              <span className="num w-32 shrink-0 text-[0.87rem] text-muted">
                {i ? `+ ${seconds((Date.parse(event.at) - began) / 1000)}` : moment(event.at)}
              </span>
              <span className="flex min-w-0 flex-1 basis-60 items-baseline gap-2.5">
                <Dot tone={tone} className="translate-y-px" />
                <span className="min-w-0">
                  <span className="font-medium">{title}</span>
                  {note && <span className="hint wrap block">{note}</span>}
                </span>
              </span>
            </li>
          );
        })}
      </ol>
      {!isEnded(prediction.status) && <p className="hint mt-4">It has not ended yet.</p>}
    </>
  );
}
