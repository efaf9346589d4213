import { expect, it } from "vitest";
import { blocksOf } from "./readme-blocks";

it("a readme is cut into its blocks, without its front matter", () => {
  const text =
    "---\nlicense: mit\n---\n# Title\n\nSome text\nthat goes on.\n\n- one\n- two\n\n1. first\n\n```py\nx = 1\n\ny = 2\n```\n";
  expect(blocksOf(text).map((block) => [block.kind, block.lines.length])).toEqual([
    ["h1", 1],
    ["p", 1],
    ["ul", 2],
    ["ol", 1],
    ["code", 3],
  ]);
});
