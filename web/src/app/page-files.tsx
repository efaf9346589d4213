/** Pages as files of their own, and what is done when one cannot be had: the server may have been upgraded or stopped
 * since this page was opened, and no page may stay blank for it. */
import { type AsyncRouteComponent, lazyRouteComponent, type RouteComponent } from "@tanstack/react-router";
import { type ComponentType, type Key, useEffect } from "react";
import { ApiProblem, BASE, OFFLINE } from "../api/client";
import { ErrorNote } from "../ui/basics";

const LOOK_MS = 2_000;

async function answers(): Promise<boolean> {
  return fetch(new URL("session", BASE)).then(
    () => true,
    () => false,
  );
}

/** A page by its file. One that the server has no more is of another build: the router then loads the whole page anew,
 * once for each file. Where no server answers, that would leave nothing, so it is said instead. */
export function pageOf<M extends Record<string, unknown>, K extends keyof M>(
  load: () => Promise<M>,
  name: K,
) {
  const loadOrSay = () =>
    load().catch(async (error: unknown) => {
      throw (await answers()) ? error : new ApiProblem(0, "offline", OFFLINE);
    });
  return lazyRouteComponent(loadOrSay, name);
}

/** The page with what the address says; its file is asked for before it is shown. */
export function placed<P extends object>(
  Page: AsyncRouteComponent<P>,
  usePlace: () => P & { key?: Key },
): RouteComponent {
  const Shown = Page as unknown as ComponentType<P>;
  function Placed() {
    const { key, ...place } = usePlace();
    return <Shown key={key} {...(place as unknown as P)} />;
  }
  return Object.assign(Placed, { preload: async () => Page.preload?.() }) as unknown as RouteComponent;
}

/** In place of a page that broke, or that could not be loaded. */
export function PageError({ error }: { error: unknown }) {
  const offline = error instanceof ApiProblem && error.isOffline;
  useEffect(() => {
    if (!offline) return;
    const timer = setInterval(async () => (await answers()) && location.reload(), LOOK_MS);
    return () => clearInterval(timer);
  }, [offline]);
  const missing = /module/i.test(error instanceof Error ? error.message : "");
  return (
    <ErrorNote
      error={
        missing
          ? new Error(
              "A part of this page could not be loaded. Lovage may be in the middle of an upgrade: try again in a moment.",
            )
          : error
      }
      retry={async () => (offline && !(await answers()) ? undefined : location.reload())}
    />
  );
}
