// The page: starts a machine, saves it, and says what happens.

import "./style.css";
import { type NetworkOptions, PrebakeError, type Vm } from "prebake";
import { choice, launchOf, type Wish } from "./choice.js";
import { dropped, showFiles, upload } from "./files.js";
import type { Image } from "./images.js";
import { freshPlace, Launch, type Place, placeOf, rememberSize, type Size } from "./launch.js";
import { network, networkChooser, ownRelay } from "./network.js";
import { Saver } from "./saving.js";
import { listSessions, removeSession, type Session } from "./sessions.js";
import { forget as forgetKept, hasStorage, keep, sweep } from "./store.js";
import { TerminalView, type Theme } from "./terminal.js";
import { button, bytes, card, closeSheet, element, loading, make, overlay, saved, sheet, status, toast, when } from "./view.js";

/** Errors of a snapshot that is not what it was when it was kept. */
const DAMAGED = new Set(["corrupted", "truncated", "too-long", "malformed", "not-a-snapshot", "io"]);

/** A machine that runs, and what it is saved as. */
type Running = { readonly vm: Vm; readonly image: Image; readonly session: Session | undefined; readonly saver: Saver | undefined };

/** What a terminal answers when a program asks where the cursor is, or what it can do: a shell does at its first prompt. */
const ANSWER = /^\x1b(\[[?>]?[\d;]*[Rcnu]|[\]P])/;

/** Milliseconds that a guest may say nothing for, and that it has after it did, before the page does other things. */
const LONGEST_SILENCE = 5000;
const AFTER_ANSWER = 300;

const view = new TerminalView((text) => void typed(text));
// For tests and measurements of the page.
Object.assign(globalThis, { prebake: { terminal: view.terminal, vm: () => running?.vm } });
let images: readonly Image[] = [];
let running: Running | undefined;
/** A screen is shown again: the terminal's answers to what programs asked then are for nobody. */
let muted = false;
/** What was typed before the machine was there: the screen of a session is shown before. */
let early = "";
let starts = 0;
/** Why the session could not be saved, if it could not. */
let lastProblem: string | undefined;

async function typed(text: string): Promise<void> {
  if (muted) return;
  if (!running) {
    if (document.body.dataset["state"] === "loading") early += text;
    return;
  }
  if (!ANSWER.test(text)) running.saver?.given();
  await running.vm.input(text).catch(() => undefined);
}

function size(): Size {
  return { columns: view.terminal.cols, rows: view.terminal.rows };
}

function tellSize(vm: Vm): void {
  const { columns, rows } = size();
  rememberSize({ columns, rows });
  void vm.resize(columns, rows).catch(() => undefined);
}

/** Starts a machine: a session as it was left, or a fresh one. */
async function start(place: Promise<Place>): Promise<void> {
  await show(new Launch(await place, network(), size()));
}

/** Shows a machine that is being started. `command` is typed at its prompt. */
async function show(launch: Launch, command?: string): Promise<void> {
  const number = ++starts;
  const { image, session, warning } = launch.place;
  if (warning !== undefined) toast(warning, true);
  const { resumed } = launch;
  element<HTMLSelectElement>("image").value = image.name;
  status("loading", resumed ? "Restoring your session" : "Starting");
  let answered!: () => void;
  const hasAnswered = new Promise<void>((resolve) => (answered = resolve));
  const progress = loading(resumed ? `Restoring ${session!.name}` : `Starting ${image.title}`);
  early = "";
  view.terminal.reset();
  view.terminal.focus();
  if (resumed) await showScreen(await session!.screen());
  launch.showTo({
    onProgress: progress,
    onOutput: (output) => {
      running?.saver?.happened();
      return new Promise((resolve) => view.terminal.write(output, () => resolve(answered())));
    },
    onNotice: (notice, message) => toast(noticeText(notice, message), notice !== "exit-not-saved"),
  });
  try {
    const vm = await launch.vm;
    if (number !== starts) {
      vm.kill();
      session?.leave();
      return;
    }
    running = { vm, image, session, saver: session && new Saver(vm, session, () => view.screen(), () => void save(false)) };
    await started(running, command, hasAnswered);
  } catch (error) {
    session?.leave();
    if (number === starts) failed(error, image, session, resumed);
  }
}

async function started({ vm, image, session }: Running, command: string | undefined, hasAnswered: Promise<void>): Promise<void> {
  overlay();
  status("running", session ? `Running · ${session.name}` : "Running · not saved");
  element<HTMLButtonElement>("save").disabled = !session;
  element<HTMLButtonElement>("files").disabled = false;
  view.terminal.focus();
  tellSize(vm);
  if (command) void vm.input(`${command}\n`);
  if (early) void typed(early);
  vm.ended.then(
    async ({ how, status: code }) => {
      if (running?.vm !== vm) return;
      running.saver?.rest();
      running = undefined;
      await session?.note(view.screen()).catch(() => undefined);
      session?.leave();
      if (how === "exited") exited(code, image, session);
    },
    (error: unknown) => {
      if (running?.vm !== vm) return;
      running.saver?.rest();
      running = undefined;
      session?.leave();
      failed(error, image, session, false);
    },
  );
  // What can wait does not take the processor from the guest before its prompt.
  await Promise.race([hasAnswered, vm.ended.catch(() => undefined), pause(LONGEST_SILENCE)]);
  await pause(AFTER_ANSWER);
  void view.drawFast();
  const offline = workOffline();
  // Only Chromium has this; it takes the code that there is. Other browsers would compile all of it once more, and keep nothing.
  if ("userAgentData" in navigator) offline.then(() => vm.keepCode()).catch(() => undefined);
  else offline.catch(() => undefined);
  if (!(await hasStorage)) return;
  // A session whose tab is closed before all of it was saved is found by this.
  if (running?.vm === vm) await session?.note(view.screen()).catch(() => undefined);
  await keep(image, () => vm.snapshotBytes()).catch((error: unknown) => {
    if (running?.vm !== vm) return;
    const { kind, message } = PrebakeError.of(error, "io");
    if (kind === "no-space") toast("There is no room to keep this machine for use without a network.", true);
    else if (kind !== "ended") toast(`This machine could not be kept for use without a network: ${message}`, true);
  });
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Has the page start without a network from now on. Resolves when its service worker has taken over. */
async function workOffline(): Promise<void> {
  void navigator.storage?.persist?.();
  if (!("serviceWorker" in navigator) || !import.meta.env.PROD) return;
  const { serviceWorker } = navigator;
  const takesOver = new Promise((resolve) => serviceWorker.addEventListener("controllerchange", resolve, { once: true }));
  await serviceWorker.register("./service-worker.js");
  if (!serviceWorker.controller) await takesOver;
}

function noticeText(notice: string, message?: string): string {
  switch (notice) {
    case "not-saved":
      return `The session was not saved: ${message}`;
    case "not-kept":
      return `This machine could not be kept for use without a network: ${message}`;
    case "relay-lost":
      return sentence(message ?? "");
    case "leaving-loses-work":
      return "What is new could not be saved. To leave again loses it.";
    default:
      return "The program has ended; the session is as it was saved before.";
  }
}

function exited(code: number, image: Image, session: Session | undefined): void {
  status("ended", `Exited with status ${code}`);
  buttonsOff();
  const lines = session ? [`What it has changed on its disk is kept in the session ${session.name}.`] : [];
  const again = { text: "Start it again", act: () => void resume(session?.name ?? image.name, image), primary: true };
  card(code === 0 ? "The program has ended" : `The program has ended with status ${code}`, lines, [
    again,
    { text: "Start fresh", act: () => void fresh(image) },
  ]);
}

function failed(thrown: unknown, image: Image, session: Session | undefined, resumed: boolean): void {
  const { kind, message } = PrebakeError.of(thrown, "engine");
  status("failed", "Stopped");
  buttonsOff();
  const choices = [{ text: "Try again", act: () => location.reload(), primary: true }];
  if (DAMAGED.has(kind)) void forgetKept(image);
  if (resumed) choices.push({ text: "Start fresh, and keep the session", act: () => void startUnsaved(image), primary: false });
  const title = resumed ? `The session ${session!.name} could not be restored` : "The machine could not be started";
  card(title, [sentence(message)], choices, kind);
}

function sentence(text: string): string {
  // An address stays as it is.
  const start = /^[a-z]+\b(?!:)/.test(text) ? text.charAt(0).toUpperCase() + text.slice(1) : text;
  return start + (/[.!?]$/.test(text) ? "" : ".");
}

function buttonsOff(): void {
  for (const id of ["save", "files"]) element<HTMLButtonElement>(id).disabled = true;
}

/** Shows a screen again. The terminal's answers to what programs asked then are for nobody. */
async function showScreen(screen: string): Promise<void> {
  muted = true;
  await new Promise<void>((resolve) => view.terminal.write(screen, resolve));
  // The machine writes its unfinished line again.
  await new Promise<void>((resolve) => view.terminal.write("\r\x1b[2K", resolve));
  muted = false;
}

/** Saves the session. What is wrong is told once, unless the user has asked. */
async function save(asked: boolean): Promise<void> {
  if (!running?.session || !running.saver) return;
  const { session, saver } = running;
  try {
    const size = await saver.save();
    lastProblem = undefined;
    saved(`saved ${when(Date.now())}`);
    if (asked) toast(`Saved ${session.name} (${bytes(size)})`);
  } catch (error) {
    const { kind, message } = PrebakeError.of(error, "not-saved");
    if (kind === "ended" || (!asked && (kind === "nothing-new" || kind === lastProblem))) return;
    lastProblem = kind;
    toast(sentence(message), kind !== "nothing-new");
  }
}

/** Leaves the machine that runs, and saves it. */
async function leave(): Promise<void> {
  if (!running) return;
  const { vm, session, saver } = running;
  saver?.rest();
  running = undefined;
  buttonsOff();
  if (session) {
    await vm.stop().catch((error: unknown) => toast(sentence(PrebakeError.of(error, "not-saved").message), true));
    await session.note(view.screen()).catch(() => undefined);
    session.leave();
  } else {
    vm.kill();
  }
}

/** Goes on with a session, or starts it. If another tab has it, this one is told. */
async function resume(name: string, image: Image): Promise<void> {
  await leave();
  await start(placeOf(name, image));
}

/** A machine of which nothing is kept. */
async function startUnsaved(image: Image): Promise<void> {
  await leave();
  await start(Promise.resolve({ image }));
}

/** Goes on with another network. */
async function reconnect(): Promise<void> {
  if (!running?.image.network) return;
  const { image, session } = running;
  if (session) await resume(session.name, image);
  else toast("The next machine has the new network.");
}

/** A new session. */
async function fresh(image: Image): Promise<void> {
  await leave();
  await start(freshPlace(image));
}

async function showSessions(): Promise<void> {
  const sessions = await listSessions();
  const current = running?.session?.name;
  const rows = sessions.map((session) => {
    const what = make("div", { className: "what" }, session.name);
    what.append(make("small", {}, `${session.image.title} · ${when(session.saved)} · ${bytes(session.size)}`));
    if (session.name === current) return make("li", {}, what, make("small", {}, "open"));
    const open = button("Open", () => {
      closeSheet();
      void resume(session.name, session.image);
    });
    open.setAttribute("aria-label", `Open ${session.name}`);
    const remove = button("Remove", () => void forget(session.name), "danger");
    remove.setAttribute("aria-label", `Remove ${session.name}`);
    return make("li", {}, what, open, remove);
  });
  const text = "A session is saved by itself, also when you leave or hide this tab, and resumes where it was.";
  const start = button("New session", () => void newSession(), "primary");
  sheet("Sessions", make("p", {}, text), ...(rows.length ? [make("ul", { className: "rows" }, ...rows)] : []), start);
}

async function newSession(): Promise<void> {
  closeSheet();
  const image = chosen() ?? images[0];
  if (image) await fresh(image);
}

async function forget(name: string): Promise<void> {
  if (!confirm(`Remove the session ${name}, with everything that was done in it?`)) return;
  try {
    await removeSession(name);
    await showSessions();
  } catch (error) {
    toast(sentence((error as Error).message), true);
  }
}

function showSettings(): void {
  const themes: readonly [Theme, string][] = [
    ["auto", "As the system"],
    ["dark", "Dark"],
    ["light", "Light"],
  ];
  const choice = (text: string, isOn: boolean, act: () => void): HTMLButtonElement => {
    const made = button(text, () => {
      act();
      showSettings();
    });
    made.setAttribute("aria-pressed", String(isOn));
    return made;
  };
  const group = (legend: string, ...buttons: HTMLButtonElement[]): HTMLElement => make("fieldset", {}, make("legend", {}, legend), ...buttons);
  const size = view.terminal.options.fontSize ?? 15;
  const legend = make("label", { htmlFor: "network" }, "Network of machines");
  const networkField = make("fieldset", {}, make("legend", {}, legend), networkChooser(() => void reconnect()));
  sheet(
    "Settings",
    group("Theme", ...themes.map(([theme, text]) => choice(text, view.currentTheme === theme, () => view.setTheme(theme)))),
    group(`Text, ${size} px`, choice("Smaller", false, () => view.setFontSize(size - 1)), choice("Larger", false, () => view.setFontSize(size + 1))),
    group("Bar of keys", choice("Shown", view.keysShown, () => view.showKeys(true)), choice("Hidden", !view.keysShown, () => view.showKeys(false))),
    group(
      "Screen reader",
      choice("On", view.screenReader, () => view.setScreenReader(true)),
      choice("Off", !view.screenReader, () => view.setScreenReader(false)),
    ),
    networkField,
  );
}

function chosen(): Image | undefined {
  return images.find(({ name }) => name === element<HTMLSelectElement>("image").value);
}

function listen(): void {
  element("save").onclick = () => void save(true);
  element("files").onclick = () => running && void showFiles(running.vm);
  element("sessions").onclick = () => void showSessions();
  element("settings").onclick = showSettings;
  element("image").onchange = () => {
    const image = chosen();
    if (image) void resume(image.name, image);
  };
  element("sheet").addEventListener("close", () => view.terminal.focus());
  const uploads = element<HTMLInputElement>("upload");
  uploads.onchange = async () => {
    const files = [...(uploads.files ?? [])].map((file) => ({ path: file.name, file }));
    uploads.value = "";
    if (!running) return;
    const { vm, saver } = running;
    saver?.given();
    await upload(vm, files);
    if (element<HTMLDialogElement>("sheet").open) await showFiles(vm);
  };
  view.terminal.onResize(() => running && tellSize(running.vm));
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "hidden" && running?.saver?.isWorthIt) void save(false);
  });
  addEventListener("pagehide", () => running?.saver?.leave());
  let within = 0;
  addEventListener("dragenter", (event) => {
    event.preventDefault();
    element("drop").hidden = ++within === 0 || !running;
  });
  addEventListener("dragleave", () => {
    if (--within === 0) element("drop").hidden = true;
  });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", async (event) => {
    event.preventDefault();
    within = 0;
    element("drop").hidden = true;
    if (!running || !event.dataTransfer) return;
    running.saver?.given();
    await upload(running.vm, await dropped(event.dataTransfer.items));
  });
}

async function main(): Promise<void> {
  view.open();
  listen();
  let chosen: Awaited<typeof choice>;
  try {
    chosen = await choice;
  } catch (error) {
    const { kind, message } = PrebakeError.of(error, "network");
    status("failed", "Stopped");
    card("There is nothing to start", [sentence(message)], [{ text: "Try again", act: () => location.reload(), primary: true }], kind);
    return;
  }
  const { wish, launch, name, sessions } = chosen;
  ({ images } = chosen);
  element("image").replaceChildren(...images.map(({ name, title }) => make("option", { value: name }, title)));
  if (!wish) {
    status("failed", "Stopped");
    const lines = [`This page has no machine ${name ?? "at all"}. It has ${images.map(({ name }) => name).join(", ") || "none"}.`];
    const choices = images.slice(0, 1).map((image) => ({ text: `Start ${image.title}`, act: () => void resume(image.name, image), primary: true }));
    return card("There is nothing to start", lines, choices, "unknown-image");
  }
  void sweep([...images, ...sessions.map((session) => session.image)]).catch(() => undefined);
  if (launch) return show(launch, wish.command);
  askForRelay(wish);
}

/** The user's own relay may lead to what is for nobody else, so they are asked whether what a link asks for gets it. */
function askForRelay(wish: Wish): void {
  status("ended", "Waiting for you");
  const lines = [`A link has asked for ${wish.image.title}. Your machines have the network of the relay ${ownRelay()}.`];
  const start = async (relay: NetworkOptions | undefined): Promise<void> => show(await launchOf(wish, relay), wish.command);
  card("Does it get your relay?", lines, [
    { text: "Start it without the relay", act: () => void start({ fetch: true }), primary: true },
    { text: "Start it with the relay", act: () => void start(network()) },
  ]);
}

void main();
