// Starts machines, as far as that needs no page: the first is on its way before the page is there.

import { type MachineEvents, type NetworkOptions, type RestoreOptions, Vm } from "prebake";
import type { Image } from "./images.js";
import { remember, remembered } from "./remember.js";
import { holdSession, listSessions, type Session } from "./sessions.js";
import { hasStorage, sourcesOf } from "./store.js";

/** The folder of the guest that it shares with the page. */
export const FOLDER = "/shared";

/** What is started, and the session that it is saved in. */
export interface Place {
  readonly image: Image;
  /** None if nothing is saved. */
  readonly session?: Session;
  /** Why not, if the user expects it. */
  readonly warning?: string;
}

/** A session to go on with, or to start. */
export async function placeOf(name: string, image: Image): Promise<Place> {
  if (!(await hasStorage)) return { image, warning: "This browser keeps no files for the page, as in a private window, so nothing is saved." };
  const session = await holdSession(name, image);
  if (!session) return { image, warning: `The session ${name} is open in another tab. This one is fresh, and is not saved.` };
  if (session.origin.image.name !== image.name) {
    // Another image has a session of this name.
    session.leave();
    return freshPlace(image);
  }
  remember("session", name);
  return { image: session.origin.image, session };
}

/** A new session. */
export async function freshPlace(image: Image): Promise<Place> {
  const taken = new Set((await listSessions()).map(({ name }) => name));
  let name = image.name;
  for (let number = 2; taken.has(name); number++) name = `${image.name}-${number}`;
  return placeOf(name, image);
}

/** Characters of a terminal. */
export interface Size {
  readonly columns: number;
  readonly rows: number;
}

/** The terminal's size when it was last used. The page's own is known late. */
function lastSize(): Size {
  const [, columns, rows] = /^(\d{1,3})x(\d{1,3})$/.exec(remembered("size") ?? "") ?? [];
  return { columns: Number(columns ?? 80), rows: Number(rows ?? 24) };
}

export function rememberSize({ columns, rows }: Size): void {
  remember("size", `${columns}x${rows}`);
}

/** What shows a machine to the user. */
type Shower = Required<Omit<MachineEvents, "onKept">>;

/** A machine that is being started. What it says waits for someone who shows it. */
export class Launch {
  /** It goes on as it was saved. */
  readonly resumed: boolean;
  readonly vm: Promise<Vm>;
  /** Resolves when its thread knows what to do, so that this one may be busy. */
  readonly begun: Promise<void>;
  private shower: Shower | undefined;
  private waiting: ((shower: Shower) => void)[] = [];

  constructor(
    readonly place: Place,
    private readonly relay: NetworkOptions | undefined,
    private readonly size = lastSize(),
    private readonly sources = sourcesOf(place.image),
  ) {
    this.resumed = place.session?.isSaved ?? false;
    const options = this.options();
    // In an object, since it would be waited for.
    const starts = options.then((options) => ({ vm: Vm.restore(options) }));
    this.vm = starts.then(({ vm }) => vm);
    // Whoever shows it is told.
    this.vm.catch(() => undefined);
    this.begun = starts.then(
      () => undefined,
      () => undefined,
    );
  }

  private async options(): Promise<RestoreOptions> {
    const { image, session } = this.place;
    const sources = await this.sources;
    const later = (tell: (shower: Shower) => void): void => {
      if (this.shower) tell(this.shower);
      else this.waiting.push(tell);
    };
    return {
      ...sources,
      ...(session && { saveTo: { opfs: session.statePath }, keepFilesIn: { opfs: session.sharedPath } }),
      ...(this.resumed && { changes: { opfs: session!.statePath } }),
      ...(image.network && this.relay && { network: this.relay }),
      folder: FOLDER,
      interactive: true,
      ...this.size,
      onProgress: (...progress) => later((shower) => shower.onProgress(...progress)),
      onOutput: (...output) => new Promise((resolve) => later((shower) => resolve(shower.onOutput(...output)))),
      onNotice: (...notice) => later((shower) => shower.onNotice(...notice)),
    };
  }

  /** Shows what it says, from the first on. */
  showTo(shower: Shower): void {
    this.shower = shower;
    this.waiting.splice(0).forEach((tell) => tell(shower));
  }
}
