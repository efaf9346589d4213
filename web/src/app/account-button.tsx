/** What opens the menu of an account: the same before the menu's file is there and after. */
import { clsx } from "clsx";
import { Sun } from "lucide-react";
import type { ComponentProps } from "react";

export function AccountButton({ username, ...rest }: ComponentProps<"button"> & { username: string }) {
  return (
    <button
      type="button"
      aria-label={username ? undefined : "Appearance"}
      {...rest}
      className={clsx(
        "flex min-h-10 min-w-0 items-center gap-2.5 rounded-lg px-2 text-left hover:bg-hover",
        username && "flex-1",
      )}
    >
      {username ? (
        <>
          <span
            aria-hidden
            className="flex size-7 shrink-0 items-center justify-center rounded-full bg-soft text-[0.85rem] font-semibold uppercase text-on-soft"
          >
            {username.slice(0, 1)}
          </span>
          <span className="min-w-0 flex-1 truncate font-medium">
            <span className="sr-only">Account of </span>
            {username}
          </span>
        </>
      ) : (
        <Sun className="size-4 text-muted" />
      )}
    </button>
  );
}
