/** What one has used so far, by day and model. */
import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { ChartColumn } from "lucide-react";
import { useMemo } from "react";
import { api, data } from "../api/client";
import { useSession } from "../app/session";
import { count, plural, seconds } from "../lib/format";
import { Empty, ErrorNote, Loading, PageHeader, Section, Select } from "../ui/basics";

export interface UsageSearch {
  days?: number;
  everybody?: boolean;
}

type Row = Awaited<ReturnType<typeof readUsage>>["results"][number];

const readUsage = (days: number, everybody: boolean) =>
  data(api.GET("/v1/usage", { params: { query: { days, everybody } } }));

const total = (row: Row): number => row.succeeded + row.failed + row.canceled;

export function UsagePage({ days = 30, everybody = false }: UsageSearch) {
  const navigate = useNavigate();
  const session = useSession();
  const usage = useQuery({
    queryKey: ["usage", days, everybody],
    queryFn: () => readUsage(days, everybody),
    refetchInterval: 60_000,
  });
  const rows = usage.data?.results ?? [];
  const change = (search: UsageSearch) =>
    navigate({ to: "/usage", search: { days, everybody, ...search }, replace: true });
  return (
    <>
      <PageHeader
        title="Usage so far"
        actions={
          <>
            {session?.user?.is_admin && (
              <Select
                aria-label="Whose"
                value={everybody ? "all" : "own"}
                onChange={(event) => change({ everybody: event.target.value === "all" })}
              >
                <option value="own">Mine</option>
                <option value="all">Everybody's</option>
              </Select>
            )}
            <Select
              aria-label="How far back"
              value={days}
              onChange={(event) => change({ days: Number(event.target.value) })}
            >
              {[7, 30, 90, 365].map((each) => (
                <option key={each} value={each}>
                  The last {each} days
                </option>
              ))}
            </Select>
          </>
        }
      >
        Predictions and device seconds by day (UTC). A batch's time is shared by those in it.
      </PageHeader>
      <ErrorNote error={usage.error} retry={() => usage.refetch()} />
      {usage.isPending && <Loading rows={6} />}
      {usage.isSuccess && !rows.length && (
        <div className="card">
          <Empty icon={<ChartColumn className="size-5" />} title="Nothing yet">
            What ended appears here a minute later.
          </Empty>
        </div>
      )}
      {rows.length > 0 && (
        <div className="space-y-5">
          <Days rows={rows} days={days} />
          <Totals rows={rows} everybody={everybody} />
        </div>
      )}
    </>
  );
}

const HEIGHT = 36;

function Days({ rows, days }: { rows: Row[]; days: number }) {
  const bars = useMemo(() => {
    const byDay = new Map<string, { good: number; bad: number; device: number }>();
    for (const row of rows) {
      const day = byDay.get(row.day) ?? { good: 0, bad: 0, device: 0 };
      day.good += row.succeeded + row.canceled;
      day.bad += row.failed;
      day.device += row.device_seconds;
      byDay.set(row.day, day);
    }
    const today = Date.now();
    return Array.from({ length: days }, (_, i) => {
      const day = new Date(today - (days - 1 - i) * 86_400_000).toISOString().slice(0, 10);
      return { day, ...(byDay.get(day) ?? { good: 0, bad: 0, device: 0 }) };
    });
  }, [rows, days]);
  const most = Math.max(1, ...bars.map((bar) => bar.good + bar.bad));
  const width = 100 / bars.length;
  const sum = (pick: (bar: (typeof bars)[number]) => number) => bars.reduce((all, bar) => all + pick(bar), 0);
  return (
    <Section
      title={plural(
        sum((bar) => bar.good + bar.bad),
        "prediction",
      )}
      hint={`${seconds(sum((bar) => bar.device))} of device time, ${count(sum((bar) => bar.bad))} failed`}
    >
      <svg
        viewBox={`0 0 100 ${HEIGHT}`}
        preserveAspectRatio="none"
        className="h-40 w-full"
        role="img"
        aria-label={`Predictions a day, at most ${most}`}
      >
        {bars.map((bar, i) => {
          const good = (bar.good / most) * (HEIGHT - 1);
          const bad = (bar.bad / most) * (HEIGHT - 1);
          const box = { x: i * width + width * 0.12, width: width * 0.76 };
          return (
            <g key={bar.day}>
              <title>{`${bar.day}: ${bar.good + bar.bad} predictions, ${bar.bad} failed`}</title>
              <rect {...box} y={HEIGHT - 0.4} height={0.4} fill="var(--line)" />
              <rect {...box} y={HEIGHT - good} height={good} fill="var(--c1)" />
              <rect {...box} y={HEIGHT - good - bad} height={bad} fill="var(--c5)" />
            </g>
          );
        })}
      </svg>
      <p className="hint num mt-1 flex justify-between">
        <span>{bars[0]?.day}</span>
        <span>{bars.at(-1)?.day}</span>
      </p>
    </Section>
  );
}

function Totals({ rows, everybody }: { rows: Row[]; everybody: boolean }) {
  const sums = new Map<string, { who: string; model: string; n: number; failed: number; device: number }>();
  for (const row of rows) {
    const key = everybody ? `${row.username}\n${row.model}` : row.model;
    const sum = sums.get(key) ?? {
      who: row.username ?? "anonymous",
      model: row.model,
      n: 0,
      failed: 0,
      device: 0,
    };
    sum.n += total(row);
    sum.failed += row.failed;
    sum.device += row.device_seconds;
    sums.set(key, sum);
  }
  const list = [...sums.values()].sort((a, b) => b.device - a.device);
  return (
    <Section title="By model">
      <section aria-label="Table by model" tabIndex={0} className="-mx-2 overflow-x-auto px-2">
        <table className="num w-full text-right">
          <thead className="text-muted">
            <tr>
              {everybody && <th className="pb-1.5 pr-4 text-left font-medium">user</th>}
              <th className="pb-1.5 text-left font-medium">model</th>
              <th className="pb-1.5 pl-3 font-medium">predictions</th>
              <th className="pb-1.5 pl-3 font-medium">failed</th>
              <th className="whitespace-nowrap pb-1.5 pl-3 font-medium">device time</th>
            </tr>
          </thead>
          <tbody>
            {list.map((sum) => (
              <tr key={`${sum.who} ${sum.model}`} className="border-t">
                {everybody && <td className="py-2 pr-4 text-left">{sum.who}</td>}
                <td className="whitespace-nowrap py-2 text-left font-medium">{sum.model}</td>
                <td className="pl-4">{count(sum.n)}</td>
                <td className={sum.failed ? "pl-4 text-danger" : "pl-4"}>{count(sum.failed)}</td>
                <td className="pl-4 whitespace-nowrap">{seconds(sum.device)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </section>
    </Section>
  );
}
