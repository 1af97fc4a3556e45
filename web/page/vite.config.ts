import { readFileSync } from "node:fs";
import { defineConfig, type HtmlTagDescriptor, type Plugin } from "vite";

/** Tells the service worker what the page consists of. */
function serviceWorker(): Plugin {
  return {
    name: "service-worker",
    apply: "build",
    generateBundle(_options, bundle) {
      const files = ["./", "./icon.svg", "./manifest.webmanifest", ...Object.keys(bundle).filter((name) => name !== "index.html")];
      const source = readFileSync(new URL("./service-worker.js", import.meta.url), "utf8");
      this.emitFile({
        type: "asset",
        fileName: "service-worker.js",
        source: source.replace("__FILES__", JSON.stringify(files)).replace("__VERSION__", JSON.stringify(hash(files.join()))),
      });
    },
  };
}

/** Has the browser fetch what the page's first part asks for while that is on its way. */
function preload(): Plugin {
  return {
    name: "preload",
    apply: "build",
    transformIndexHtml: {
      order: "post",
      handler(_html, { bundle }) {
        const named = (pattern: RegExp): string[] => Object.keys(bundle ?? {}).filter((name) => pattern.test(name));
        const link = (name: string, attrs: Record<string, string>): HtmlTagDescriptor => ({ tag: "link", injectTo: "head", attrs: { ...attrs, crossorigin: true, href: `./${name}` } });
        return named(/^assets\/main-.*\.js$/).map((name) => link(name, { rel: "modulepreload" }));
      },
    },
  };
}

function hash(text: string): string {
  let value = 5381;
  for (const character of text) value = (value * 33 + character.codePointAt(0)!) >>> 0;
  return value.toString(16);
}

export default defineConfig({
  root: import.meta.dirname,
  base: "./",
  resolve: { alias: { prebake: new URL("../dist/lib/index.js", import.meta.url).pathname } },
  build: { outDir: "../dist/page", emptyOutDir: true, target: "es2022", assetsInlineLimit: 0, chunkSizeWarningLimit: 1500, rolldownOptions: { checks: { pluginTimings: false } } },
  worker: { format: "es" },
  plugins: [serviceWorker(), preload()],
});
