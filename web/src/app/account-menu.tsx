/** Appearance and signing out. */
import { Check, LogOut, Monitor, Moon, Sun } from "lucide-react";
import { DropdownMenu } from "radix-ui";
import { type ComponentType, useState } from "react";
import { AccountButton } from "./account-button";
import { useSignOut } from "./session";
import { type Choice, chooseTheme, themeChoice } from "./theme";

const THEMES: [Choice, string, ComponentType<{ className?: string }>][] = [
  ["light", "Light", Sun],
  ["dark", "Dark", Moon],
  ["system", "As the system", Monitor],
];
const ITEM =
  "flex min-h-9 w-full items-center gap-2.5 rounded-md px-2.5 text-left outline-none data-[highlighted]:bg-hover";

/** Open from the start: its file is asked for by whoever opens it. `username` is empty for who is not signed in. */
export function AccountMenu({ username }: { username: string }) {
  const signOut = useSignOut();
  const [choice, setChoice] = useState(themeChoice);
  const [place, setPlace] = useState<HTMLElement | null>(null);
  const choose = (value: Choice) => {
    chooseTheme(value);
    setChoice(value);
  };
  return (
    <DropdownMenu.Root modal={false} defaultOpen>
      <DropdownMenu.Trigger asChild>
        <AccountButton username={username} ref={setPlace} />
      </DropdownMenu.Trigger>
      {/* What lies outside an open dialog cannot be reached. */}
      <DropdownMenu.Portal container={place?.closest("dialog")}>
        <DropdownMenu.Content
          side="top"
          align="start"
          sideOffset={6}
          className="card z-40 w-56 p-1.5 shadow-lg"
        >
          <DropdownMenu.RadioGroup
            aria-label="Appearance"
            value={choice}
            onValueChange={(value) => choose(value as Choice)}
          >
            {THEMES.map(([value, label, Icon]) => (
              <DropdownMenu.RadioItem key={value} value={value} className={ITEM}>
                <Icon className="size-4 text-muted" />
                <span className="flex-1">{label}</span>
                <DropdownMenu.ItemIndicator>
                  <Check className="size-4 text-accent" />
                </DropdownMenu.ItemIndicator>
              </DropdownMenu.RadioItem>
            ))}
          </DropdownMenu.RadioGroup>
          {username && (
            <>
              <DropdownMenu.Separator className="my-1 border-t" />
              <DropdownMenu.Item className={ITEM} onSelect={signOut}>
                <LogOut className="size-4 text-muted" /> Sign out
              </DropdownMenu.Item>
            </>
          )}
        </DropdownMenu.Content>
      </DropdownMenu.Portal>
    </DropdownMenu.Root>
  );
}
