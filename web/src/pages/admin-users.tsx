/** Users, for administrators: adding them, their rank and share, ending what they run, their credentials. */
import { useInfiniteQuery, useMutation, useQueryClient } from "@tanstack/react-query";
import { Plus } from "lucide-react";
import { type FormEvent, useState } from "react";
import type { Schemas } from "../api/client";
import { call, cursorOf } from "../api/client";
import { ago, moment, plural } from "../lib/format";
import { Badge, Button, Code, Confirm, Dialog, ErrorNote, Loading, Select } from "../ui/basics";
import { toast } from "../ui/toasts";

type User = Schemas["UserOut"];

export function Users({ own }: { own: string }) {
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

type Act =
  | "share"
  | "cancel"
  | "disable"
  | "enable"
  | "promote"
  | "demote"
  | "sign-out"
  | "password"
  | "delete";

const WORDS: Record<Act, [string, string]> = {
  share: ["Set the share", ""],
  cancel: [
    "Cancel all predictions",
    "Everything that they have waiting and running now is canceled, and webhooks say so. What they send after that is accepted as before: disable them to stop it.",
  ],
  disable: [
    "Disable",
    "Tokens and keys are refused from now on, and what waits of theirs is canceled; what runs goes on. Nothing of theirs is removed, and you can enable them again.",
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

interface Done {
  password?: string;
  canceled?: number;
  is_done?: boolean;
}

const pathOf = (user: User): string => `/v1/users/${encodeURIComponent(user.username)}`;

function request(act: Act, user: User): Promise<Done | undefined> {
  const path = pathOf(user);
  switch (act) {
    case "disable":
    case "enable":
      return call("PATCH", path, { disabled: act === "disable" });
    case "promote":
    case "demote":
      return call("PATCH", path, { is_admin: act === "promote" });
    case "sign-out":
    case "cancel":
      return call("POST", `${path}/${act}`);
    case "password":
      return call("PUT", `${path}/password`);
    case "delete":
      return call("DELETE", path);
    case "share":
      throw new Error("a share has a form of its own");
  }
}

function doneWords(act: Act, user: User, done: Done | undefined): string {
  if (act !== "cancel") return `${WORDS[act][0]}: done for ${user.username}.`;
  const more = done?.is_done ? "" : " More wait: they are canceled within minutes.";
  return `${plural(done?.canceled ?? 0, "prediction")} of ${user.username} canceled.${more}`;
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
      else toast(doneWords(what, user, answer));
      client.invalidateQueries({ queryKey: ["users"] });
    },
  });
  const acts: Act[] = isOwn
    ? ["share", "cancel"]
    : [
        "share",
        "cancel",
        user.disabled_at ? "enable" : "disable",
        user.is_admin ? "demote" : "promote",
        "password",
        "sign-out",
        "delete",
      ];
  const close = () => {
    setAsked(undefined);
    act.reset();
  };
  return (
    <li className="flex flex-wrap items-center gap-x-4 gap-y-2 px-5 py-3.5">
      <div className="min-w-0 flex-1 basis-56">
        <p className="flex flex-wrap items-center gap-2">
          <span className="wrap font-medium">{user.username}</span>
          {isOwn && <Badge tone="blue">you</Badge>}
          {user.is_admin && <Badge tone="green">administrator</Badge>}
          {user.disabled_at && <Badge tone="red">disabled {ago(user.disabled_at)}</Badge>}
          {user.weight !== 1 && <Badge>weight {user.weight}</Badge>}
          {user.highest_priority !== USUAL_PRIORITY && <Badge>up to {user.highest_priority}</Badge>}
        </p>
        <p className="hint wrap">
          {user.email} · since {moment(user.created_at)}
        </p>
      </div>
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
      <Confirm
        open={Boolean(asked) && asked !== "share"}
        title={asked ? `${WORDS[asked][0]}: ${user.username}?` : ""}
        action={asked ? WORDS[asked][0] : ""}
        keep="Not now"
        busy={act.isPending}
        error={act.error}
        onClose={close}
        onConfirm={() => asked && act.mutate(asked)}
      >
        {asked && WORDS[asked][1]}
      </Confirm>
      {asked === "share" && <Share user={user} onClose={close} />}
      <NewPassword username={user.username} password={password} onClose={() => setPassword("")} />
    </li>
  );
}

const USUAL_PRIORITY: User["highest_priority"] = "default";
const PRIORITIES: [User["highest_priority"], string][] = [
  ["interactive", "interactive: before everything else"],
  ["default", "default"],
  ["batch", "batch: when nothing else waits"],
];

/** How much of each worker is theirs when others wait as well. */
function Share({ user, onClose }: { user: User; onClose: () => void }) {
  const client = useQueryClient();
  const save = useMutation({
    mutationFn: (body: Record<string, unknown>) => call("PATCH", pathOf(user), body),
    onSuccess: () => {
      client.invalidateQueries({ queryKey: ["users"] });
      toast(`The share of ${user.username} is set.`);
      onClose();
    },
  });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    save.mutate({ weight: Number(form.get("weight")), highest_priority: form.get("highest_priority") });
  };
  return (
    <Dialog open onClose={onClose} title={`The share of ${user.username}`}>
      <form onSubmit={submit} className="space-y-4">
        <label className="block">
          <span className="label">Weight</span>
          <input
            name="weight"
            type="number"
            min={0.01}
            max={100}
            step="any"
            required
            defaultValue={user.weight}
            className="field mt-1.5"
          />
          <span className="hint mt-1 block">
            With 2 they get twice as much of every worker as somebody with 1, while both have predictions
            waiting.
          </span>
        </label>
        <label className="block" htmlFor="highest-priority">
          <span className="label">Highest priority</span>
          <Select
            id="highest-priority"
            name="highest_priority"
            defaultValue={user.highest_priority}
            className="mt-1.5 w-full"
          >
            {PRIORITIES.map(([value, words]) => (
              <option key={value} value={value}>
                {words}
              </option>
            ))}
          </Select>
          <span className="hint mt-1 block">What a prediction of theirs may ask for; higher is refused.</span>
        </label>
        <ErrorNote error={save.error} />
        <div className="flex justify-end gap-2">
          <Button onClick={onClose}>Leave it</Button>
          <Button type="submit" tone="primary" busy={save.isPending}>
            Save
          </Button>
        </div>
      </form>
    </Dialog>
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
