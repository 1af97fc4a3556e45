// Firefox, as Debian has it, driven by WebDriver BiDi.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import WebSocket from "ws";
import { within } from "./patience.js";

/** Starts Firefox, all of whose windows may be private. Resolves to what drives one tab of it. */
export async function firefox(path, isPrivate = false) {
  const profile = mkdtempSync(join(tmpdir(), "prebake-firefox-"));
  if (isPrivate) writeFileSync(join(profile, "user.js"), 'user_pref("browser.privatebrowsing.autostart", true);\n');
  const child = spawn(path, ["--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0"], { stdio: ["ignore", "ignore", "pipe"] });
  const gone = new Promise((resolve) => child.once("exit", resolve));
  const stop = async () => {
    child.kill("SIGKILL");
    await within("the end of Firefox", gone);
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    const socket = new WebSocket(`${await within("Firefox to listen", addressOf(child))}/session`);
    await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
    const waiting = new Map();
    let last = 0;
    socket.on("message", (text) => {
      const { id, result, error, message } = JSON.parse(text);
      const { resolve, reject } = waiting.get(id) ?? {};
      waiting.delete(id);
      if (error) reject?.(new Error(`${error}: ${message}`));
      else resolve?.(result);
    });
    const call = (method, params) => {
      const id = ++last;
      const answer = new Promise((resolve, reject) => {
        waiting.set(id, { resolve, reject });
        socket.send(JSON.stringify({ id, method, params }));
      });
      return within(`${method} of Firefox`, answer);
    };
    await call("session.new", { capabilities: {} });
    const { context } = await call("browsingContext.create", { type: "tab" });
    return {
      stop,
      goto: (url) => call("browsingContext.navigate", { context, url, wait: "complete" }),
      reload: () => call("browsingContext.reload", { context, wait: "complete" }),
      /** What an expression comes to, as text. */
      async evaluate(expression) {
        const answer = await call("script.evaluate", { expression: `(async () => String(await (${expression})))()`, target: { context }, awaitPromise: true });
        if (answer.type !== "success") throw new Error(answer.exceptionDetails.text);
        return answer.result.value;
      },
      async type(text) {
        const actions = [...text].flatMap((value) => [
          { type: "keyDown", value: value === "\n" ? "\uE007" : value },
          { type: "keyUp", value: value === "\n" ? "\uE007" : value },
        ]);
        await call("input.performActions", { context, actions: [{ type: "key", id: "keyboard", actions }] });
      },
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The address that Firefox says it listens at. */
function addressOf(child) {
  return new Promise((resolve, reject) => {
    let said = "";
    child.stderr.on("data", (text) => {
      said += text;
      const found = /WebDriver BiDi listening on (ws:\S+)/.exec(said);
      if (found) resolve(found[1]);
    });
    child.once("exit", () => reject(new Error(`Firefox has ended: ${said}`)));
  });
}
