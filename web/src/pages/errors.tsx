/** What failed, in groups of the same error: how often, since when, and run it all again after a fix. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { PartyPopper, RotateCcw } from "lucide-react";
import { useState } from "react";
import { api, data } from "../api/client";
import { ago, count, plural } from "../lib/format";
import {
  Badge,
  Button,
  buttonClass,
  Confirm,
  Empty,
  ErrorNote,
  Loading,
  PageHeader,
  Select,
} from "../ui/basics";
import { Sparkline } from "../ui/chart";
import { toast } from "../ui/toasts";
import { rerunAll } from "./predictions";

const WINDOWS: [string, string][] = [
  ["1h", "The last hour"],
  ["1d", "The last day"],
  ["7d", "The last 7 days"],
  ["30d", "The last 30 days"],
];

type Group = Awaited<ReturnType<typeof readGroups>>["results"][number];

const readGroups = (window: string) => data(api.GET("/v1/errors", { params: { query: { window } } }));

export function ErrorsPage({ window = "7d" }: { window?: string }) {
  const navigate = useNavigate();
  const client = useQueryClient();
  const [asked, setAsked] = useState<Group>();
  const groups = useQuery({
    queryKey: ["errors", window],
    queryFn: () => readGroups(window),
    refetchInterval: 15_000,
  });
  const rerun = useMutation({
    mutationFn: (group: Group) => rerunAll({ error_group: group.group, created_after: since(window) }),
    onSuccess: ({ created, refused }) => {
      setAsked(undefined);
      const words = plural(created, "prediction runs again", "predictions run again");
      toast(
        refused.length ? `${words}; ${refused.length} could not: ${refused[0]?.detail}` : words,
        !created,
      );
      client.invalidateQueries({ queryKey: ["predictions"] });
      if (created) navigate({ to: "/predictions", search: {} });
    },
  });
  return (
    <>
      <PageHeader
        title="Errors"
        actions={
          <Select
            aria-label="How far back"
            value={window}
            onChange={(event) =>
              navigate({ to: "/errors", search: { window: event.target.value }, replace: true })
            }
          >
            {WINDOWS.map(([value, label]) => (
              <option key={value} value={value}>
                {label}
              </option>
            ))}
          </Select>
        }
      >
        Your failed predictions, those with the same error together.
      </PageHeader>
      <ErrorNote error={groups.error} retry={() => groups.refetch()} />
      {groups.isPending && <Loading rows={5} />}
      {groups.data?.results.length === 0 && (
        <div className="card">
          <Empty icon={<PartyPopper className="size-5" />} title="Nothing failed in this time">
            When something does, it appears here with its reason.
          </Empty>
        </div>
      )}
      <ul className="space-y-3">
        {groups.data?.results.map((group) => (
          <li key={group.group} className="card flex flex-wrap items-start gap-x-6 gap-y-3 p-5">
            <div className="min-w-0 flex-1 basis-80">
              <p className="flex flex-wrap items-center gap-2">
                <Link
                  to="/predictions"
                  search={{ model: group.model, status: "failed" }}
                  className="wrap font-medium hover:underline"
                >
                  {group.model}
                </Link>
                {group.error_code && <Badge tone="red">{group.error_code}</Badge>}
              </p>
              <p className="wrap mt-1.5 line-clamp-3 font-mono text-[0.87rem] text-danger">
                {group.error ?? "no text"}
              </p>
              <p className="hint mt-1.5">
                first {ago(group.first_at)}, last {ago(group.last_at)}
              </p>
            </div>
            <div className="flex w-full items-center justify-between gap-4 sm:w-auto">
              <Sparkline values={group.counts} label={`${group.count} failures over the time chosen`} />
              <p className="num text-right">
                <span className="block text-xl font-semibold leading-tight">{count(group.count)}</span>
                <span className="hint">{group.count === 1 ? "failure" : "failures"}</span>
              </p>
            </div>
            <div className="flex w-full flex-wrap gap-2 border-t pt-3">
              <Link to="/p/$id" params={{ id: group.prediction }} className={buttonClass("plain", true)}>
                Open the latest
              </Link>
              <Link
                to="/predictions"
                search={{ status: "failed", error_group: group.group }}
                className={buttonClass("plain", true)}
              >
                See all of them
              </Link>
              <Button small onClick={() => setAsked(group)}>
                <RotateCcw className="size-4" aria-hidden /> Run all again
              </Button>
            </div>
          </li>
        ))}
      </ul>
      <Confirm
        open={Boolean(asked)}
        title={`Run ${plural(asked?.count ?? 0, "failed prediction")} again?`}
        action="Run them again"
        busy={rerun.isPending}
        error={rerun.error}
        onClose={() => setAsked(undefined)}
        onConfirm={() => asked && rerun.mutate(asked)}
      >
        Each becomes a new prediction with the same input and version. Do this after the fix: an input that is
        itself wrong fails again.
      </Confirm>
    </>
  );
}

function since(window: string): string {
  const unit = { h: 3600, d: 86_400 }[window.at(-1) ?? "d"] ?? 86_400;
  return new Date(Date.now() - Number.parseInt(window, 10) * unit * 1000 - 86_400_000).toISOString();
}
