import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";

// Of the first view: the browser compiles the whole of them while they come in, beside the page's own work, and not
// function by function when each is called.
const COMPILED_WHOLE = ["app.js", "core.js", "parts.js", "model.js"];
const OUT = resolve(import.meta.dirname, "../app/api/web/static");
const PAGES = resolve(import.meta.dirname, "src/pages");

/** The page names its files as the API serves them, below the page's base. */
function servedNames(): Plugin {
  return {
    name: "served-names",
    transformIndexHtml: {
      order: "post",
      handler: (page) => page.replace(/(src|href)="\.\//g, '$1="assets/'),
    },
  };
}

/** The address of every file carries the tag of the whole build, so that what a page loads later is of its own build
 * or is refused; `build.json` says which files which page needs, for the server to name them early. */
function oneTag(): Plugin {
  const pages: Record<string, string[]> = {};
  return {
    name: "one-tag",
    generateBundle(_, bundle) {
      const scripts = Object.values(bundle).filter((each) => each.type === "chunk");
      const imports = new Map(scripts.map((each) => [each.fileName, each.imports]));
      const closure = (name: string, found = new Set<string>()): Set<string> => {
        if (!found.has(name)) for (const each of imports.get(name) ?? []) closure(each, found.add(name));
        return found.add(name);
      };
      const first = closure("app.js");
      pages[""] = [...first].filter((name) => name !== "app.js").sort();
      for (const script of scripts)
        if (script.isDynamicEntry)
          pages[script.name] = [...closure(script.fileName)].filter((name) => !first.has(name)).sort();
    },
    writeBundle({ dir = OUT }) {
      const names = readdirSync(dir).filter((name) => /\.(js|css)$/.test(name));
      for (const name of COMPILED_WHOLE)
        writeFileSync(
          join(dir, name),
          `//# allFunctionsCalledOnLoad\n${readFileSync(join(dir, name), "utf8")}`,
        );
      const hash = createHash("sha256");
      for (const name of names.sort()) hash.update(name).update(readFileSync(join(dir, name)));
      const tag = hash.digest("hex").slice(0, 16);
      const imported = /(["'`])\.\/([\w-]+\.js)\1/g;
      for (const name of names.filter((each) => each.endsWith(".js"))) {
        const text = readFileSync(join(dir, name), "utf8");
        const tagged = text.replace(imported, (all, quote, file) =>
          names.includes(file) ? `${quote}./${file}?v=${tag}${quote}` : all,
        );
        writeFileSync(join(dir, name), tagged);
      }
      const page = join(dir, "index.html");
      const tagged = readFileSync(page, "utf8").replace(
        /"assets\/([\w-]+\.(?:js|css))"/g,
        `"assets/$1?v=${tag}"`,
      );
      // What the first frame is drawn with comes first.
      const [style = ""] = tagged.match(/<link rel="stylesheet"[^>]*>/) ?? [];
      writeFileSync(
        page,
        tagged.replace(`    ${style}\n`, "").replace("<!-- early -->", `${style}\n    <!-- early -->`),
      );
      const sorted = Object.fromEntries(Object.entries(pages).sort(([a], [b]) => (a < b ? -1 : 1)));
      writeFileSync(join(dir, "build.json"), `${JSON.stringify({ tag, pages: sorted }, null, 1)}\n`);
    },
  };
}

export default defineConfig({
  base: "./",
  plugins: [react(), tailwindcss({ optimize: false }), servedNames(), oneTag()],
  build: {
    outDir: OUT,
    emptyOutDir: true,
    sourcemap: false,
    target: "es2023",
    cssTarget: ["chrome123", "firefox120", "safari17.5"], // which know light-dark()
    assetsInlineLimit: 0,
    modulePreload: false,
    cssCodeSplit: false,
    chunkSizeWarningLimit: 2000,
    rollupOptions: {
      output: {
        entryFileNames: "app.js",
        chunkFileNames: "[name].js",
        assetFileNames: "app[extname]",
        // Nothing may import app.js, which alone is served whatever tag it is asked by.
        codeSplitting: {
          groups: [
            {
              name: "core",
              tags: ["$initial"],
              test: (id) => !/main\.tsx$|index\.html/.test(id),
              priority: 3,
            },
            { name: "chart", test: /uplot|[\\/]ui[\\/]chart/, priority: 2 },
            {
              name: "table",
              test: /@tanstack[\\/](react-table|table-core|react-virtual|virtual-core)[\\/]/,
              priority: 2,
            },
            { name: "parts", test: (id) => !id.startsWith(PAGES), minShareCount: 2, priority: 1 },
          ],
        },
      },
    },
  },
});
