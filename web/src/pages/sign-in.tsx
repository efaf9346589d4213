/** Sign in by password, by key, or by the one-time link that `lovage up` prints. */
import { useNavigate } from "@tanstack/react-router";
import { type FormEvent, useEffect, useRef, useState } from "react";
import { call } from "../api/client";
import { useSession, useSignIn } from "../app/session";
import { Logo } from "../app/shell";
import { Button, ErrorNote } from "../ui/basics";

type Way = "password" | "key" | "new";

export function SignInPage({ next }: { next?: string }) {
  const session = useSession();
  const signIn = useSignIn();
  const navigate = useNavigate();
  const [way, setWay] = useState<Way>("password");
  const [error, setError] = useState<unknown>();
  const [busy, setBusy] = useState(() => location.hash.length > 1);
  const began = useRef(false);

  const enter = async (act: () => Promise<unknown>) => {
    setBusy(true);
    setError(undefined);
    try {
      await act();
      await navigate({ to: next?.startsWith("/") && !next.startsWith("//") ? next : "/", replace: true });
    } catch (problem) {
      setError(problem);
    } finally {
      setBusy(false);
    }
  };

  // biome-ignore lint/correctness/useExhaustiveDependencies: once, with the link that the page was opened with
  useEffect(() => {
    const link = location.hash.slice(1);
    if (!link || began.current) return;
    began.current = true;
    history.replaceState(null, "", location.pathname + location.search);
    enter(() => signIn({ link }));
  }, []);

  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = Object.fromEntries(new FormData(event.currentTarget)) as Record<string, string>;
    enter(async () => {
      if (way === "key") return signIn({ key: form.key });
      const { username = "", password = "", email = "" } = form;
      if (way === "new") await call("POST", "/v1/auth/register", { email, username, password });
      return signIn({ username, password });
    });
  };

  return (
    <main className="flex min-h-dvh flex-col items-center justify-center bg-bg px-4 py-10">
      <div className="mb-7">
        <Logo />
      </div>
      <section className="card w-full max-w-sm p-6">
        <h1 className="mb-1 text-xl font-semibold">{way === "new" ? "Create an account" : "Sign in"}</h1>
        <p className="mb-5 text-muted">
          {way === "key"
            ? "With an API key. It is kept out of the reach of scripts."
            : way === "new"
              ? "Your username is also the owner in the names of your models."
              : "With your username or email address."}
        </p>
        <form onSubmit={submit} className="space-y-4">
          {way === "new" && <TextField name="email" label="Email" type="email" auto="email" />}
          {way !== "key" && <TextField name="username" label="Username" auto="username" />}
          {way === "key" ? (
            <TextField name="key" label="API key" type="password" auto="off" placeholder="lov_…" />
          ) : (
            <TextField
              name="password"
              label="Password"
              type="password"
              auto={way === "new" ? "new-password" : "current-password"}
            />
          )}
          <ErrorNote error={error} />
          <Button type="submit" tone="primary" busy={busy} className="w-full">
            {way === "new" ? "Create the account" : "Sign in"}
          </Button>
        </form>
        <div className="mt-5 flex flex-wrap justify-between gap-x-4 gap-y-2 border-t pt-4 text-[0.9rem]">
          {way !== "password" && <Other onClick={() => setWay("password")}>Use a password</Other>}
          {way !== "key" && <Other onClick={() => setWay("key")}>Use an API key</Other>}
          {way !== "new" && session?.registration && (
            <Other onClick={() => setWay("new")}>Create an account</Other>
          )}
        </div>
      </section>
      <p className="mt-5 max-w-sm text-center text-[0.87rem] text-muted">
        The administrator of this machine: <code className="font-mono">lovage link</code> prints a link that
        signs you in; the password is in the file <code className="font-mono">admin-password</code> of its
        data folder.
      </p>
    </main>
  );
}

function Other({ onClick, children }: { onClick: () => void; children: string }) {
  return (
    <button
      type="button"
      onClick={onClick}
      className="font-medium text-accent underline-offset-2 hover:underline"
    >
      {children}
    </button>
  );
}

function TextField({
  name,
  label,
  type = "text",
  auto,
  placeholder,
}: {
  name: string;
  label: string;
  type?: string;
  auto: string;
  placeholder?: string;
}) {
  return (
    <label className="block">
      <span className="label">{label}</span>
      <input
        name={name}
        type={type}
        autoComplete={auto}
        placeholder={placeholder}
        required
        autoCapitalize="none"
        spellCheck={false}
        className="field mt-1.5"
      />
    </label>
  );
}
