/** For administrators: users, the audit log, how the platform is set up, Flower. */
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { ExternalLink, Plus } from "lucide-react";
import { type FormEvent, useState } from "react";
import type { Schemas } from "../api/client";
import { api, call, cursorOf, data } from "../api/client";
import { useSession } from "../app/session";
import { ago, moment } from "../lib/format";
import {
  Badge,
  Button,
  buttonClass,
  Code,
  Confirm,
  Dialog,
  ErrorNote,
  Loading,
  PageHeader,
  Section,
  Select,
} from "../ui/basics";
import { Tabs } from "../ui/tabs";
import { toast, toastError } from "../ui/toasts";

export type AdminTab = "users" | "audit" | "setup";
type User = Schemas["UserOut"];
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

function Users({ own }: { own: string }) {
  const [adding, setAdding] = useState(false);
  const users = useInfiniteQuery({
    queryKey: ["users"],
    initialPageParam: "",
    queryFn: ({ pageParam }) =>
      call<{ results: User[]; next: string | null }>(
        "GET",
        `/v1/users?limit=50${pageParam && `&cursor=${pageParam}`}`,
      ),
    getNextPageParam: (page) => cursorOf(page.next),
  });
  const list = users.data?.pages.flatMap((page) => page.results) ?? [];
  return (
    <div className="space-y-4">
      <div className="flex justify-end">
        <Button tone="primary" onClick={() => setAdding(true)}>
          <Plus className="size-4" aria-hidden /> Add a user
        </Button>
      </div>
      <ErrorNote error={users.error} retry={() => users.refetch()} />
      {users.isPending && <Loading />}
      {list.length > 0 && (
        <ul className="card divide-y">
          {list.map((user) => (
            <UserRow key={user.username} user={user} isOwn={user.username === own} />
          ))}
        </ul>
      )}
      {users.hasNextPage && (
        <Button onClick={() => users.fetchNextPage()} busy={users.isFetchingNextPage}>
          More users
        </Button>
      )}
      <Dialog open={adding} onClose={() => setAdding(false)} title="Add a user">
        <NewUser onDone={() => setAdding(false)} />
      </Dialog>
    </div>
  );
}

type Act = "disable" | "enable" | "promote" | "demote" | "sign-out" | "password" | "delete";

const WORDS: Record<Act, [string, string]> = {
  disable: [
    "Disable",
    "Tokens and keys are refused from now on. Nothing of theirs is removed, and you can enable them again.",
  ],
  enable: ["Enable", "They may sign in again, and their keys work."],
  promote: ["Make administrator", "They may then do everything that you may."],
  demote: ["Make a plain user", "They keep what is theirs."],
  "sign-out": ["Sign out everywhere", "Every browser of theirs is signed out. API keys stay."],
  password: [
    "Reset password",
    "A new password is made up and shown to you once. Every browser of theirs is signed out.",
  ],
  delete: [
    "Delete",
    "For good: keys, models and deployments at once; predictions, their data and files within minutes. The name is never given again.",
  ],
};

function request(act: Act, user: User): Promise<{ password?: string } | undefined> {
  const path = `/v1/users/${encodeURIComponent(user.username)}`;
  switch (act) {
    case "disable":
    case "enable":
      return call("PATCH", path, { disabled: act === "disable" });
    case "promote":
    case "demote":
      return call("PATCH", path, { is_admin: act === "promote" });
    case "sign-out":
      return call("POST", `${path}/sign-out`);
    case "password":
      return call("PUT", `${path}/password`);
    case "delete":
      return call("DELETE", path);
  }
}

function UserRow({ user, isOwn }: { user: User; isOwn: boolean }) {
  const client = useQueryClient();
  const [asked, setAsked] = useState<Act>();
  const [password, setPassword] = useState("");
  const act = useMutation({
    mutationFn: (what: Act) => request(what, user),
    onSuccess: (answer, what) => {
      setAsked(undefined);
      if (answer?.password) setPassword(answer.password);
      else toast(`${WORDS[what][0]}: done for ${user.username}.`);
      client.invalidateQueries({ queryKey: ["users"] });
    },
  });
  const acts: Act[] = [
    user.disabled_at ? "enable" : "disable",
    user.is_admin ? "demote" : "promote",
    "password",
    "sign-out",
    "delete",
  ];
  return (
    <li className="flex flex-wrap items-center gap-x-4 gap-y-2 px-5 py-3.5">
      <div className="min-w-0 flex-1 basis-56">
        <p className="flex flex-wrap items-center gap-2">
          <span className="wrap font-medium">{user.username}</span>
          {isOwn && <Badge tone="blue">you</Badge>}
          {user.is_admin && <Badge tone="green">administrator</Badge>}
          {user.disabled_at && <Badge tone="red">disabled {ago(user.disabled_at)}</Badge>}
        </p>
        <p className="hint wrap">
          {user.email} · since {moment(user.created_at)}
        </p>
      </div>
      {!isOwn && (
        <Select
          aria-label={`What to do with ${user.username}`}
          value=""
          onChange={(event) => setAsked(event.target.value as Act)}
        >
          <option value="" disabled>
            Change …
          </option>
          {acts.map((each) => (
            <option key={each} value={each}>
              {WORDS[each][0]}
            </option>
          ))}
        </Select>
      )}
      <Confirm
        open={Boolean(asked)}
        title={asked ? `${WORDS[asked][0]}: ${user.username}?` : ""}
        action={asked ? WORDS[asked][0] : ""}
        busy={act.isPending}
        error={act.error}
        onClose={() => setAsked(undefined)}
        onConfirm={() => asked && act.mutate(asked)}
      >
        {asked && WORDS[asked][1]}
      </Confirm>
      <NewPassword username={user.username} password={password} onClose={() => setPassword("")} />
    </li>
  );
}

function NewPassword({
  username,
  password,
  onClose,
}: {
  username: string;
  password: string;
  onClose: () => void;
}) {
  return (
    <Dialog open={Boolean(password)} onClose={onClose} title={`The password of ${username}`}>
      <p className="mb-3 text-muted">It is shown this once. They can change it under Settings.</p>
      <Code text={password} language="password" />
      <div className="mt-4 flex justify-end">
        <Button tone="primary" onClick={onClose}>
          I have kept it
        </Button>
      </div>
    </Dialog>
  );
}

function NewUser({ onDone }: { onDone: () => void }) {
  const client = useQueryClient();
  const add = useMutation({
    mutationFn: (body: Record<string, unknown>) =>
      call<{ username: string; password?: string }>("POST", "/v1/users", body),
    onSuccess: () => client.invalidateQueries({ queryKey: ["users"] }),
  });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    add.mutate({
      username: form.get("username"),
      email: form.get("email"),
      is_admin: form.get("is_admin") === "on",
    });
  };
  if (add.data)
    return (
      <div className="space-y-4">
        <p className="text-muted">The password of {add.data.username}. It is shown this once.</p>
        <Code text={add.data.password ?? ""} language="password" />
        <div className="flex justify-end">
          <Button tone="primary" onClick={onDone}>
            I have kept it
          </Button>
        </div>
      </div>
    );
  return (
    <form onSubmit={submit} className="space-y-4">
      <label className="block">
        <span className="label">Username</span>
        <input
          name="username"
          required
          maxLength={64}
          autoCapitalize="none"
          autoComplete="off"
          className="field mt-1.5"
        />
      </label>
      <label className="block">
        <span className="label">Email</span>
        <input name="email" type="email" required autoComplete="off" className="field mt-1.5" />
      </label>
      <label className="flex items-center gap-2.5">
        <input name="is_admin" type="checkbox" className="size-4 accent-[var(--accent)]" /> Administrator
      </label>
      <ErrorNote error={add.error} />
      <div className="flex justify-end gap-2">
        <Button onClick={onDone}>Not now</Button>
        <Button type="submit" tone="primary" busy={add.isPending}>
          Add the user
        </Button>
      </div>
    </form>
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
