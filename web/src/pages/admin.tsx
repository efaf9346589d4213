/** For administrators: users, the audit log, how the platform is set up, Flower. */
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { ExternalLink } from "lucide-react";
import { useState } from "react";
import type { Schemas } from "../api/client";
import { api, call, cursorOf, data } from "../api/client";
import { useSession } from "../app/session";
import { moment } from "../lib/format";
import { Badge, Button, buttonClass, ErrorNote, Loading, PageHeader, Section } from "../ui/basics";
import { Tabs } from "../ui/tabs";
import { toastError } from "../ui/toasts";
import { Users } from "./admin-users";

export type AdminTab = "users" | "audit" | "setup";
type Entry = Schemas["AuditOut"];

export function AdminPage({ tab = "users" }: { tab?: AdminTab }) {
  const session = useSession();
  const navigate = useNavigate();
  if (session && !session.user?.is_admin)
    return <p className="text-muted">This page is for administrators.</p>;
  return (
    <>
      <PageHeader
        title="Admin"
        actions={
          session?.flower_url && (
            <a href={session.flower_url} target="_blank" rel="noreferrer" className={buttonClass()}>
              <ExternalLink className="size-4" aria-hidden /> Flower
            </a>
          )
        }
      />
      <Tabs
        label="Parts of the administration"
        value={tab}
        onChange={(next) =>
          navigate({ to: "/admin", search: next === "users" ? {} : { tab: next }, replace: true })
        }
        tabs={[
          { value: "users", label: "Users", content: <Users own={session?.user?.username ?? ""} /> },
          { value: "audit", label: "Audit log", content: <Audit /> },
          { value: "setup", label: "Set-up", content: <Setup /> },
        ]}
      />
    </>
  );
}

function Audit() {
  const [user, setUser] = useState("");
  const [action, setAction] = useState("");
  const filters = `${action && `&action=${encodeURIComponent(action)}`}${user && `&username=${encodeURIComponent(user)}`}`;
  const entries = useInfiniteQuery({
    queryKey: ["audit", user, action],
    initialPageParam: "",
    queryFn: ({ pageParam }) =>
      call<{ results: Entry[]; next: string | null }>(
        "GET",
        `/v1/audit?limit=50${filters}${pageParam && `&cursor=${pageParam}`}`,
      ),
    getNextPageParam: (page) => cursorOf(page.next),
  });
  const list = entries.data?.pages.flatMap((page) => page.results) ?? [];
  return (
    <div className="space-y-4">
      <form
        className="flex flex-wrap gap-3"
        onSubmit={(event) => {
          event.preventDefault();
          const form = new FormData(event.currentTarget);
          setUser(String(form.get("user")).trim());
          setAction(String(form.get("action")).trim());
        }}
      >
        <label className="hint">
          Action
          <input
            name="action"
            className="field mt-1"
            placeholder="login.failed"
            pattern="[a-z._]*"
            spellCheck={false}
          />
        </label>
        <label className="hint">
          User
          <input name="user" className="field mt-1" spellCheck={false} autoCapitalize="none" />
        </label>
        <Button type="submit" className="self-end">
          Show
        </Button>
      </form>
      <ErrorNote error={entries.error} retry={() => entries.refetch()} />
      {entries.isPending && <Loading />}
      {entries.isSuccess && !list.length && <p className="text-muted">No entry matches.</p>}
      {list.length > 0 && (
        <ul className="card divide-y">
          {list.map((entry) => (
            <li key={entry.id} className="px-5 py-3">
              <p className="flex flex-wrap items-center gap-x-3 gap-y-1">
                <Badge tone={entry.action.endsWith("failed") ? "red" : "gray"}>{entry.action}</Badge>
                <span className="wrap font-medium">{entry.username}</span>
                {entry.target !== entry.username && <span className="wrap text-muted">{entry.target}</span>}
                <span className="hint num ml-auto">{moment(entry.at)}</span>
              </p>
              <p className="hint wrap mt-0.5">
                from {entry.address}
                {Object.entries(entry.details).map(
                  ([name, value]) => ` · ${name}: ${Array.isArray(value) ? value.join(", ") : String(value)}`,
                )}
              </p>
            </li>
          ))}
        </ul>
      )}
      {entries.hasNextPage && (
        <Button onClick={() => entries.fetchNextPage().catch(toastError)} busy={entries.isFetchingNextPage}>
          Older entries
        </Button>
      )}
    </div>
  );
}

interface Setting {
  name: string;
  value: string;
  origin: string;
  default: string;
  description: string;
}

function Setup() {
  const ready = useQuery({
    queryKey: ["ready"],
    queryFn: () => call<{ status: string; checks: Record<string, string> }>("GET", "/ready"),
    refetchInterval: 10_000,
  });
  const settings = useQuery({
    queryKey: ["settings"],
    queryFn: () => call<{ results: Setting[] }>("GET", "/v1/settings"),
  });
  const runtimes = useQuery({ queryKey: ["runtimes"], queryFn: () => data(api.GET("/v1/runtimes")) });
  const [words, setWords] = useState("");
  const shown =
    settings.data?.results.filter((each) =>
      `${each.name} ${each.description}`.toLowerCase().includes(words.toLowerCase()),
    ) ?? [];
  return (
    <div className="grid items-start gap-5 xl:grid-cols-2">
      <Section title="Parts" hint="Would a prediction be accepted now?">
        <ErrorNote error={ready.error} />
        <ul className="space-y-2">
          {Object.entries(ready.data?.checks ?? {}).map(([name, words]) => (
            <li key={name} className="flex items-start justify-between gap-4">
              <span className="font-medium">{name}</span>
              <Badge tone={words === "ok" ? "green" : "amber"} className="whitespace-normal!">
                {words}
              </Badge>
            </li>
          ))}
        </ul>
      </Section>
      <Section title="Runtimes" hint="What the workers can run">
        <ErrorNote error={runtimes.error} />
        <ul className="space-y-2.5">
          {runtimes.data?.results.map((runtime) => (
            <li key={runtime.name || runtime.origin}>
              <p className="flex flex-wrap items-center gap-2">
                <code className="font-mono font-medium">{runtime.name || "broken"}</code>
                <span className="hint">{runtime.origin}</span>
              </p>
              <p className={runtime.error ? "wrap text-danger" : "hint"}>
                {runtime.error || runtime.description}
              </p>
            </li>
          ))}
        </ul>
      </Section>
      <Section
        title="Settings"
        hint="Of the API process that answered; they are set by environment variables"
        className="xl:col-span-2"
      >
        <ErrorNote error={settings.error} />
        {settings.isPending && <Loading />}
        {settings.data && (
          <>
            <input
              type="search"
              className="field mb-3 max-w-sm"
              aria-label="Search the settings"
              placeholder="Search"
              value={words}
              onChange={(event) => setWords(event.target.value)}
            />
            <ul className="divide-y">
              {shown.map((each) => (
                <li
                  key={each.name}
                  className="grid gap-x-6 gap-y-0.5 py-2.5 sm:grid-cols-[18rem_minmax(0,1fr)]"
                >
                  <div>
                    <code className="wrap font-mono text-[0.87rem] font-medium">{each.name}</code>
                    <p className="hint">
                      {each.origin === "environment" ? "set by the environment" : "its default"}
                    </p>
                  </div>
                  <div className="min-w-0">
                    <code className="wrap font-mono text-[0.87rem]">{each.value || "(empty)"}</code>
                    <p className="hint">{each.description}</p>
                  </div>
                </li>
              ))}
            </ul>
          </>
        )}
      </Section>
    </div>
  );
}
