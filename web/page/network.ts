// The network of the page's machines: what the user has chosen.

import type { NetworkOptions } from "prebake";
import { remember, remembered } from "./remember.js";
import { make } from "./view.js";

const KEY = "network";

type Kind = "fetch" | "wisp" | "frames" | "none";

interface Choice {
  readonly kind: Kind;
  readonly relay: string;
}

/** Name of each, and what it is good for. */
const KINDS: readonly (readonly [Kind, string, string])[] = [
  ["fetch", "This browser", "Plain HTTP, from servers that allow this page to fetch it."],
  ["wisp", "A relay (Wisp)", "TCP and UDP. The relay sees what is not encrypted."],
  ["frames", "A relay of Ethernet frames", "The network on the other side, or other machines there."],
  ["none", "None", "The machine's network stays down."],
];

function chosen(): Choice {
  try {
    const { kind, relay } = JSON.parse(remembered(KEY) ?? "") as Choice;
    if (KINDS.some(([known]) => known === kind)) return { kind, relay: String(relay) };
  } catch {
    // Nothing was chosen.
  }
  return { kind: "fetch", relay: "" };
}

function optionsOf({ kind, relay }: Choice): NetworkOptions | undefined {
  switch (kind) {
    case "fetch":
      return { fetch: true };
    case "wisp":
      return { wisp: relay };
    case "frames":
      return { frames: relay };
    case "none":
      return undefined;
  }
}

/** The network that a machine gets. */
export function network(): NetworkOptions | undefined {
  return optionsOf(chosen());
}

/** The address of the relay that the user has chosen, if it is one: what it leads to may be for nobody else's machine. */
export function ownRelay(): string | undefined {
  const { kind, relay } = chosen();
  return kind === "wisp" || kind === "frames" ? relay : undefined;
}

/** What chooses it. `changed` is called when another was chosen. */
export function networkChooser(changed: () => void): HTMLElement {
  const { kind, relay } = chosen();
  const select = make("select", { id: "network" }, ...KINDS.map(([value, text]) => make("option", { value, selected: value === kind }, text)));
  const address = make("input", { type: "url", value: relay, placeholder: "wss://relay.example/", pattern: "wss?://.+", required: true });
  address.setAttribute("aria-label", "Address of the relay");
  const hint = make("p", {});
  const show = (): void => {
    address.hidden = select.value === "fetch" || select.value === "none";
    hint.textContent = KINDS.find(([kind]) => kind === select.value)![2];
  };
  const store = (): void => {
    show();
    if (!address.hidden && !address.reportValidity()) return;
    remember(KEY, JSON.stringify({ kind: select.value, relay: address.value.trim() }));
    changed();
  };
  select.onchange = () => {
    show();
    if (address.hidden || address.value) store();
    else address.focus();
  };
  address.onchange = store;
  show();
  return make("div", { className: "network" }, select, address, hint);
}
