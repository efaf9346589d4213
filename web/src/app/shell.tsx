/** The frame of every page: where one can go, who one is, whether the server answers. */
import { onlineManager, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, Outlet, useLocation, useRouterState } from "@tanstack/react-router";
import { clsx } from "clsx";
import {
  Activity,
  Blocks,
  Bug,
  Cable,
  ChartColumn,
  FileBox,
  House,
  KeyRound,
  Menu,
  Server,
  Settings,
  ShieldCheck,
  Webhook,
  WifiOff,
  X,
} from "lucide-react";
import { type ComponentType, type ReactNode, useEffect, useRef, useState, useSyncExternalStore } from "react";
import { ApiProblem, BASE_PATH } from "../api/client";
import { buttonClass, IconButton } from "../ui/basics";
import { Toasts, toastError } from "../ui/toasts";
import { AccountButton } from "./account-button";
import type { AccountMenu } from "./account-menu";
import { type Session, sessionQuery } from "./session";

interface Place {
  to: string;
  label: string;
  icon: ComponentType<{ className?: string }>;
  admin?: boolean;
  person?: boolean;
}

const PLACES: { title: string; places: Place[] }[] = [
  {
    title: "",
    places: [
      { to: "/", label: "Home", icon: House },
      { to: "/models", label: "Models", icon: Blocks },
      { to: "/predictions", label: "Predictions", icon: Activity, person: true },
      { to: "/errors", label: "Errors", icon: Bug, person: true },
      { to: "/fleet", label: "Fleet and queue", icon: Server },
    ],
  },
  {
    title: "Yours",
    places: [
      { to: "/keys", label: "API keys", icon: KeyRound, person: true },
      { to: "/webhooks", label: "Webhooks", icon: Webhook, person: true },
      { to: "/files", label: "Files", icon: FileBox, person: true },
      { to: "/usage", label: "Usage", icon: ChartColumn, person: true },
      { to: "/settings", label: "Settings", icon: Settings, person: true },
    ],
  },
  {
    title: "Platform",
    places: [
      { to: "/backends", label: "Backends", icon: Cable, admin: true },
      { to: "/admin", label: "Admin", icon: ShieldCheck, admin: true },
    ],
  },
];

export function Logo() {
  return (
    <span className="flex items-center gap-2.5 text-[1.05rem] font-semibold tracking-tight">
      <img src="assets/icon.svg" alt="" className="size-7" />
      Lovage
    </span>
  );
}

function Navigation({ session, onPick }: { session: Session | undefined; onPick?: () => void }) {
  const path = useLocation({ select: (location) => location.pathname });
  const may = (place: Place) => (!place.admin || session?.user?.is_admin) && (!place.person || session?.user);
  return (
    <nav aria-label="Pages" className="flex-1 space-y-5 overflow-y-auto px-3 py-2">
      {PLACES.map(({ title, places }) => {
        const shown = places.filter(may);
        if (!shown.length) return null;
        return (
          <div key={title}>
            {title && <p className="px-3 pb-1 text-[0.8rem] font-medium text-faint">{title}</p>}
            <ul className="space-y-0.5">
              {shown.map(({ to, label, icon: Icon }) => {
                const here =
                  to === "/"
                    ? path === "/"
                    : path.startsWith(to) || (to === "/predictions" && path.startsWith("/p/"));
                return (
                  <li key={to}>
                    <Link
                      to={to}
                      onClick={onPick}
                      aria-current={here ? "page" : undefined}
                      className={clsx(
                        "flex min-h-9 items-center gap-2.5 rounded-lg px-3 font-medium",
                        here ? "bg-soft text-on-soft" : "text-muted hover:bg-hover hover:text-ink",
                      )}
                    >
                      <Icon className="size-[1.1rem] shrink-0" aria-hidden />
                      {label}
                    </Link>
                  </li>
                );
              })}
            </ul>
          </div>
        );
      })}
      <p className="px-3 text-[0.85rem]">
        <a
          href={`${BASE_PATH}/docs`}
          className="text-muted underline-offset-2 hover:text-ink hover:underline"
        >
          API reference
        </a>
      </p>
    </nav>
  );
}

const loadMenu = () => import("./account-menu");

/** Who one is. The menu is a file of its own: it comes when it is wanted. */
function Person({ session }: { session: Session | undefined }) {
  const [Menu, setMenu] = useState<typeof AccountMenu>();
  const [wanted, setWanted] = useState(false);
  const user = session?.user;
  const username = user?.username ?? "";
  const open = () => {
    setWanted(true);
    loadMenu().then((file) => setMenu(() => file.AccountMenu), toastError);
  };
  return (
    <div className="flex items-center gap-1 border-t p-3">
      {!user && (
        <Link to="/sign-in" className={clsx(buttonClass("primary", true), "flex-1")}>
          Sign in
        </Link>
      )}
      {Menu ? (
        <Menu username={username} />
      ) : (
        <AccountButton
          username={username}
          aria-haspopup="menu"
          aria-expanded={wanted}
          onPointerEnter={() => loadMenu().catch(() => undefined)}
          onClick={open}
        />
      )}
    </div>
  );
}

function Drawer({ session }: { session: Session | undefined }) {
  const ref = useRef<HTMLDialogElement>(null);
  return (
    <>
      <IconButton name="Menu" onClick={() => ref.current?.showModal()}>
        <Menu className="size-5" />
      </IconButton>
      <dialog
        ref={ref}
        aria-label="Menu"
        onClick={(event) => event.target === ref.current && ref.current?.close()}
        className="m-0 h-dvh max-h-none w-72 max-w-[85vw] border-r bg-bg p-0 text-ink"
      >
        <div className="flex h-full flex-col">
          <div className="flex items-center justify-between px-5 py-4">
            <Logo />
            <IconButton name="Close the menu" onClick={() => ref.current?.close()}>
              <X className="size-5" />
            </IconButton>
          </div>
          <Navigation session={session} onPick={() => ref.current?.close()} />
          <Person session={session} />
        </div>
      </dialog>
    </>
  );
}

/** Says so while the server does not answer, whatever page is open. */
function OfflineBar() {
  const client = useQueryClient();
  const failing = useSyncExternalStore(
    (changed) => client.getQueryCache().subscribe(changed),
    () =>
      client
        .getQueryCache()
        .getAll()
        .some((query) => {
          const error = query.state.error ?? query.state.fetchFailureReason;
          return query.isActive() && error instanceof ApiProblem && error.isOffline;
        }),
  );
  const online = useSyncExternalStore(onlineManager.subscribe.bind(onlineManager), () =>
    onlineManager.isOnline(),
  );
  if (online && !failing) return null;
  return (
    <div
      role="status"
      className="flex items-center justify-center gap-2 bg-warn-soft px-4 py-2 text-[0.9rem] font-medium text-warn"
    >
      <WifiOff className="size-4" aria-hidden />
      {online ? "Lovage does not answer. Trying again …" : "This device is offline. What you see may be old."}
    </div>
  );
}

export function Shell({ children }: { children?: ReactNode }) {
  const { data: session } = useQuery(sessionQuery);
  const path = useLocation({ select: (location) => location.pathname });
  const busy = useRouterState({ select: (state) => state.isLoading });
  const main = useRef<HTMLElement>(null);
  const first = useRef(true);
  // biome-ignore lint/correctness/useExhaustiveDependencies: at each new page
  useEffect(() => {
    if (first.current) first.current = false;
    else main.current?.focus({ preventScroll: true });
  }, [path]);
  return (
    <>
      <a
        href="#main"
        onClick={(event) => {
          event.preventDefault();
          main.current?.focus();
        }}
        className="absolute -top-20 left-4 z-50 rounded-lg bg-accent px-3 py-2 text-on-accent focus:top-3"
      >
        Skip to the page
      </a>
      <div className="lg:grid lg:grid-cols-[15rem_minmax(0,1fr)]">
        <aside className="sticky top-0 hidden h-dvh flex-col border-r bg-sunken/60 lg:flex">
          <div className="px-5 py-5">
            <Link to="/" aria-label="Lovage, home" className="inline-block rounded-lg">
              <Logo />
            </Link>
          </div>
          <Navigation session={session} />
          <Person session={session} />
        </aside>
        <div className="min-w-0">
          <header className="sticky top-0 z-20 flex items-center justify-between border-b bg-bg px-4 py-2 lg:hidden">
            <Link to="/" aria-label="Lovage, home" className="rounded-lg">
              <Logo />
            </Link>
            <Drawer session={session} />
          </header>
          <OfflineBar />
          <main
            id="main"
            ref={main}
            tabIndex={-1}
            aria-busy={busy}
            className="mx-auto w-full max-w-[84rem] px-4 py-6 outline-none sm:px-6 lg:px-9 lg:py-8"
          >
            {children ?? <Outlet />}
          </main>
        </div>
      </div>
      <Toasts />
    </>
  );
}
