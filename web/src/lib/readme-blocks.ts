/** A readme's text, cut into its blocks. */
export type Block = { kind: "p" | "ul" | "ol" | "code" | "h1" | "h2" | "h3"; lines: string[] };

export function blocksOf(text: string): Block[] {
  const blocks: Block[] = [];
  let code: Block | null = null;
  const source = text.replace(/^---\n[\s\S]*?\n---\n/, "");
  for (const line of source.split("\n")) {
    if (line.startsWith("```")) {
      code = code ? null : { kind: "code", lines: [] };
      if (code) blocks.push(code);
      continue;
    }
    if (code) {
      code.lines.push(line);
      continue;
    }
    const heading = /^(#{1,6})\s+(.*)/.exec(line);
    const item = /^\s*([-*+]|\d+[.)])\s+(.*)/.exec(line);
    const last = blocks.at(-1);
    if (heading)
      blocks.push({ kind: `h${Math.min(3, heading[1]?.length ?? 1)}` as "h1", lines: [heading[2] ?? ""] });
    else if (item) {
      const kind = /\d/.test(item[1] ?? "") ? "ol" : "ul";
      if (last?.kind === kind) last.lines.push(item[2] ?? "");
      else blocks.push({ kind, lines: [item[2] ?? ""] });
    } else if (!line.trim()) blocks.push({ kind: "p", lines: [] });
    else if (last && ["p", "ul", "ol"].includes(last.kind) && last.lines.length)
      last.lines.push(`${last.lines.pop()} ${line.trim()}`);
    else blocks.push({ kind: "p", lines: [line] });
  }
  return blocks.filter((block) => block.lines.length);
}
