// The machines that this page offers: `images.json` beside it.

import { fetchList } from "./store.js";

/** A machine and its snapshot. */
export interface Image {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  /** The machine has a network device. */
  readonly network?: boolean;
  readonly machine: { readonly url: string; readonly size: number; readonly digest: string };
  readonly snapshot: { readonly url: string; readonly size: number; readonly digest: string };
}

let listed: Promise<Image[]> | undefined;

/** All of them, the first being the one that is started if nothing else was asked for. */
export function listImages(): Promise<Image[]> {
  listed ??= fetchList("./images.json").then((list) => (list as { images: Image[] }).images);
  return listed;
}
