/** What waits where: each queue with what an operator may do to it, and lanes by model and by user. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { ArrowRightLeft, Ban, Pause, Play } from "lucide-react";
import { useState } from "react";
import { api, call, data, type Schemas } from "../api/client";
import type { StatusOut } from "../api/types";
import { ago, count, plural, seconds } from "../lib/format";
import { Badge, Button, Confirm, Dialog, ErrorNote, Loading, Section, Select } from "../ui/basics";
import { toast, toastError } from "../ui/toasts";

type QueueState = Schemas["QueueStateOut"];
type ActOut = Schemas["QueueActOut"];

const BUSY_MS = 4_000;
const IDLE_MS = 30_000;
const SHOWN = 12;

export function Queues({ status }: { status: StatusOut }) {
  const isOperator = Boolean(status.queues);
  const empty = status.waiting === 0;
  const lanes = useQuery({
    queryKey: ["lanes"],
    queryFn: () => data(api.GET("/v1/queue")),
    enabled: isOperator && !empty,
    refetchInterval: BUSY_MS,
  });
  const found = lanes.data;
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
      {isOperator && <QueueList isBusy={!empty} />}
      {!empty && <ErrorNote error={lanes.error} retry={() => lanes.refetch()} />}
      {!empty && found && (
        <div className="mt-6 grid gap-x-8 gap-y-6 lg:grid-cols-2">
          <Lanes title="By model" lanes={found.models} />
          <Lanes title="By user" lanes={found.users} />
        </div>
      )}
    </Section>
  );
}

function QueueList({ isBusy }: { isBusy: boolean }) {
  const [all, setAll] = useState(false);
  const queues = useQuery({
    queryKey: ["queues"],
    queryFn: () => data(api.GET("/v1/queues")),
    refetchInterval: isBusy ? BUSY_MS : IDLE_MS,
  });
  if (queues.isPending) return <Loading rows={2} />;
  if (!queues.data) return <ErrorNote error={queues.error} retry={() => queues.refetch()} />;
  const list = queues.data.results.toSorted((a, b) => b.waiting - a.waiting);
  const most = Math.max(1, ...list.map((queue) => queue.waiting));
  const shown = all ? list : list.slice(0, SHOWN);
  return (
    <div className="mt-4">
      <ErrorNote error={queues.error} />
      <ul className="divide-y border-t" aria-label="Queues">
        {shown.map((queue) => (
          <QueueRow
            key={queue.queue}
            queue={queue}
            most={most}
            others={list.filter((each) => each.queue !== queue.queue && each.workers.length > 0)}
          />
        ))}
      </ul>
      {list.length > SHOWN && (
        <Button small tone="quiet" className="mt-2" onClick={() => setAll(!all)}>
          {all ? "Show fewer" : `Show all ${list.length} queues`}
        </Button>
      )}
    </div>
  );
}

const LONG_WAIT = 60;

function QueueRow({ queue, most, others }: { queue: QueueState; most: number; others: QueueState[] }) {
  const client = useQueryClient();
  const [asked, setAsked] = useState<"purge" | "move">();
  const name = queue.queue;
  const path = `/v1/queues/${encodeURIComponent(name)}`;
  const refresh = () => {
    for (const key of ["queues", "status", "lanes"]) client.invalidateQueries({ queryKey: [key] });
  };
  const pause = useMutation({
    mutationFn: (act: "pause" | "resume") => call("POST", `${path}/${act}`),
    onSuccess: (_, act) => {
      toast(act === "pause" ? `${name} is paused: what runs goes on.` : `${name} goes on.`);
      refresh();
    },
    onError: toastError,
  });
  const isPaused = Boolean(queue.paused_since);
  const old = (queue.oldest_seconds ?? 0) > LONG_WAIT;
  return (
    <li className="flex flex-wrap items-center gap-x-5 gap-y-2 py-3">
      <div className="min-w-0 flex-1 basis-56">
        <p className="flex flex-wrap items-center gap-2">
          <code className="wrap font-mono text-[0.9rem] font-medium">{name}</code>
          {isPaused && <Badge tone="amber">paused</Badge>}
          {!queue.workers.length && queue.waiting > 0 && <Badge tone="red">no worker reads it</Badge>}
        </p>
        <p className="hint wrap">
          {isPaused && `by ${queue.paused_by ?? "somebody"}, ${ago(queue.paused_since)} · `}
          {queue.workers.length ? `read by ${readers(queue.workers)}` : "nobody reads it"}
        </p>
      </div>
      <div className="w-36">
        <p className="num flex justify-between gap-2 text-[0.87rem]">
          <span className="font-medium">{count(queue.waiting)} waiting</span>
          {queue.oldest_seconds !== null && (
            <span className={old ? "text-warn" : "text-muted"} title="The oldest has waited so long">
              {seconds(queue.oldest_seconds)}
            </span>
          )}
        </p>
        <Bar share={queue.waiting / most} amber={old} />
      </div>
      <div className="flex flex-wrap gap-1.5">
        <Button
          small
          busy={pause.isPending}
          aria-label={`${isPaused ? "Resume" : "Pause"} the queue ${name}`}
          onClick={() => pause.mutate(isPaused ? "resume" : "pause")}
        >
          {isPaused ? <Play className="size-3.5" aria-hidden /> : <Pause className="size-3.5" aria-hidden />}
          {isPaused ? "Resume" : "Pause"}
        </Button>
        {queue.waiting > 0 && (
          <>
            <Button small aria-label={`Move what waits in ${name}`} onClick={() => setAsked("move")}>
              <ArrowRightLeft className="size-3.5" aria-hidden /> Move
            </Button>
            <Button
              small
              tone="danger"
              aria-label={`Purge what waits in ${name}`}
              onClick={() => setAsked("purge")}
            >
              <Ban className="size-3.5" aria-hidden /> Purge
            </Button>
          </>
        )}
      </div>
      {asked === "purge" && (
        <Purge queue={queue} path={path} onClose={() => setAsked(undefined)} onDone={refresh} />
      )}
      {asked === "move" && (
        <Move
          queue={queue}
          path={path}
          others={others}
          onClose={() => setAsked(undefined)}
          onDone={refresh}
        />
      )}
    </li>
  );
}

function readers(workers: string[]): string {
  return workers.length > 3
    ? `${workers.slice(0, 3).join(", ")} and ${workers.length - 3} more`
    : workers.join(", ");
}

/** The API does a thousand at once and says whether more are left. */
async function untilDone(act: () => Promise<ActOut>): Promise<number> {
  let total = 0;
  for (;;) {
    const { count, more } = await act();
    total += count;
    if (!more || !count) return total;
  }
}

interface QueueDialog {
  queue: QueueState;
  path: string;
  onClose: () => void;
  onDone: () => void;
}

function Purge({ queue, path, onClose, onDone }: QueueDialog) {
  const purge = useMutation({
    mutationFn: () => untilDone(() => call<ActOut>("POST", `${path}/purge`)),
    onSuccess: (total) => {
      toast(`${plural(total, "prediction")} of ${queue.queue} canceled.`);
      onClose();
    },
    onSettled: onDone,
  });
  return (
    <Confirm
      open
      title={`Cancel all that waits in ${queue.queue}?`}
      action={`Cancel ${count(queue.waiting)}`}
      keep="Let them wait"
      busy={purge.isPending}
      error={purge.error}
      onClose={onClose}
      onConfirm={() => purge.mutate()}
    >
      Each of the {plural(queue.waiting, "prediction")} ends as canceled, and its webhook is sent. This cannot
      be undone. What runs already goes on.
    </Confirm>
  );
}

function Move({ queue, path, others, onClose, onDone }: QueueDialog & { others: QueueState[] }) {
  const [to, setTo] = useState(others[0]?.queue ?? "");
  const move = useMutation({
    mutationFn: () => untilDone(() => call<ActOut>("POST", `${path}/move`, { to })),
    onSuccess: (total) => {
      toast(
        total
          ? `${plural(total, "prediction")} moved to ${to}.`
          : `Nothing could be moved: what waits there is bound to its device.`,
        !total,
      );
      onClose();
    },
    onSettled: onDone,
  });
  return (
    <Dialog open onClose={onClose} title={`Move what waits in ${queue.queue}`}>
      <form
        className="space-y-4"
        onSubmit={(event) => {
          event.preventDefault();
          move.mutate();
        }}
      >
        <p className="text-muted">
          {plural(queue.waiting, "prediction")}, the oldest first. What its version pins to a worker stays,
          and so does what requires something of its device, unless the other queue is of the same class.
        </p>
        {others.length ? (
          <label className="block" htmlFor="queue-to-move-to">
            <span className="label">To the queue</span>
            <Select
              id="queue-to-move-to"
              className="mt-1.5 w-full"
              value={to}
              onChange={(event) => setTo(event.target.value)}
            >
              {others.map((each) => (
                <option key={each.queue} value={each.queue}>
                  {each.queue} ({count(each.waiting)} waiting)
                </option>
              ))}
            </Select>
          </label>
        ) : (
          <p className="text-warn">No other queue has a worker that reads it.</p>
        )}
        <ErrorNote error={move.error} />
        <div className="flex justify-end gap-2">
          <Button onClick={onClose}>Leave them</Button>
          <Button type="submit" tone="primary" busy={move.isPending} disabled={!to}>
            Move them
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

function Bar({ share, amber }: { share: number; amber: boolean }) {
  return (
    <svg
      viewBox="0 0 100 3"
      preserveAspectRatio="none"
      className="mt-1 h-2 w-full overflow-hidden rounded-full"
      aria-hidden
    >
      <rect width="100" height="3" fill="var(--hover)" />
      <rect width={share * 100} height="3" fill={amber ? "var(--c3)" : "var(--c1)"} />
    </svg>
  );
}

const SHOWN_LANES = 8;

/** A bar for each, as long as what waits of it; amber when its oldest has waited for long. */
function Lanes({ title, lanes }: { title: string; lanes: Schemas["LaneOut"][] }) {
  const most = Math.max(1, ...lanes.map((lane) => lane.waiting));
  return (
    <div className="min-w-0">
      <h3 className="mb-2 text-[0.9rem] font-medium text-muted">{title}</h3>
      <ul className="space-y-3">
        {lanes.slice(0, SHOWN_LANES).map((lane) => (
          <li key={lane.name}>
            <div className="num flex items-baseline justify-between gap-3">
              <span className="truncate font-medium">{lane.name}</span>
              <span className="hint shrink-0">
                {count(lane.waiting)}, oldest {seconds(lane.oldest_seconds)}
              </span>
            </div>
            <Bar share={lane.waiting / most} amber={lane.oldest_seconds > LONG_WAIT} />
          </li>
        ))}
      </ul>
      {lanes.length > SHOWN_LANES && <p className="hint mt-2">and {lanes.length - SHOWN_LANES} more</p>}
    </div>
  );
}
