import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import {
  createRootRoute,
  createRoute,
  createRouter,
  Link,
  RouterProvider,
  redirect,
} from "@tanstack/react-router";
import { MapPinOff } from "lucide-react";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { ApiProblem, BASE_PATH } from "./api/client";
import type { Status } from "./api/types";
import { modelQuery } from "./app/models";
import { PageError, pageOf, placed } from "./app/page-files";
import { type Session, sessionQuery } from "./app/session";
import { Shell } from "./app/shell";
import { startTheme } from "./app/theme";
import { buttonClass, Empty } from "./ui/basics";
import { Tips } from "./ui/tips";
import "./app.css";
import type { AdminTab } from "./pages/admin";
import type { ModelSearch, ModelTab } from "./pages/model";
import type { PredictionTab } from "./pages/prediction";
import type { PredictionsSearch } from "./pages/predictions-filters";
import type { UsageSearch } from "./pages/usage";

startTheme();

const client = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 2_000,
      retry: (failures, error) =>
        error instanceof ApiProblem
          ? error.isOffline
            ? true
            : error.status >= 500 && failures < 2
          : failures < 1,
      retryDelay: (attempt) => Math.min(8_000, 1_000 * 2 ** attempt),
      refetchIntervalInBackground: false,
    },
  },
});

// Each page is a file of its own, loaded when somebody goes there.
const AdminPage = pageOf(() => import("./pages/admin"), "AdminPage");
const BackendsPage = pageOf(() => import("./pages/backends"), "BackendsPage");
const ErrorsPage = pageOf(() => import("./pages/errors"), "ErrorsPage");
const FilesPage = pageOf(() => import("./pages/files"), "FilesPage");
const FleetPage = pageOf(() => import("./pages/fleet"), "FleetPage");
const HomePage = pageOf(() => import("./pages/home"), "HomePage");
const KeysPage = pageOf(() => import("./pages/keys"), "KeysPage");
const ModelPage = pageOf(() => import("./pages/model"), "ModelPage");
const ModelsPage = pageOf(() => import("./pages/models"), "ModelsPage");
const NewModelPage = pageOf(() => import("./pages/new-model"), "NewModelPage");
const PredictionPage = pageOf(() => import("./pages/prediction"), "PredictionPage");
const PredictionsPage = pageOf(() => import("./pages/predictions"), "PredictionsPage");
const SettingsPage = pageOf(() => import("./pages/settings"), "SettingsPage");
const SignInPage = pageOf(() => import("./pages/sign-in"), "SignInPage");
const UsagePage = pageOf(() => import("./pages/usage"), "UsagePage");
const WebhooksPage = pageOf(() => import("./pages/webhooks"), "WebhooksPage");

const text = (value: unknown): string | undefined => (typeof value === "string" && value ? value : undefined);
const one = <T extends string>(value: unknown, ...all: T[]): T | undefined =>
  all.find((each) => each === value);

const root = createRootRoute({ notFoundComponent: NotFound });
const signIn = createRoute({
  getParentRoute: () => root,
  path: "/sign-in",
  validateSearch: (search): { next?: string } => ({ next: text(search.next) }),
  component: placed(SignInPage, (): { next?: string } => ({ next: signIn.useSearch().next })),
});
const shell = createRoute({ getParentRoute: () => root, id: "shell", component: () => <Shell /> });

/** Pages of a person. */
async function needPerson({ location }: { location: { href: string } }): Promise<void> {
  const session = await client.ensureQueryData<Session>(sessionQuery).catch(() => null);
  if (session && !session.user) throw redirect({ to: "/sign-in", search: { next: location.href } });
}

/** Pages of whoever may run something. */
async function needCaller({ location }: { location: { href: string } }): Promise<void> {
  const session = await client.ensureQueryData<Session>(sessionQuery).catch(() => null);
  if (session && !session.user && !session.anonymous)
    throw redirect({ to: "/sign-in", search: { next: location.href } });
}

const home = createRoute({
  getParentRoute: () => shell,
  path: "/",
  beforeLoad: needCaller,
  component: HomePage,
});
const models = createRoute({
  getParentRoute: () => shell,
  path: "/models",
  beforeLoad: needCaller,
  validateSearch: (search): { q?: string } => ({ q: text(search.q) }),
  component: placed(ModelsPage, (): { q?: string } => ({ q: models.useSearch().q })),
});
const model = createRoute({
  getParentRoute: () => shell,
  path: "/models/$owner/$name",
  validateSearch: (search): ModelSearch => ({
    tab: one<ModelTab>(search.tab, "playground", "schema", "versions", "readme", "stats", "api", "manage"),
    run: text(search.run),
    beside: text(search.beside),
    version: text(search.version),
  }),
  beforeLoad: (place: { params: { owner: string; name: string }; location: { href: string } }) => {
    // Asked for beside the question who is signed in, not after it.
    ModelPage.preload?.();
    client.prefetchQuery(modelQuery(place.params.owner, place.params.name));
    return needCaller(place);
  },
  component: placed(ModelPage, (): { key: string; owner: string; name: string; search: ModelSearch } => {
    const { owner, name } = model.useParams();
    return { key: `${owner}/${name}`, owner, name, search: model.useSearch() };
  }),
});
const prediction = createRoute({
  getParentRoute: () => shell,
  path: "/p/$id",
  validateSearch: (search): { tab?: PredictionTab } => ({
    tab: one<PredictionTab>(search.tab, "output", "input", "logs", "events", "webhooks", "raw"),
  }),
  component: placed(PredictionPage, (): { key: string; id: string; tab?: PredictionTab } => {
    const { id } = prediction.useParams();
    return { key: id, id, tab: prediction.useSearch().tab };
  }),
});

const newModel = createRoute({
  getParentRoute: () => shell,
  path: "/models/new",
  beforeLoad: needPerson,
  component: NewModelPage,
});
const predictions = createRoute({
  getParentRoute: () => shell,
  path: "/predictions",
  beforeLoad: needPerson,
  validateSearch: (search): PredictionsSearch => ({
    status: one<Status>(search.status, "starting", "processing", "succeeded", "failed", "canceled"),
    model: text(search.model),
    created_after: text(search.created_after),
    created_before: text(search.created_before),
    error_group: text(search.error_group),
    text: text(search.text),
    error_code: text(search.error_code),
    version: text(search.version),
    deployment: text(search.deployment),
    source: text(search.source),
    user: text(search.user),
  }),
  component: placed(PredictionsPage, (): { search: PredictionsSearch } => ({
    search: predictions.useSearch(),
  })),
});
const errors = createRoute({
  getParentRoute: () => shell,
  path: "/errors",
  beforeLoad: needPerson,
  validateSearch: (search): { window?: string } => ({ window: text(search.window) }),
  component: placed(ErrorsPage, (): { window?: string } => ({ window: errors.useSearch().window })),
});
const fleet = createRoute({
  getParentRoute: () => shell,
  path: "/fleet",
  beforeLoad: needCaller,
  validateSearch: (search): { window?: string } => ({ window: text(search.window) }),
  component: placed(FleetPage, (): { window?: string } => ({ window: fleet.useSearch().window })),
});
const usage = createRoute({
  getParentRoute: () => shell,
  path: "/usage",
  beforeLoad: needPerson,
  validateSearch: (search): UsageSearch => ({
    days: [7, 30, 90, 365].find((days) => days === Number(search.days)),
    everybody: search.everybody === true || undefined,
  }),
  component: placed(UsagePage, (): UsageSearch => usage.useSearch()),
});
const admin = createRoute({
  getParentRoute: () => shell,
  path: "/admin",
  beforeLoad: needPerson,
  validateSearch: (search): { tab?: AdminTab } => ({
    tab: one<AdminTab>(search.tab, "users", "audit", "setup"),
  }),
  component: placed(AdminPage, (): { tab?: AdminTab } => ({ tab: admin.useSearch().tab })),
});
const backends = createRoute({
  getParentRoute: () => shell,
  path: "/backends",
  beforeLoad: needPerson,
  component: BackendsPage,
});
const keys = createRoute({
  getParentRoute: () => shell,
  path: "/keys",
  beforeLoad: needPerson,
  component: KeysPage,
});
const webhooks = createRoute({
  getParentRoute: () => shell,
  path: "/webhooks",
  beforeLoad: needPerson,
  component: WebhooksPage,
});
const files = createRoute({
  getParentRoute: () => shell,
  path: "/files",
  beforeLoad: needPerson,
  component: FilesPage,
});
const settings = createRoute({
  getParentRoute: () => shell,
  path: "/settings",
  beforeLoad: needPerson,
  component: SettingsPage,
});

const router = createRouter({
  routeTree: root.addChildren([
    signIn,
    shell.addChildren([
      home,
      models,
      newModel,
      model,
      prediction,
      predictions,
      errors,
      fleet,
      backends,
      usage,
      keys,
      webhooks,
      files,
      settings,
      admin,
    ]),
  ]),
  basepath: BASE_PATH || "/",
  defaultPreload: false,
  scrollRestoration: true,
  defaultErrorComponent: PageError,
  defaultNotFoundComponent: NotFound,
});

function NotFound() {
  return (
    <Shell>
      <h1 className="sr-only">Nothing here</h1>
      <Empty
        icon={<MapPinOff className="size-5" />}
        title="There is nothing at this address"
        action={
          <Link to="/" className={buttonClass()}>
            Go to the first page
          </Link>
        }
      />
    </Shell>
  );
}

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}

const place = document.getElementById("root");
if (place)
  createRoot(place).render(
    <StrictMode>
      <QueryClientProvider client={client}>
        <RouterProvider router={router} />
        <Tips />
      </QueryClientProvider>
    </StrictMode>,
  );
