// The terminal, and the bar of keys that phones lack.

import "@xterm/xterm/css/xterm.css";
import { ClipboardAddon, type IClipboardProvider } from "@xterm/addon-clipboard";
import { FitAddon } from "@xterm/addon-fit";
import { SerializeAddon } from "@xterm/addon-serialize";
import { WebLinksAddon } from "@xterm/addon-web-links";
import { type ITheme, Terminal } from "@xterm/xterm";
import { remember, remembered } from "./remember.js";
import { element, make, toast } from "./view.js";

const DARK: ITheme = {
  background: "#0d1117",
  foreground: "#e6edf3",
  cursor: "#f0883e",
  cursorAccent: "#0d1117",
  selectionBackground: "#3b5070",
  black: "#484f58",
  red: "#ff7b72",
  green: "#3fb950",
  yellow: "#d29922",
  blue: "#58a6ff",
  magenta: "#bc8cff",
  cyan: "#39c5cf",
  white: "#b1bac4",
  brightBlack: "#6e7681",
  brightRed: "#ffa198",
  brightGreen: "#56d364",
  brightYellow: "#e3b341",
  brightBlue: "#79c0ff",
  brightMagenta: "#d2a8ff",
  brightCyan: "#56d4dd",
  brightWhite: "#ffffff",
};
const LIGHT: ITheme = {
  background: "#ffffff",
  foreground: "#1f2328",
  cursor: "#bc4c00",
  cursorAccent: "#ffffff",
  selectionBackground: "#b6d6fd",
  black: "#24292f",
  red: "#cf222e",
  green: "#116329",
  yellow: "#7d4e00",
  blue: "#0969da",
  magenta: "#8250df",
  cyan: "#1b7c83",
  white: "#57606a",
  brightBlack: "#57606a",
  brightRed: "#a40e26",
  brightGreen: "#1a7f37",
  brightYellow: "#633c01",
  brightBlue: "#218bff",
  brightMagenta: "#a475f9",
  brightCyan: "#3192aa",
  brightWhite: "#8c959f",
};

/** A guest may put something into the clipboard; what is there is not its business. */
const CLIPBOARD: IClipboardProvider = {
  readText: async () => "",
  // There is none on pages without TLS.
  writeText: async (_selection, text) => navigator.clipboard?.writeText(text),
};

export type Theme = "auto" | "dark" | "light";
const coarse = matchMedia("(pointer: coarse)");
const prefersLight = matchMedia("(prefers-color-scheme: light)");

/** Name, what is sent, and what a screen reader says. */
const KEYS: readonly (readonly [string, string, string])[] = [
  ["Esc", "\x1b", "Esc, Escape"],
  ["Tab", "\t", "Tab"],
  ["←", "\x1b[D", "Left"],
  ["↑", "\x1b[A", "Up"],
  ["↓", "\x1b[B", "Down"],
  ["→", "\x1b[C", "Right"],
  ["|", "|", "Pipe"],
  ["/", "/", "Slash"],
  ["~", "~", "Tilde"],
];
const PASTE = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M9 4h6v3H9zM9 5H6v15h12V5h-3M9 12h6M9 16h4" /></svg>';
const [SMALLEST, LARGEST] = [8, 32];

/** A number of pixels that was chosen. */
function chosenSize(): number | undefined {
  const size = Number(remembered("text-size") ?? NaN);
  return size >= SMALLEST && size <= LARGEST ? size : undefined;
}

export class TerminalView {
  readonly terminal = new Terminal({
    cursorBlink: true,
    fontFamily: 'ui-monospace, "SF Mono", "JetBrains Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace',
    fontSize: chosenSize() ?? (matchMedia("(max-width: 700px)").matches ? 13 : 15),
    lineHeight: 1.15,
    scrollback: 5000,
    allowProposedApi: true,
  });
  private readonly fit = new FitAddon();
  private readonly serializer = new SerializeAddon();
  private theme: Theme = (remembered("theme") as Theme | null) ?? "auto";
  private isFast = false;
  private control = false;
  private controlKey: HTMLButtonElement | undefined;

  /** `send` gets what the user types. */
  constructor(private readonly send: (text: string) => void) {
    this.setTheme(this.theme);
    prefersLight.addEventListener("change", () => this.setTheme(this.theme));
    this.setScreenReader(remembered("screen-reader") === "on");
  }

  open(): void {
    const { terminal } = this;
    terminal.loadAddon(this.fit);
    terminal.loadAddon(this.serializer);
    terminal.loadAddon(new WebLinksAddon());
    terminal.loadAddon(new ClipboardAddon(undefined, CLIPBOARD));
    terminal.open(element("terminal"));
    this.fit.fit();
    new ResizeObserver(() => this.fit.fit()).observe(element("terminal"));
    terminal.onData((text) => this.send(this.withControl(text)));
    // What is pasted may not end its own brackets: what is behind them would be run.
    element("terminal").addEventListener(
      "paste",
      (event) => {
        const text = event.clipboardData?.getData("text/plain");
        if (text === undefined || !terminal.modes.bracketedPasteMode) return;
        event.preventDefault();
        event.stopPropagation();
        this.paste(text);
      },
      { capture: true },
    );
    // With something selected, Ctrl+C is the browser's: it copies that, and the next one is the program's.
    element("terminal").addEventListener("copy", () => setTimeout(() => terminal.clearSelection(), 0));
    terminal.attachCustomKeyEventHandler((event) => {
      const isCopy = event.key === "c" && event.ctrlKey && !event.altKey && !event.shiftKey && !event.metaKey;
      if (isCopy && terminal.hasSelection()) return false;
      if (event.key !== "F6") return true;
      if (event.type === "keydown") element("save").parentElement?.querySelector<HTMLButtonElement>("button:enabled")?.focus();
      return false;
    });
    this.makeKeys();
  }

  /** Draws by other means, which take a while to set up: for when a machine has started. */
  async drawFast(): Promise<void> {
    // A phone's screen is small, and its memory too.
    if (coarse.matches || this.isFast) return;
    this.isFast = true;
    try {
      const { WebglAddon } = await import("@xterm/addon-webgl");
      const webgl = new WebglAddon();
      webgl.onContextLoss(() => webgl.dispose());
      this.terminal.loadAddon(webgl);
    } catch {
      // Without WebGL the terminal draws by other means.
    }
  }

  /** What the screen shows, as text that shows it again. */
  screen(): string {
    return this.serializer.serialize({ scrollback: 1000 });
  }

  get currentTheme(): Theme {
    return this.theme;
  }

  setTheme(theme: Theme): void {
    this.theme = theme;
    remember("theme", theme);
    const isLight = theme === "light" || (theme === "auto" && prefersLight.matches);
    const colours = isLight ? LIGHT : DARK;
    document.documentElement.dataset["theme"] = isLight ? "light" : "dark";
    document.documentElement.style.setProperty("--terminal", colours.background!);
    document.querySelector('meta[name="theme-color"]')?.setAttribute("content", isLight ? "#f4f5f7" : "#0d1117");
    this.terminal.options.theme = colours;
    // Programs choose their colours for a dark screen.
    this.terminal.options.minimumContrastRatio = isLight ? 4.5 : 1;
  }

  get screenReader(): boolean {
    return this.terminal.options.screenReaderMode ?? false;
  }

  setScreenReader(on: boolean): void {
    this.terminal.options.screenReaderMode = on;
    remember("screen-reader", on ? "on" : "off");
  }

  setFontSize(size: number): void {
    const chosen = Math.min(Math.max(size, SMALLEST), LARGEST);
    this.terminal.options.fontSize = chosen;
    remember("text-size", String(chosen));
    this.fit.fit();
  }

  get keysShown(): boolean {
    return !element("keys").hidden;
  }

  showKeys(shown: boolean): void {
    element("keys").hidden = !shown;
    remember("keys", shown ? "shown" : "hidden");
  }

  private paste(text: string): void {
    const isBracketed = this.terminal.modes.bracketedPasteMode;
    this.terminal.paste(isBracketed ? text.replaceAll("\x1b", "␛") : text);
  }

  /** Pastes what the user has copied, which the browser may ask them about. */
  private async pasteCopied(): Promise<void> {
    const text = await navigator.clipboard.readText().catch(() => undefined);
    if (text === undefined) toast("The browser does not let this page paste.", true);
    else this.paste(text);
  }

  private makeKeys(): void {
    const bar = element("keys");
    // A button would take the focus, and with it the keyboard of the screen.
    const key = (name: string, label: string, act: () => void): HTMLButtonElement => {
      const made = make("button", { type: "button", title: label, onpointerdown: (event) => event.preventDefault(), onclick: act }, name);
      made.setAttribute("aria-label", label);
      return made;
    };
    this.controlKey = key("Ctrl", "Ctrl, Control with the next key", () => this.setControl(!this.control));
    this.controlKey.setAttribute("aria-pressed", "false");
    bar.append(
      this.controlKey,
      ...KEYS.map(([name, text, label]) => key(name, label, () => this.send(this.withControl(this.forCursorMode(text))))),
    );
    // Without TLS there is no clipboard.
    if ("clipboard" in navigator && "readText" in navigator.clipboard) {
      const paste = key("", "Paste", () => void this.pasteCopied());
      paste.insertAdjacentHTML("beforeend", PASTE);
      bar.append(paste);
    }
    bar.hidden = (remembered("keys") ?? (coarse.matches ? "shown" : "hidden")) === "hidden";
  }

  private forCursorMode(text: string): string {
    const isApplication = this.terminal.modes.applicationCursorKeysMode;
    return isApplication && /^\x1b\[[A-D]$/.test(text) ? text.replace("[", "O") : text;
  }

  private setControl(on: boolean): void {
    this.control = on;
    this.controlKey?.setAttribute("aria-pressed", String(on));
  }

  /** With the bar's Ctrl held, the next character is a control character. */
  private withControl(text: string): string {
    if (!this.control) return text;
    this.setControl(false);
    const code = text.toUpperCase().charCodeAt(0);
    return text.length === 1 && code >= 0x40 && code < 0x60 ? String.fromCharCode(code & 0x1f) : text;
  }
}
