// What the page is opened for, and the machine that is started then. All of that is decided before the page itself is there.

import { type NetworkOptions, parseReference, prepare, PrebakeError } from "prebake";
import { type Image, imageIn, isReference, listImages } from "./images.js";
import { Launch, placeOf } from "./launch.js";
import { network, ownRelay } from "./network.js";
import { remembered } from "./remember.js";
import { listSessions, type SessionInfo } from "./sessions.js";
import { sourcesOf } from "./store.js";

// Its thread begins as soon as this one has nothing to do.
prepare();

const parameters = new URLSearchParams(location.search);
const asked = { image: parameters.get("image"), command: parameters.get("cmd"), relay: parameters.get("relay") };

/** What is to be started. */
export interface Wish {
  readonly image: Image;
  /** The session to go on with; none if nothing is saved. */
  readonly session?: string;
  /** What is typed at the prompt. */
  readonly command?: string;
  /** Only the user knows whether it gets their own relay: a link has asked for it, which may be anyone's. */
  readonly needsConsent: boolean;
}

export interface Choice {
  /** The machines that are offered. */
  readonly images: readonly Image[];
  readonly sessions: readonly SessionInfo[];
  /** Undefined if a link asks for a machine that there is not. */
  readonly wish: Wish | undefined;
  /** The name that a link asks for. */
  readonly name: string | null;
  /** It is started, unless the user is to be asked. */
  readonly launch: Launch | undefined;
}

/** The machine of a reference: what the registry has now or, if that does not answer, what a session of it began with. */
async function imageAt(reference: string, sessions: readonly SessionInfo[]): Promise<Image | undefined> {
  if (!isReference(reference)) return undefined;
  try {
    return await imageIn(reference);
  } catch (error) {
    const known = sessions.find(({ image }) => image.title === parseReference(reference).whole);
    if (known && PrebakeError.of(error, "network").kind === "registry-unreachable") return known.image;
    throw error;
  }
}

/** What a link asks for does not touch what was saved, nor is any of that sent through a relay that a link names. */
function wishFor(image: Image, isKnown: boolean): Wish {
  const { command, relay } = asked;
  const hasOwnRelay = image.network === true && ownRelay() !== undefined;
  if (relay !== null) return { image, ...(command !== null && { command }), needsConsent: false };
  if (command !== null) return { image, command, needsConsent: hasOwnRelay };
  return { image, session: image.name, needsConsent: hasOwnRelay && !isKnown };
}

async function choose(): Promise<Choice> {
  const [sessions, listed] = await Promise.all([
    listSessions().catch(() => []),
    listImages().catch((error: unknown): Image[] => {
      // A page that machines of registries are started in needs none of its own.
      if (asked.image !== null && isReference(asked.image)) return [];
      throw error;
    }),
  ]);
  const named = asked.image === null ? undefined : (listed.find(({ name }) => name === asked.image) ?? (await imageAt(asked.image, sessions)));
  const images = named && !listed.includes(named) ? [named, ...listed] : listed;
  const image = asked.image === null ? listed[0] : named;
  const isKnown = image !== undefined && (listed.includes(image) || sessions.some((session) => session.image.name === image.name));
  let wish = image && wishFor(image, isKnown);
  const last = sessions.find(({ name }) => name === remembered("session"));
  if (asked.image === null && wish?.session !== undefined && last) wish = { ...wish, image: last.image, session: last.name };
  return { images, sessions, wish, name: asked.image, launch: wish && !wish.needsConsent ? await launchOf(wish) : undefined };
}

/** Starts what is wished for. */
export async function launchOf({ image, session }: Wish, relay: NetworkOptions | undefined = linked()): Promise<Launch> {
  if (session === undefined) return new Launch({ image }, relay);
  // They are looked for while the session is: mostly it is of this image, and not of one that had its name before.
  const sources = sourcesOf(image);
  const place = await placeOf(session, image);
  const isThis = place.image.machine.digest === image.machine.digest && place.image.snapshot.digest === image.snapshot.digest;
  return new Launch(place, relay, undefined, isThis ? sources : undefined);
}

/** The network of what is started first: that of a link, or the chosen one. */
function linked(): NetworkOptions | undefined {
  return asked.relay === null ? network() : { wisp: asked.relay };
}

/** Rejects if there are no machines. */
export const choice = choose();
