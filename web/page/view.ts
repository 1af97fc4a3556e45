// What the page shows around the terminal.

/** An element that the page has. */
export function element<T extends HTMLElement = HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

type Child = Node | string;

/** A new element. */
export function make<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  properties: Partial<HTMLElementTagNameMap[Name]> = {},
  ...children: Child[]
): HTMLElementTagNameMap[Name] {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** A button that does something. */
export function button(text: string, act: () => void, className = ""): HTMLButtonElement {
  return make("button", { type: "button", className, onclick: act }, text);
}

export function bytes(count: number): string {
  if (count < 1 << 10) return `${count} B`;
  if (count < 1 << 20) return `${(count / (1 << 10)).toFixed(0)} KiB`;
  return `${(count / (1 << 20)).toFixed(1)} MiB`;
}

/** When something was, for people. */
export function when(milliseconds: number): string {
  const time = new Date(milliseconds);
  const isToday = time.toDateString() === new Date().toDateString();
  return time.toLocaleString(undefined, isToday ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" });
}

export type State = "loading" | "running" | "ended" | "failed";

export function status(state: State, text: string): void {
  document.body.dataset["state"] = state;
  element("status-text").textContent = text;
  saved("");
}

/** What is shown beside it, which no screen reader is told. */
export function saved(text: string): void {
  element("saved").textContent = text;
}

/** Something that passes by. Errors stay until they are closed. */
export function toast(text: string, isBad = false): void {
  const shown = make("div", { className: isBad ? "toast bad" : "toast" }, make("p", {}, text));
  const close = button("×", () => shown.remove(), "close");
  close.setAttribute("aria-label", "Dismiss");
  shown.append(close);
  element("toasts").append(shown);
  if (!isBad) setTimeout(() => shown.remove(), 6000);
}

/** Milliseconds after which a start is shown as one: a card that flashes tells nothing, and drawing it takes the processor from the start. */
const SHOWN_AFTER = 300;
let shown: ReturnType<typeof setTimeout> | undefined;

/** Something over the terminal that must be dealt with; nothing to take it away. */
export function overlay(...content: Child[]): void {
  clearTimeout(shown);
  const place = element("overlay");
  place.hidden = content.length === 0;
  place.replaceChildren(...content);
}

export interface Choice {
  readonly text: string;
  readonly act: () => void;
  readonly primary?: boolean;
}

/** A card over the terminal: what has happened, and what can be done. */
export function card(title: string, lines: readonly string[], choices: readonly Choice[], kind?: string): void {
  const content = make("div", { className: kind === undefined ? "card" : "card bad" }, make("h2", {}, title));
  content.append(...lines.map((line) => make("p", {}, line)));
  if (kind !== undefined) content.append(make("p", { className: "kind" }, kind));
  const buttons = choices.map(({ text, act, primary }) => button(text, act, primary ? "primary" : ""));
  content.append(make("div", { className: "actions" }, ...buttons));
  overlay(content);
  buttons[0]?.focus();
}

/** The card that is shown while a machine is on its way, if that takes a while. Returns what updates it. */
export function loading(title: string): (what: string, done: number, total: number | undefined) => void {
  const bar = make("progress");
  const text = make("p", {}, "Looking for it");
  const parts = new Map<string, { done: number; total: number | undefined }>();
  overlay();
  shown = setTimeout(() => overlay(make("div", { className: "card" }, make("h2", {}, title), text, bar)), SHOWN_AFTER);
  return (what, done, total) => {
    parts.set(what, { done, total });
    const all = [...parts.values()];
    const came = all.reduce((sum, part) => sum + part.done, 0);
    const whole = all.reduce((sum, part) => sum + (part.total ?? part.done), 0);
    bar.max = whole;
    bar.value = came;
    text.textContent = came < whole ? `${bytes(came)} of ${bytes(whole)}` : "Restoring";
  };
}

/** A dialog. */
export function sheet(title: string, ...content: Child[]): void {
  element("sheet-title").textContent = title;
  element("sheet-body").replaceChildren(...content);
  const dialog = element<HTMLDialogElement>("sheet");
  if (!dialog.open) dialog.showModal();
}

export function closeSheet(): void {
  element<HTMLDialogElement>("sheet").close();
}

/** Offers a file to the user, of these pieces. */
export function download(name: string, pieces: readonly Uint8Array[], type = "application/octet-stream"): void {
  const url = URL.createObjectURL(new Blob(pieces as Uint8Array<ArrayBuffer>[], { type }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
