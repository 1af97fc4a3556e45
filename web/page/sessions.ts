// Saved work. A session is a folder in the browser's storage, and one tab has it at a time:
//
//     sessions/NAME/session.json   what it is of
//     sessions/NAME/state.snap     what has changed since the snapshot
//     sessions/NAME/screen.txt     what the screen showed
//     sessions/NAME/shared/…       the files of the folder that machine and page share

import { PrebakeError } from "prebake";
import type { Image } from "./images.js";
import { forgetRemembered, remember, remembered } from "./remember.js";
import { directory, readStored } from "./store.js";

const SESSIONS = "sessions";
/** Milliseconds that a browser may take to close a tab. */
const CLOSING = 500;

/** What a session is of. */
export interface Origin {
  readonly image: Image;
  readonly began: number;
}

export interface SessionInfo extends Origin {
  readonly name: string;
  readonly saved: number;
  readonly size: number;
}

/** A session that this tab holds. */
export class Session {
  constructor(
    readonly name: string,
    readonly origin: Origin,
    /** It was saved before. */
    readonly isSaved: boolean,
    private readonly release: () => void,
  ) {}

  get statePath(): string {
    return statePath(this.name);
  }

  get sharedPath(): string {
    return `${SESSIONS}/${this.name}/shared`;
  }

  /** What the screen showed. */
  async screen(): Promise<string> {
    const last = remembered(screenKey(this.name));
    if (last !== null) return last;
    return (await (await readStored(`${SESSIONS}/${this.name}/screen.txt`))?.text()) ?? "";
  }

  /** Keeps what the screen shows while the tab goes away: there is no time for a file. */
  remember(screen: string): void {
    remember(screenKey(this.name), screen);
  }

  /** Writes what goes with a state that was saved. */
  async note(screen: string): Promise<void> {
    const sessions = await (await navigator.storage.getDirectory()).getDirectoryHandle(SESSIONS, { create: true });
    const folder = await sessions.getDirectoryHandle(this.name, { create: true });
    // What a registry lets one in with is not for other pages of this origin, and does not last.
    await write(folder, "session.json", JSON.stringify(this.origin, (name, value: unknown) => (name === "authorization" ? undefined : value)));
    await write(folder, "screen.txt", screen);
    forgetRemembered((key) => key === screenKey(this.name));
  }

  leave(): void {
    this.release();
  }
}

function screenKey(name: string): string {
  return `screen:${name}`;
}

function statePath(name: string): string {
  return `${SESSIONS}/${name}/state.snap`;
}

async function write(folder: FileSystemDirectoryHandle, name: string, text: string): Promise<void> {
  const writable = await (await folder.getFileHandle(name, { create: true })).createWritable();
  await writable.write(text);
  await writable.close();
}

async function originOf(name: string): Promise<Origin | undefined> {
  try {
    const text = await (await readStored(`${SESSIONS}/${name}/session.json`))?.text();
    return text === undefined ? undefined : (JSON.parse(text) as Origin);
  } catch {
    return undefined;
  }
}

/** All that were saved, the latest first. */
export async function listSessions(): Promise<SessionInfo[]> {
  const found = await directory(SESSIONS);
  if (!found) return [];
  const sessions: SessionInfo[] = [];
  for await (const name of found.keys()) {
    const [origin, state] = [await originOf(name), await readStored(statePath(name))];
    if (origin && state) sessions.push({ ...origin, name, saved: state.lastModified, size: state.size });
  }
  return sessions.sort((a, b) => b.saved - a.saved);
}

/** Holds session `name`; undefined if another tab does. One that was saved keeps what it is of. */
export async function holdSession(name: string, image: Image): Promise<Session | undefined> {
  const release = await lock(name);
  if (!release) return undefined;
  const [origin, state] = await Promise.all([originOf(name), readStored(statePath(name))]);
  // Without a state, it was begun and nothing more.
  return new Session(name, (state && origin) ?? { image, began: Date.now() }, state !== undefined, release);
}

/** Ends a session for good. */
export async function removeSession(name: string): Promise<void> {
  const release = await lock(name);
  if (!release) throw new PrebakeError("session-in-use", `the session ${name} is open in another tab; close that tab first`);
  try {
    await (await directory(SESSIONS))?.removeEntry(name, { recursive: true });
    forgetRemembered((key) => key === screenKey(name));
  } finally {
    release();
  }
}

/** A lock that the browser releases with the tab; undefined if another tab has it, and is not just being closed. */
async function lock(name: string): Promise<(() => void) | undefined> {
  return new Promise((resolve) => {
    const hold = (): Promise<void> => new Promise<void>((release) => resolve(release));
    navigator.locks.request(`prebake-session-${name}`, { signal: AbortSignal.timeout(CLOSING) }, hold).catch(() => resolve(undefined));
  });
}
