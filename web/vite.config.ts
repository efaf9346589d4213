import { resolve } from "node:path";
import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";

const OUT = resolve(import.meta.dirname, "../app/api/web/static");

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

export default defineConfig({
  base: "./",
  plugins: [react(), tailwindcss(), servedNames()],
  build: {
    outDir: OUT,
    emptyOutDir: true,
    sourcemap: false,
    target: "es2023",
    assetsInlineLimit: 0,
    modulePreload: false,
    cssCodeSplit: false,
    chunkSizeWarningLimit: 2000,
    rollupOptions: {
      output: {
        entryFileNames: "app.js",
        assetFileNames: "app[extname]",
        codeSplitting: false,
      },
    },
  },
});
