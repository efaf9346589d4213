/** A readme as it is meant. Only what readmes need, and no HTML of theirs: headings, lists, code, links, emphasis. */
import { Fragment, type ReactNode } from "react";
import { type Block, blocksOf } from "../lib/readme-blocks";
import { Pre } from "./basics";

const INLINE = /(`[^`]+`)|(\*\*[^*]+\*\*)|(\*[^*\s][^*]*\*)|(!?\[[^\]]*\]\([^)\s]+\))/g;

function inline(text: string): ReactNode[] {
  const parts: ReactNode[] = [];
  let last = 0;
  for (const match of text.matchAll(INLINE)) {
    parts.push(text.slice(last, match.index));
    parts.push(piece(match[0]));
    last = match.index + match[0].length;
  }
  parts.push(text.slice(last));
  return parts.map((part, i) => <Fragment key={i}>{part}</Fragment>);
}

function piece(text: string): ReactNode {
  if (text.startsWith("`")) return <code>{text.slice(1, -1)}</code>;
  if (text.startsWith("**")) return <strong>{text.slice(2, -2)}</strong>;
  if (text.startsWith("*")) return <em>{text.slice(1, -1)}</em>;
  const [, label = "", url = ""] = /\[([^\]]*)\]\(([^)]+)\)/.exec(text) ?? [];
  // Pictures of other hosts would tell them who reads: they are links like all others.
  return /^https?:\/\//.test(url) ? (
    <a href={url} target="_blank" rel="noreferrer">
      {label || url}
    </a>
  ) : (
    label
  );
}

export function Markdown({ text }: { text: string }) {
  return (
    <div className="prose wrap max-w-3xl">
      {blocksOf(text).map((block, i) => (
        <BlockView key={i} block={block} />
      ))}
    </div>
  );
}

function BlockView({ block }: { block: Block }) {
  const { kind, lines } = block;
  if (kind === "code") return <Pre name="Code">{lines.join("\n")}</Pre>;
  if (kind === "ul" || kind === "ol") {
    const List = kind;
    return (
      <List>
        {lines.map((line, i) => (
          <li key={i}>{inline(line)}</li>
        ))}
      </List>
    );
  }
  // The page has its own first heading.
  const Tag = kind === "p" ? "p" : kind === "h1" ? "h2" : "h3";
  return (
    <Tag className={kind === "h1" ? "text-xl" : kind === "h2" ? "text-lg" : ""}>
      {inline(lines.join(" "))}
    </Tag>
  );
}
