/** All of one's predictions: filters in the address, rows drawn as they are scrolled to, live, and acts on many. */
import {
  type InfiniteData,
  infiniteQueryOptions,
  useInfiniteQuery,
  useMutation,
  useQueryClient,
} from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import {
  type ColumnDef,
  flexRender,
  getCoreRowModel,
  type Row,
  type RowSelectionState,
  useReactTable,
} from "@tanstack/react-table";
import { useWindowVirtualizer } from "@tanstack/react-virtual";
import { clsx } from "clsx";
import { Activity, Ban, RotateCcw } from "lucide-react";
import { memo, useCallback, useEffect, useMemo, useRef, useState } from "react";
import { call, cursorOf } from "../api/client";
import { isEnded, type Prediction } from "../api/types";
import { useLive } from "../app/live";
import { useSession } from "../app/session";
import { ago, moment, plural, seconds } from "../lib/format";
import {
  Badge,
  Button,
  Confirm,
  Empty,
  ErrorNote,
  Loading,
  PageHeader,
  StatusBadge,
  StatusIcon,
} from "../ui/basics";
import { toast, toastError } from "../ui/toasts";
import { Filters, isLookedThrough, type PredictionsSearch } from "./predictions-filters";

type Listed = Prediction & { user?: string };

interface Page {
  results: Listed[];
  next: string | null;
}

const PAGE = 100;
const ROW = 45;
const LOOKS = 10; // pages in a row that are looked through by themselves
const OTHERS_MS = 5_000;

const listQuery = (search: PredictionsSearch) =>
  infiniteQueryOptions({
    queryKey: ["predictions", "list", search],
    initialPageParam: "",
    queryFn: ({ pageParam }) => readPage(search, pageParam),
    getNextPageParam: (page) => cursorOf(page.next),
  });

function readPage(search: PredictionsSearch, cursor = ""): Promise<Page> {
  const query = new URLSearchParams({ limit: String(PAGE), ...(cursor && { cursor }) });
  for (const [name, value] of Object.entries(search)) if (value) query.set(name, value);
  return call<Page>("GET", `/v1/predictions?${query}`);
}

interface Rerun {
  created: { of: string; id: string }[];
  refused: { of: string; detail: string }[];
  next: string | null;
}

export type Selection = Record<string, unknown>;

/** Runs again all that a selection means, call after call. */
export async function rerunAll(
  selection: Selection,
): Promise<{ created: number; refused: { detail: string }[] }> {
  let after = "";
  let created = 0;
  const refused: { detail: string }[] = [];
  do {
    const answer = await call<Rerun>("POST", "/v1/predictions/rerun", {
      ...selection,
      ...(after && { after }),
    });
    created += answer.created.length;
    refused.push(...answer.refused);
    after = answer.next ?? "";
  } while (after);
  return { created, refused };
}

async function cancelAll(selection: Selection): Promise<number> {
  let after = "";
  let canceled = 0;
  do {
    const answer = await call<{ canceled: string[]; next: string | null }>("POST", "/v1/predictions/cancel", {
      ...selection,
      ...(after && { after }),
    });
    canceled += answer.canceled.length;
    after = answer.next ?? "";
  } while (after);
  return canceled;
}

export function PredictionsPage({ search }: { search: PredictionsSearch }) {
  const navigate = useNavigate();
  const client = useQueryClient();
  const session = useSession();
  const [selected, setSelected] = useState<RowSelectionState>({});
  const query = useInfiniteQuery(listQuery(search));
  const rows = useMemo(() => query.data?.pages.flatMap((page) => page.results) ?? [], [query.data]);
  const refresh = useCallback(() => refreshHead(client, search), [client, search]);
  const isOthers = Boolean(search.user) && search.user !== session?.user?.username;
  const live = useLive("status", useThrottled(refresh, 1_000), !isOthers);
  useEffect(() => {
    if (!isOthers) return; // events come of one's own
    const timer = setInterval(() => document.hidden || refresh(), OTHERS_MS);
    return () => clearInterval(timer);
  }, [isOthers, refresh]);
  const { hasNextPage, isFetchingNextPage, fetchNextPage } = query;
  const looked = query.data?.pages.length ?? 0;
  const found = query.data?.pages.at(-1)?.results.length ?? 0;
  const isSparse = hasNextPage && found < PAGE && isLookedThrough(search);
  const more = hasNextPage && !isFetchingNextPage && !isSparse ? fetchNextPage : undefined;
  useEffect(() => {
    if (isSparse && !isFetchingNextPage && rows.length < PAGE && looked < LOOKS) fetchNextPage();
  }, [isSparse, isFetchingNextPage, rows.length, looked, fetchNextPage]);
  const narrow = (change: Partial<PredictionsSearch>) => {
    setSelected({});
    navigate({ to: ".", search: (old: PredictionsSearch) => ({ ...old, ...change }), replace: true });
  };
  const narrowed = Object.values(search).some(Boolean);
  return (
    <>
      <PageHeader
        title="Predictions"
        actions={
          <Badge tone={live || isOthers ? "green" : "gray"}>
            <span className="size-1.5 rounded-full bg-current" aria-hidden />{" "}
            {live || isOthers ? "live" : "connecting"}
          </Badge>
        }
      >
        {search.user === "*"
          ? "What everybody ran, newest first."
          : `Everything ${isOthers ? search.user : "you"} ran, newest first.`}
      </PageHeader>
      <Filters search={search} narrow={narrow} mayChooseUser={Boolean(session?.user?.is_admin)} />
      <ErrorNote error={query.error} retry={() => query.refetch()} />
      {query.isPending && <Loading rows={8} />}
      {query.isSuccess && !rows.length && !isSparse && (
        <div className="card">
          {narrowed ? (
            <Empty
              icon={<Activity className="size-5" />}
              title="Nothing matches"
              action={
                <Button onClick={() => navigate({ to: "/predictions", search: {} })}>Show everything</Button>
              }
            >
              No prediction of yours passes these filters.
            </Empty>
          ) : (
            <Empty
              icon={<Activity className="size-5" />}
              title="No predictions yet"
              action={
                <Button tone="primary" onClick={() => navigate({ to: "/models" })}>
                  Run a model
                </Button>
              }
            >
              Whatever you run, here or from code, appears in this list.
            </Empty>
          )}
        </div>
      )}
      {rows.length > 0 && (
        <>
          {!isOthers && <Bar selected={selected} rows={rows} search={search} clear={() => setSelected({})} />}
          <List
            rows={rows}
            selected={selected}
            onSelect={setSelected}
            more={more}
            loading={isFetchingNextPage}
          />
        </>
      )}
      {isSparse && (
        <div className="mt-3 flex flex-wrap items-center gap-3">
          <p className="hint" role="status">
            {isFetchingNextPage
              ? "Looking further back …"
              : rows.length
                ? "Older ones were not looked at yet."
                : "None among the newest; older ones were not looked at yet."}
          </p>
          <Button small onClick={() => fetchNextPage()} busy={isFetchingNextPage}>
            Look further back
          </Button>
        </div>
      )}
    </>
  );
}

/** Only the first page is asked for again: what stands below was there before. */
async function refreshHead(
  client: ReturnType<typeof useQueryClient>,
  search: PredictionsSearch,
): Promise<void> {
  const { queryKey } = listQuery(search);
  const before = client.getQueryData<InfiniteData<Page, string>>(queryKey);
  if (!before) return;
  const head = await readPage(search).catch(() => null);
  if (!head) return;
  client.setQueryData<InfiniteData<Page, string>>(queryKey, (now) => now && merged(now, head));
}

function merged(now: InfiniteData<Page, string>, head: Page): InfiniteData<Page, string> {
  const fresh = new Map(head.results.map((each) => [each.id, each]));
  const oldest = head.results.at(-1)?.id ?? "~"; // none of those that it looked at: above all ids
  const isAsked = (each: Prediction) => !head.next || each.id >= oldest;
  const known = new Set<string>();
  const pages = now.pages.map((page) => {
    const newest = page.results[0];
    if (!newest || !isAsked(newest)) return page; // below what was asked for: as it was
    for (const each of page.results) known.add(each.id);
    // What the filter lets through no more is gone from the part that was asked for.
    return {
      ...page,
      results: page.results.flatMap((each) => fresh.get(each.id) ?? (isAsked(each) ? [] : [each])),
    };
  });
  const added = head.results.filter((each) => !known.has(each.id));
  const [first, ...rest] = pages;
  if (!first) return now;
  return { ...now, pages: [{ ...first, results: [...added, ...first.results] }, ...rest] };
}

function useThrottled(act: () => void, every: number): () => void {
  const timer = useRef(0);
  const latest = useRef(act);
  latest.current = act;
  useEffect(() => () => clearTimeout(timer.current), []);
  return useCallback(() => {
    if (timer.current) return;
    timer.current = window.setTimeout(() => {
      timer.current = 0;
      latest.current();
    }, every);
  }, [every]);
}

/** The filters that acts on many take as well; with others one selects. */
const isOfActs = (name: string) =>
  ["status", "model", "created_after", "created_before", "error_group"].includes(name);

/** Acts on what is selected, or on all that the filters let through. */
function Bar({
  selected,
  rows,
  search,
  clear,
}: {
  selected: RowSelectionState;
  rows: Prediction[];
  search: PredictionsSearch;
  clear: () => void;
}) {
  const client = useQueryClient();
  const [asked, setAsked] = useState<"cancel" | "rerun">();
  const ids = Object.keys(selected).filter((id) => selected[id]);
  const filters = Object.fromEntries(Object.entries(search).filter(([, value]) => value));
  const all = !ids.length && Object.keys(filters).length > 0 && Object.keys(filters).every(isOfActs);
  const selection: Selection = ids.length ? { ids } : filters;
  const chosen = ids.length ? rows.filter((row) => selected[row.id]) : rows;
  const open = chosen.filter((row) => !isEnded(row.status)).length;
  const ended = chosen.length - open;
  const act = useMutation({
    mutationFn: async (what: "cancel" | "rerun") => {
      if (what === "cancel")
        return plural(await cancelAll(selection), "prediction canceled", "predictions canceled");
      const { created, refused } = await rerunAll(selection);
      const words = plural(created, "prediction runs again", "predictions run again");
      return refused.length ? `${words}; ${refused.length} could not: ${refused[0]?.detail}` : words;
    },
    onSuccess: (words) => {
      setAsked(undefined);
      clear();
      toast(words);
      client.invalidateQueries({ queryKey: ["predictions"] });
    },
    onError: toastError,
  });
  if (!ids.length && !all) return null;
  const which = ids.length ? plural(ids.length, "prediction") : "all that pass the filters";
  return (
    <div className="sticky top-14 z-10 mb-2 flex flex-wrap items-center gap-2 rounded-lg bg-soft px-3 py-1.5 text-on-soft lg:top-2">
      <span className="font-medium">
        {ids.length ? `${which} selected` : "On all that pass the filters:"}
      </span>
      <div className="ml-auto flex flex-wrap gap-2">
        {open > 0 && (
          <Button small onClick={() => setAsked("cancel")}>
            <Ban className="size-4" aria-hidden /> Cancel {ids.length ? open : ""}
          </Button>
        )}
        {ended > 0 && (
          <Button small onClick={() => setAsked("rerun")}>
            <RotateCcw className="size-4" aria-hidden /> Run again
          </Button>
        )}
        {ids.length > 0 && (
          <Button small tone="quiet" onClick={clear}>
            Clear
          </Button>
        )}
      </div>
      <Confirm
        open={Boolean(asked)}
        title={asked === "cancel" ? `Cancel ${which}?` : `Run ${which} again?`}
        action={asked === "cancel" ? "Cancel them" : "Run again"}
        busy={act.isPending}
        error={act.error}
        onClose={() => setAsked(undefined)}
        onConfirm={() => asked && act.mutate(asked)}
      >
        {asked === "cancel"
          ? "Those that wait never start; those that run stop at their next step."
          : "Each that has ended is made anew with its input, version and webhook. Nothing of the old ones changes."}
      </Confirm>
    </div>
  );
}

const COLUMNS: ColumnDef<Prediction>[] = [
  {
    id: "select",
    header: ({ table }) => (
      <input
        type="checkbox"
        aria-label="Select all that are shown"
        className="block size-4 accent-[var(--accent)]"
        checked={table.getIsAllRowsSelected()}
        onChange={table.getToggleAllRowsSelectedHandler()}
      />
    ),
    cell: ({ row }) => (
      <input
        type="checkbox"
        aria-label={`Select ${row.original.id}`}
        className="block size-4 accent-[var(--accent)]"
        checked={row.getIsSelected()}
        onChange={row.getToggleSelectedHandler()}
        onClick={(event) => event.stopPropagation()}
      />
    ),
  },
  {
    id: "status",
    header: () => <span className="sr-only sm:not-sr-only">Status</span>,
    cell: ({ row }) => (
      <>
        <StatusIcon status={row.original.status} className="size-5 sm:hidden" />
        <span className="hidden sm:inline">
          <StatusBadge status={row.original.status} />
        </span>
      </>
    ),
  },
  { id: "model", header: "Model", cell: ({ row }) => row.original.model }, // a link: ListRow draws it
  {
    id: "input",
    header: "Input, or what went wrong",
    cell: ({ row }) => (
      <span className={clsx("block truncate", row.original.error ? "text-danger" : "text-muted")}>
        {row.original.error ?? brief(row.original)}
      </span>
    ),
  },
  {
    id: "took",
    header: "Took",
    cell: ({ row }) => (
      <span className="num whitespace-nowrap">
        {seconds(row.original.metrics.total_time as number | undefined)}
        <span className="block text-[0.8rem] text-muted sm:hidden">{ago(row.original.created_at)}</span>
      </span>
    ),
  },
  {
    id: "made",
    header: "Made",
    cell: ({ row }) => (
      <time
        dateTime={row.original.created_at}
        title={moment(row.original.created_at)}
        className="num text-muted"
      >
        {ago(row.original.created_at)}
      </time>
    ),
  },
];

function brief({ input }: Prediction): string {
  if (!input) return "data removed";
  const values = Object.values(input as Record<string, unknown>);
  const words = values.find((value) => typeof value === "string") ?? values[0];
  return typeof words === "string" ? words.slice(0, 160) : JSON.stringify(words ?? {}).slice(0, 160);
}

const GRID =
  "grid grid-cols-[1.25rem_1.5rem_minmax(0,1fr)_5rem] sm:grid-cols-[1.75rem_6.75rem_minmax(0,2fr)_minmax(0,3fr)_5rem_5.5rem] items-center gap-x-3 px-4";
const HIDDEN: Record<string, string> = {
  input: "hidden sm:block",
  made: "hidden sm:block text-right",
  took: "text-right",
};

/** Only the rows in view are the table's: what a scroll costs does not grow with what was scrolled through. */
function List({
  rows,
  selected,
  onSelect,
  more,
  loading,
}: {
  rows: Prediction[];
  selected: RowSelectionState;
  onSelect: React.Dispatch<React.SetStateAction<RowSelectionState>>;
  more?: () => void;
  loading: boolean;
}) {
  const box = useRef<HTMLDivElement>(null);
  const [margin, setMargin] = useState(0);
  useEffect(() => setMargin(box.current?.offsetTop ?? 0), []);
  const virtual = useWindowVirtualizer({
    count: rows.length,
    estimateSize,
    overscan: 8,
    scrollMargin: margin,
  });
  const items = virtual.getVirtualItems();
  const first = items[0]?.index ?? 0;
  const last = items.at(-1)?.index ?? 0;
  const shown = useMemo(() => rows.slice(first, last + 1), [rows, first, last]);
  const table = useReactTable({
    data: shown,
    columns: COLUMNS,
    getRowId: (row) => row.id,
    state: { rowSelection: selected },
    onRowSelectionChange: onSelect,
    getCoreRowModel: getCoreRowModel(),
  });
  useEffect(() => {
    if (last >= rows.length - 20) more?.();
  }, [last, rows.length, more]);
  return (
    <div role="table" aria-label="Predictions" aria-rowcount={rows.length} className="card">
      <div role="rowgroup">
        {table.getHeaderGroups().map((group) => (
          <div
            role="row"
            key={group.id}
            className={clsx(GRID, "border-b py-2 text-[0.87rem] font-medium text-muted")}
          >
            {group.headers.map((header) => (
              <div role="columnheader" key={header.id} className={HIDDEN[header.id]}>
                {flexRender(header.column.columnDef.header, header.getContext())}
              </div>
            ))}
          </div>
        ))}
      </div>
      <div role="rowgroup" ref={box} className="relative" style={{ height: virtual.getTotalSize() }}>
        {table.getRowModel().rows.map((row, i) => (
          <ListRow
            key={row.id}
            row={row}
            prediction={row.original}
            index={first + i}
            isSelected={row.getIsSelected()}
          />
        ))}
      </div>
      {loading && (
        <p className="hint px-4 py-3" role="status">
          Loading more …
        </p>
      )}
    </div>
  );
}

const estimateSize = () => ROW;

interface ListRowProps {
  row: Row<Prediction>;
  prediction: Prediction;
  index: number;
  isSelected: boolean;
}

const ListRow = memo(
  function ListRow({ row, index, isSelected }: ListRowProps) {
    const navigate = useNavigate();
    const open = () => navigate({ to: "/p/$id", params: { id: row.id } });
    return (
      <div
        role="row"
        aria-rowindex={index + 1}
        className={clsx(GRID, "group absolute inset-x-0 border-b hover:bg-hover", isSelected && "bg-soft/60")}
        style={{ height: ROW, transform: `translateY(${index * ROW}px)` }}
        onClick={open}
      >
        {row.getVisibleCells().map((cell) => (
          <div role="cell" key={cell.id} className={clsx("min-w-0", HIDDEN[cell.column.id])}>
            {cell.column.id === "model" ? (
              <a
                href={`p/${row.id}`}
                onClick={(event) => {
                  event.stopPropagation();
                  if (event.metaKey || event.ctrlKey || event.shiftKey) return;
                  event.preventDefault();
                  open();
                }}
                className="block truncate rounded font-medium"
              >
                {row.original.model}
                {"user" in row.original && (
                  <span className="font-normal text-muted"> by {String(row.original.user || "nobody")}</span>
                )}
                <span
                  className={clsx(
                    "block truncate text-[0.8rem] font-normal sm:hidden",
                    row.original.error ? "text-danger" : "text-muted",
                  )}
                >
                  {row.original.error ?? brief(row.original)}
                </span>
              </a>
            ) : (
              flexRender(cell.column.columnDef.cell, cell.getContext())
            )}
          </div>
        ))}
      </div>
    );
  },
  // The table makes its rows anew at each scroll; what they show is the prediction and whether it is selected.
  (before, after) =>
    before.prediction === after.prediction &&
    before.index === after.index &&
    before.isSelected === after.isSelected,
);
