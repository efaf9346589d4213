/** API keys: make one, see when each was last used, revoke one. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { KeyRound, Plus, Trash2 } from "lucide-react";
import { type FormEvent, useState } from "react";
import { api, BASE, BASE_PATH, call, data } from "../api/client";
import type { Key } from "../api/types";
import { useSession } from "../app/session";
import { ago, moment } from "../lib/format";
import { Badge, Button, Code, Confirm, Dialog, Empty, ErrorNote, Loading, PageHeader } from "../ui/basics";
import { toast } from "../ui/toasts";

const SCOPES: Record<string, string> = {
  predict: "Run models, and read one's own predictions",
  models: "Add and change one's own models",
  admin: "Everything that administrators may",
};

const LIVES: [string, number | null][] = [
  ["never", null],
  ["in 30 days", 30],
  ["in 90 days", 90],
  ["in a year", 365],
];

export function KeysPage() {
  const client = useQueryClient();
  const session = useSession();
  const [adding, setAdding] = useState(false);
  const [removing, setRemoving] = useState<Key>();
  const keys = useQuery({ queryKey: ["keys"], queryFn: () => data(api.GET("/v1/keys")) });
  const remove = useMutation({
    mutationFn: (key: Key) => call("DELETE", `/v1/keys/${key.id}`),
    onSuccess: (_, key) => {
      setRemoving(undefined);
      toast(`The key ${key.name} is revoked.`);
      client.invalidateQueries({ queryKey: ["keys"] });
    },
  });
  const add = (
    <Button tone="primary" onClick={() => setAdding(true)}>
      <Plus className="size-4" aria-hidden /> Make a key
    </Button>
  );
  return (
    <>
      <PageHeader title="API keys" actions={add}>
        A key is how a program calls this API in your name.
      </PageHeader>
      <ErrorNote error={keys.error} retry={() => keys.refetch()} />
      {keys.isPending && <Loading />}
      {keys.data?.results.length === 0 && (
        <div className="card">
          <Empty icon={<KeyRound className="size-5" />} title="No keys yet" action={add}>
            One for each program, so that each can be revoked alone.
          </Empty>
        </div>
      )}
      {keys.data && keys.data.results.length > 0 && (
        <ul className="card divide-y">
          {keys.data.results.map((key) => (
            <li key={key.id} className="flex flex-wrap items-center gap-x-4 gap-y-2 px-5 py-4">
              <div className="min-w-0 flex-1 basis-56">
                <p className="wrap font-medium">{key.name}</p>
                <p className="hint">
                  <code className="font-mono">{key.prefix}…</code> · made {ago(key.created_at)} ·{" "}
                  {key.last_used_at ? `last used ${ago(key.last_used_at)}` : "never used"}
                  {key.expires_at && ` · ends ${moment(key.expires_at)}`}
                </p>
              </div>
              <div className="flex flex-wrap gap-1.5">
                {key.scopes.map((scope) => (
                  <Badge key={scope} tone={scope === "admin" ? "amber" : "gray"}>
                    {scope}
                  </Badge>
                ))}
              </div>
              <Button small tone="danger" onClick={() => setRemoving(key)}>
                <Trash2 className="size-3.5" aria-hidden /> Revoke
              </Button>
            </li>
          ))}
        </ul>
      )}
      <Dialog open={adding} onClose={() => setAdding(false)} title="Make an API key">
        <NewKey scopes={session?.user?.scopes ?? ["predict"]} onDone={() => setAdding(false)} />
      </Dialog>
      <Confirm
        open={Boolean(removing)}
        title={`Revoke ${removing?.name}?`}
        action="Revoke it"
        busy={remove.isPending}
        error={remove.error}
        onClose={() => setRemoving(undefined)}
        onConfirm={() => removing && remove.mutate(removing)}
      >
        Whatever still uses <code className="font-mono">{removing?.prefix}…</code> is refused from now on.
        Predictions made with it stay.
      </Confirm>
    </>
  );
}

function NewKey({ scopes, onDone }: { scopes: string[]; onDone: () => void }) {
  const client = useQueryClient();
  const [chosen, setChosen] = useState(["predict"]);
  const make = useMutation({
    mutationFn: (body: { name: string; scopes: string[]; expires_at: string | null }) =>
      call<{ key: string }>("POST", "/v1/keys", body),
    onSuccess: () => client.invalidateQueries({ queryKey: ["keys"] }),
  });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const days = Number(form.get("days"));
    const expires_at = days ? new Date(Date.now() + days * 86_400_000).toISOString() : null;
    make.mutate({ name: String(form.get("name")), scopes: chosen, expires_at });
  };
  if (make.data)
    return (
      <div className="space-y-4">
        <p className="text-muted">This is the only time that it is shown: the server keeps its hash alone.</p>
        <Code text={make.data.key} language="API key" />
        <p className="label">Try it</p>
        <Code
          text={`curl -s ${BASE.origin}${BASE_PATH}/v1/account -H "Authorization: Bearer ${make.data.key}"`}
          language="curl"
        />
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
        <span className="label">Name</span>
        <input
          name="name"
          className="field mt-1.5"
          required
          maxLength={100}
          placeholder="What will use it, e.g. laptop"
        />
      </label>
      <fieldset className="space-y-2">
        <legend className="label mb-1">What it may do</legend>
        {Object.entries(SCOPES)
          .filter(([scope]) => scopes.includes(scope))
          .map(([scope, words]) => (
            <label key={scope} className="flex items-start gap-2.5">
              <input
                type="checkbox"
                className="mt-1 size-4 accent-[var(--accent)]"
                checked={chosen.includes(scope)}
                onChange={(event) =>
                  setChosen(
                    event.target.checked ? [...chosen, scope] : chosen.filter((each) => each !== scope),
                  )
                }
              />
              <span>
                <code className="font-mono">{scope}</code> <span className="hint block">{words}</span>
              </span>
            </label>
          ))}
      </fieldset>
      <label className="block">
        <span className="label">It ends</span>
        <select name="days" className="field mt-1.5">
          {LIVES.map(([words, days]) => (
            <option key={words} value={days ?? ""}>
              {words}
            </option>
          ))}
        </select>
      </label>
      <ErrorNote error={make.error} />
      <div className="flex justify-end gap-2">
        <Button onClick={onDone}>Not now</Button>
        <Button type="submit" tone="primary" busy={make.isPending} disabled={!chosen.length}>
          Make the key
        </Button>
      </div>
    </form>
  );
}
