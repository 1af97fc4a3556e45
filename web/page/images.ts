// The machines that this page offers: `images.json` beside it.

import { fetchList } from "./store.js";

/** A machine and its snapshot. */
export interface Image {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly machine: { readonly url: string; readonly size: number; readonly integrity: string };
  readonly snapshot: { readonly url: string; readonly size: number; readonly digest: string };
}

/** All of them, the first being the one that is started if nothing else was asked for. */
export async function listImages(): Promise<Image[]> {
  const { images } = (await fetchList("./images.json")) as { images: Image[] };
  return images;
}
