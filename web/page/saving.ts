// When a session is saved: when that is asked for, when the machine has come to rest, and when the tab is hidden or left.

import type { Vm } from "prebake";
import type { Session } from "./sessions.js";

/** Milliseconds in which nothing has happened: what was begun is done, or waits for something. */
const REST = 2000;
/** Milliseconds between two times that a session is saved by itself, and how many times as long as saving it takes. */
const SPACING = 15_000;
const TIMES = 20;
/** Milliseconds for which a tab that is left is held up at most, and how many times as long as saving has taken. Browsers allow half a second. */
const LAST_MOMENT = 400;
const LAST_TIMES = 3;

/** Saves the session of one machine. */
export class Saver {
  /** When the first thing happened that is not saved. */
  private since: number | undefined;
  private hasInput = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  /** When it was last saved, and how long that took. */
  private last = { at: -Infinity, took: LAST_MOMENT };

  constructor(
    private readonly vm: Vm,
    private readonly session: Session,
    private readonly screen: () => string,
    /** Saves it by itself. */
    private readonly byItself: () => void,
  ) {}

  /** Whether there is something to save: a machine that nobody has used starts as well without. */
  get isWorthIt(): boolean {
    return this.hasInput || this.session.isSaved;
  }

  /** The machine was given something. */
  given(): void {
    this.hasInput = true;
    this.happened();
  }

  /** Something has happened, which is of no interest before it was given anything. */
  happened(): void {
    if (!this.hasInput) return;
    const now = performance.now();
    this.since ??= now;
    const earliest = this.last.at + Math.max(SPACING, TIMES * this.last.took);
    // Where it never comes to rest, it is saved as it runs.
    const due = Math.max(Math.min(now + REST, this.since + SPACING), earliest);
    clearTimeout(this.timer);
    this.timer = setTimeout(this.byItself, due - now);
  }

  /** Resolves to the bytes of what was saved. */
  async save(): Promise<number> {
    this.rest();
    const began = performance.now();
    try {
      const { size } = await this.vm.checkpoint();
      await this.session.note(this.screen());
      return size;
    } finally {
      const at = performance.now();
      this.last = { at, took: at - began };
    }
  }

  /** Saves it while its tab goes away. The machine's thread works on while this one waits; nothing tells it that it is done. */
  leave(): void {
    if (!this.isWorthIt) return;
    const isNew = this.since !== undefined;
    const { took } = this.last;
    void this.save().catch(() => undefined);
    if (!isNew) return;
    this.session.remember(this.screen());
    const end = performance.now() + Math.min(LAST_MOMENT, LAST_TIMES * took);
    while (performance.now() < end);
  }

  /** Nothing is to be saved by itself. */
  rest(): void {
    clearTimeout(this.timer);
    this.since = undefined;
  }
}
