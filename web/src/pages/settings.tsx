/** One's own account: password, sessions, how the pages look. */
import { useMutation } from "@tanstack/react-query";
import { clsx } from "clsx";
import { LogOut, Monitor, Moon, Sun } from "lucide-react";
import { type ComponentType, type FormEvent, useRef, useState } from "react";
import { call } from "../api/client";
import { useSession, useSignIn } from "../app/session";
import { type Choice, chooseTheme, themeChoice } from "../app/theme";
import { Button, Confirm, ErrorNote, Facts, PageHeader, Section } from "../ui/basics";
import { toast } from "../ui/toasts";

export function SettingsPage() {
  const session = useSession();
  const user = session?.user;
  if (!user) return null;
  return (
    <>
      <PageHeader title="Settings" />
      <div className="grid items-start gap-5 lg:grid-cols-2">
        <Section title="Account">
          <Facts
            rows={[
              ["Username", user.username],
              ["Rank", user.is_admin ? "administrator" : "user"],
              ["May", user.scopes.join(", ")],
              ["Signed in by", user.by_key ? "API key" : "password or link"],
            ]}
          />
        </Section>
        <Appearance />
        <Password username={user.username} />
        <Sessions />
      </div>
    </>
  );
}

const THEMES: [Choice, string, ComponentType<{ className?: string }>][] = [
  ["light", "Light", Sun],
  ["dark", "Dark", Moon],
  ["system", "As the system", Monitor],
];

function Appearance() {
  const [choice, setChoice] = useState(themeChoice);
  return (
    <Section title="Appearance" hint="Kept in this browser">
      <div className="grid grid-cols-3 gap-2" role="radiogroup" aria-label="Appearance">
        {THEMES.map(([value, label, Icon]) => (
          <button
            key={value}
            type="button"
            role="radio"
            aria-checked={choice === value}
            onClick={() => {
              chooseTheme(value);
              setChoice(value);
            }}
            className={clsx(
              "flex flex-col items-center gap-1.5 rounded-lg border px-2 py-3 font-medium",
              choice === value ? "border-accent bg-soft text-on-soft" : "text-muted hover:bg-hover",
            )}
          >
            <Icon className="size-5" aria-hidden />
            {label}
          </button>
        ))}
      </div>
    </Section>
  );
}

function Password({ username }: { username: string }) {
  const signIn = useSignIn();
  const form = useRef<HTMLFormElement>(null);
  const change = useMutation({
    mutationFn: async (body: { current_password: string; new_password: string }) => {
      await call("PUT", "/v1/account/password", body);
      // Every token until now has ended, this browser's too.
      await signIn({ username, password: body.new_password });
    },
    onSuccess: () => {
      form.current?.reset();
      toast("The password is changed. Every other browser is signed out.");
    },
  });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const values = new FormData(event.currentTarget);
    change.mutate({
      current_password: String(values.get("current")),
      new_password: String(values.get("new")),
    });
  };
  return (
    <Section title="Password">
      <form ref={form} onSubmit={submit} className="space-y-4">
        <input type="hidden" name="username" autoComplete="username" value={username} />
        <label className="block">
          <span className="label">Current password</span>
          <input
            name="current"
            type="password"
            autoComplete="current-password"
            required
            className="field mt-1.5"
          />
        </label>
        <label className="block">
          <span className="label">New password</span>
          <input
            name="new"
            type="password"
            autoComplete="new-password"
            required
            minLength={8}
            className="field mt-1.5"
          />
          <span className="hint">At least 8 characters. Other browsers are signed out; API keys stay.</span>
        </label>
        <ErrorNote error={change.error} />
        <Button type="submit" tone="primary" busy={change.isPending}>
          Change the password
        </Button>
      </form>
    </Section>
  );
}

function Sessions() {
  const [asked, setAsked] = useState(false);
  const [keys, setKeys] = useState(false);
  const out = useMutation({
    mutationFn: async () => {
      await call("POST", "/v1/account/sign-out", { revoke_keys: keys });
      await call("DELETE", "/session");
    },
    onSuccess: () => location.assign(document.baseURI),
  });
  return (
    <Section title="Sign out everywhere" hint="For a lost device, or a password that somebody has seen">
      <label className="mb-4 flex items-start gap-2.5">
        <input
          type="checkbox"
          className="mt-1 size-4 accent-[var(--accent)]"
          checked={keys}
          onChange={(event) => setKeys(event.target.checked)}
        />
        <span>
          Revoke all API keys, too <span className="hint block">Programs that use them stop working.</span>
        </span>
      </label>
      <Button tone="danger" onClick={() => setAsked(true)}>
        <LogOut className="size-4" aria-hidden /> Sign out everywhere
      </Button>
      <Confirm
        open={asked}
        title="Sign out everywhere?"
        action="Sign out"
        busy={out.isPending}
        error={out.error}
        onClose={() => setAsked(false)}
        onConfirm={() => out.mutate()}
      >
        Every browser is signed out, this one too{keys && ", and all your API keys end"}.
      </Confirm>
    </Section>
  );
}
