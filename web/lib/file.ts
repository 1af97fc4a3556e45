// Files that a machine is restored from. Reads never wait, since WebAssembly cannot: what has not come yet is an error, and is waited for outside.

import { isNode, nodeModule } from "./environment.js";
import { PrebakeError } from "./errors.js";
import { bodyOf } from "./http.js";
import { directoryOf } from "./opfs.js";
import { TravellingFile } from "./travelling.js";

/** A file on a server. */
export interface RemoteSource {
  readonly url: string;
  /** As for `fetch`. */
  readonly integrity?: string;
  /** What the server lets one in with. */
  readonly authorization?: string;
  /** Bytes that it must have, if that is known: of more, nothing is kept. */
  readonly size?: number;
}

/** A snapshot in the travelling form. `ensure` makes it. */
export interface TravellingSource {
  readonly travelling: RemoteSource;
  /** Digest of its content. */
  readonly content: string;
  /** Bytes of its stored form. */
  readonly storedBytes: number;
}

/** The layers of a machine's file. `ensure` makes it. */
export interface MachineLayers {
  readonly memoryPages: number;
  readonly ramBytes: number;
  /** The code, then parts of the payload: how many bytes each layer has, how many are in it, and their digest. */
  readonly layers: readonly (RemoteSource & { readonly name: string; readonly size: number; readonly length: number; readonly content: string })[];
}

/** Where a file is. A string is a URL, relative to the page; in Node.js a URL or a path. */
export type FileSource = string | URL | Uint8Array | Blob | { readonly opfs: string } | RemoteSource | TravellingSource;

/** A file that can be read at any place. */
export interface ReadableFile {
  readonly size: number;
  /** Up to `length` bytes: fewer only at the end. Throws if they have not come yet; then `pending` says so. */
  read(offset: number, length: number): Uint8Array;
  /** Whether the last read failed only because its bytes have not come yet. */
  readonly pending: boolean;
  /** Why no more bytes come. */
  readonly failure: PrebakeError | undefined;
  /** Resolves when the bytes that were missing have come. */
  arrived(): Promise<void>;
  /** Resolves when these parts have come, the first from the start of the file. No others come unless they are read. */
  bring(parts: readonly Range[]): Promise<void>;
  /** The same before all else comes, where that can be. */
  hurry(parts: readonly Range[]): Promise<void>;
  /** Resolves when all bytes have come. */
  complete(): Promise<void>;
  close(): void;
}

/** A part of a file: where it starts and ends. */
export type Range = readonly [number, number];

/** The parts in what the Rust part has listed. */
export function rangesOf(places: Float64Array): Range[] {
  return [...places].flatMap((place, at) => (at % 2 === 0 ? [[place, places[at + 1]!] as const] : []));
}

/** What reading a file comes to, once the bytes are there that it needs. */
export async function whenThere<T>(file: ReadableFile, read: () => T): Promise<T> {
  for (;;) {
    try {
      return read();
    } catch (error) {
      if (!file.pending) throw error;
      await file.arrived();
    }
  }
}

/** Bytes that came and bytes that there are; undefined if that is not known. */
export type Progress = (done: number, total: number | undefined) => void;

abstract class LocalFile implements ReadableFile {
  abstract readonly size: number;
  abstract read(offset: number, length: number): Uint8Array;
  readonly pending = false;
  readonly failure = undefined;
  async arrived(): Promise<void> {}
  async bring(): Promise<void> {}
  async hurry(): Promise<void> {}
  async complete(): Promise<void> {}
  close(): void {}
}

/** Bytes of memory for `what`, all zero. */
export function roomFor(length: number, what: string): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(length);
  } catch (error) {
    throw outOfMemory(`${what} with its ${length} bytes`, (error as Error).message);
  }
}

export function outOfMemory(what: string, reason: string): PrebakeError {
  return new PrebakeError("no-memory", `the browser gives this page no memory for ${what} (${reason}); close other tabs, or use a machine with less RAM or a smaller image`);
}

export class MemoryFile extends LocalFile {
  readonly size: number;
  constructor(private readonly bytes: Uint8Array) {
    super();
    this.size = bytes.length;
  }
  read(offset: number, length: number): Uint8Array {
    return this.bytes.subarray(offset, offset + length);
  }
}

/** Bytes that are read at a time of what is slow to read in small pieces, and how many such pieces are remembered. */
const BLOCK = 1 << 20;
const BLOCKS = 32;

/** A file that is read in few large pieces: each read of the browser's storage may be a message to another process. */
abstract class SlowFile extends LocalFile {
  private readonly blocks = new Map<number, Uint8Array>();

  protected abstract readBlock(offset: number, length: number): Uint8Array;

  read(offset: number, length: number): Uint8Array {
    const end = Math.min(offset + length, this.size);
    const first = Math.floor(offset / BLOCK);
    if (end <= (first + 1) * BLOCK) return this.block(first).subarray(offset - first * BLOCK, end - first * BLOCK);
    const bytes = new Uint8Array(Math.max(end - offset, 0));
    for (let number = first; number * BLOCK < end; number++) {
      const start = Math.max(number * BLOCK, offset);
      bytes.set(this.block(number).subarray(start - number * BLOCK, end - number * BLOCK), start - offset);
    }
    return bytes;
  }

  private block(number: number): Uint8Array {
    let block = this.blocks.get(number);
    if (block) return block;
    block = this.readBlock(number * BLOCK, Math.min(BLOCK, this.size - number * BLOCK));
    if (this.blocks.size >= BLOCKS) this.blocks.delete(this.blocks.keys().next().value!);
    this.blocks.set(number, block);
    return block;
  }
}

/** What is used of a `FileSystemSyncAccessHandle`, which TypeScript knows in workers alone. */
interface SyncHandle {
  getSize(): number;
  read(buffer: Uint8Array, options: { at: number }): number;
  close(): void;
}

class HandleFile extends SlowFile {
  readonly size: number;
  constructor(private readonly handle: SyncHandle) {
    super();
    this.size = handle.getSize();
  }
  protected readBlock(offset: number, length: number): Uint8Array {
    const buffer = new Uint8Array(length);
    return buffer.subarray(0, this.handle.read(buffer, { at: offset }));
  }
  override close(): void {
    this.handle.close();
  }
}

declare class FileReaderSync {
  readAsArrayBuffer(blob: Blob): ArrayBuffer;
}

class BlobFile extends SlowFile {
  readonly size: number;
  private readonly reader = new FileReaderSync();
  constructor(private readonly blob: Blob) {
    super();
    this.size = blob.size;
  }
  protected readBlock(offset: number, length: number): Uint8Array {
    return new Uint8Array(this.reader.readAsArrayBuffer(this.blob.slice(offset, offset + length)));
  }
}

/** A file of Node.js. */
class PathFile extends LocalFile {
  constructor(
    private readonly fs: typeof import("node:fs"),
    private readonly descriptor: number,
    readonly size: number,
  ) {
    super();
  }
  read(offset: number, length: number): Uint8Array {
    const buffer = new Uint8Array(length);
    return buffer.subarray(0, this.fs.readSync(this.descriptor, buffer, 0, length, offset));
  }
  override close(): void {
    this.fs.closeSync(this.descriptor);
  }
}

const CHUNK = 64 << 10;
/** What is fetched out of turn, around what is missing. */
const FETCHED_AT_ONCE = 4 * CHUNK;
/** Requests of parts that are on their way at a time: of those that a browser sends to one server, some are left for what is needed before. */
const PARTS_AT_ONCE = 3;
const TRIES = 4;
/** Milliseconds after which a stream that brings nothing is not waited for. */
const PATIENCE = 200;

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** What of a file is fetched before anybody has read it: bytes from its start, and whether its end, too. */
export interface Beginning {
  readonly length: number;
  readonly end: boolean;
}

/**
 * A file that is on its way. It comes from start to end, as far as it is wanted; what is read before it has come is fetched out of turn, if the server
 * knows range requests.
 */
class ComingFile implements ReadableFile {
  private readonly url: string;
  private readonly bytes: Uint8Array<ArrayBuffer>;
  /** One for each chunk that has come. */
  private readonly has: Uint8Array;
  /** One for each that was asked for out of turn. */
  private readonly asked: Uint8Array;
  /** Bytes from the start that have come. */
  private streamed = 0;
  /** How far it is wanted from the start. */
  private limit: number;
  /** Nobody has said yet what is wanted. */
  private isBeginning: boolean;
  /** The chunk that a read wanted, and where in the file that read, or the chunk, ends. */
  private missing: { readonly chunk: number; readonly end: number } | undefined;
  failure: PrebakeError | undefined;
  private waiting: (() => void)[] = [];
  private readonly stop = new AbortController();

  /** `first` brings the file as far as `limit`. */
  constructor(
    private readonly source: RemoteSource,
    readonly size: number,
    /** Whether the server knows range requests; undefined until one was tried, if it did not say. */
    private ranges: boolean | undefined,
    /** Names the content: a file that is replaced meanwhile is not mixed with the new one. */
    private readonly version: string | null,
    first: ReadableStream<Uint8Array>,
    limit: number,
    private readonly progress: Progress | undefined,
  ) {
    this.isBeginning = limit < size;
    this.limit = limit;
    this.bytes = roomFor(size, source.url);
    this.has = new Uint8Array(Math.ceil(size / CHUNK));
    this.asked = new Uint8Array(this.has.length);
    this.url = source.url;
    void this.stream({ body: first, end: limit });
  }

  get pending(): boolean {
    return this.missing !== undefined && this.failure === undefined;
  }

  read(offset: number, length: number): Uint8Array {
    const end = Math.min(offset + length, this.size);
    if (this.failure) throw this.failure;
    for (let chunk = Math.floor(offset / CHUNK); chunk * CHUNK < end; chunk++) {
      const wanted = Math.min((chunk + 1) * CHUNK, end);
      if (!this.hasCome(chunk, wanted)) {
        this.missing = { chunk, end: wanted };
        throw new PrebakeError("io", "these bytes have not come yet");
      }
    }
    this.missing = undefined;
    return this.bytes.subarray(offset, end);
  }

  async arrived(): Promise<void> {
    const { missing } = this;
    if (!missing) return;
    const start = missing.chunk * CHUNK;
    const isHere = (): boolean => this.hasCome(missing.chunk, missing.end) || this.failure !== undefined;
    if (this.ranges === false) {
      while (!isHere()) await this.change();
    }
    // What is on its way is not asked for twice, unless that stands still.
    const isNext = this.asked[missing.chunk] === 1 || start < (this.isBeginning ? this.limit : Math.min(this.streamed + FETCHED_AT_ONCE, this.limit));
    const deadline = performance.now() + (isNext ? PATIENCE : 0);
    while (!isHere() && performance.now() < deadline) await Promise.race([this.change(), pause(deadline - performance.now())]);
    if (!isHere()) await this.fetchRange(...this.around(missing.chunk));
    while (!isHere()) await this.change();
    if (this.failure) throw this.failure;
    this.missing = undefined;
  }

  async bring(parts: readonly Range[]): Promise<void> {
    if (!this.ranges) return this.complete();
    const [head, ...others] = parts;
    await Promise.all([this.streamTo(head?.[1] ?? 0), this.fetchMissing(others)]);
  }

  async hurry(parts: readonly Range[]): Promise<void> {
    if (!this.ranges) return this.complete();
    // The stream brings what is within its limit.
    const beyond = parts.filter(([, end]) => end > this.limit).map(([start, end]) => [Math.max(start, this.limit), end] as const);
    await Promise.all([this.streamTo(this.limit), this.fetchMissing(beyond)]);
  }

  private async fetchMissing(parts: readonly Range[]): Promise<void> {
    const isMissing = ([start, end]: Range): boolean => {
      for (let chunk = Math.floor(start / CHUNK); chunk * CHUNK < end; chunk++) {
        if (!this.hasCome(chunk, Math.min((chunk + 1) * CHUNK, end))) return true;
      }
      return false;
    };
    const wanted: [number, number][] = [];
    for (const [start, end] of parts.filter(isMissing)) {
      const [first, last] = [Math.floor(start / CHUNK) * CHUNK, Math.min(Math.ceil(end / CHUNK) * CHUNK, this.size)];
      const before = wanted.at(-1);
      // To ask costs more than to fetch a little for nothing.
      if (before && first <= before[1] + FETCHED_AT_ONCE) before[1] = last;
      else wanted.push([first, last]);
    }
    for (const [start, end] of wanted) this.asked.fill(1, start / CHUNK, Math.ceil(end / CHUNK));
    const fetchInTurn = async (): Promise<void> => {
      for (let next = wanted.shift(); next; next = wanted.shift()) if (isMissing(next)) await this.fetchRange(...next);
    };
    await Promise.all(Array.from({ length: PARTS_AT_ONCE }, fetchInTurn));
  }

  private async streamTo(end: number): Promise<void> {
    this.isBeginning = false;
    this.limit = Math.max(this.limit, end);
    this.changed();
    while (this.streamed < end && !this.failure) await this.change();
    if (this.failure) throw this.failure;
  }

  complete(): Promise<void> {
    return this.streamTo(this.size);
  }

  close(): void {
    this.stop.abort();
    this.changed();
  }

  /** What to fetch with a chunk: some chunks behind it or, at the end of the file, before it, but none that has come. */
  private around(missing: number): [number, number] {
    const isMissing = (chunk: number): boolean => chunk >= 0 && chunk < this.has.length && !this.hasCome(chunk, Math.min((chunk + 1) * CHUNK, this.size));
    let [first, end] = [missing, missing + 1];
    while (end - first < FETCHED_AT_ONCE / CHUNK && isMissing(end)) end++;
    while (end === this.has.length && end - first < FETCHED_AT_ONCE / CHUNK && isMissing(first - 1)) first--;
    return [first * CHUNK, Math.min(end * CHUNK, this.size)];
  }

  private hasCome(chunk: number, end: number): boolean {
    return end <= this.streamed || this.has[chunk] === 1;
  }

  private change(): Promise<void> {
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  private changed(): void {
    const waiting = this.waiting;
    this.waiting = [];
    for (const resolve of waiting) resolve();
  }

  private async stream(first: Connection): Promise<void> {
    let connection: Connection | undefined = first;
    for (let failures = 0; this.streamed < this.size && !this.stop.signal.aborted; ) {
      const before = this.streamed;
      try {
        connection ??= await this.connect();
        if (connection) await this.take(connection);
        failures = 0;
      } catch (error) {
        if (this.stop.signal.aborted) return;
        failures = this.streamed > before ? 1 : failures + 1;
        const isChanged = (error as PrebakeError).kind === "changed";
        if (failures >= TRIES || isChanged || this.ranges === false) {
          const { message } = PrebakeError.of(error, "network");
          const problem = `${this.url} came only as far as ${this.streamed} of ${this.size} bytes: ${message}; reload to try again`;
          this.failure = error instanceof PrebakeError ? error : new PrebakeError("truncated", problem);
          break;
        }
        await pause(250 * failures);
      }
      connection = undefined;
    }
    this.changed();
  }

  /** Asks for what is wanted next from the start, as soon as something is. */
  private async connect(): Promise<Connection | undefined> {
    this.streamed += this.comeNext();
    this.changed();
    while (this.streamed >= this.limit && !this.stop.signal.aborted) await this.change();
    if (this.streamed >= this.size || this.stop.signal.aborted) return undefined;
    const end = this.endOfGap();
    const body = (await this.ask(this.streamed, end))?.body;
    if (!body) throw new Error("the server knows no ranges");
    return { body, end };
  }

  /** Takes what a connection brings, unless the next of that has come already. */
  private async take({ body, end }: Connection): Promise<void> {
    const reader = body.getReader();
    const leave = (): void => void reader.cancel().catch(() => undefined);
    this.stop.signal.addEventListener("abort", leave);
    while (this.streamed < end) {
      if (this.comeNext() > FETCHED_AT_ONCE && this.ranges) break;
      const { done, value } = await reader.read();
      if (done) throw new Error("the connection ended early");
      const bytes = value.subarray(0, end - this.streamed);
      this.bytes.set(bytes, this.streamed);
      this.streamed += bytes.length;
      this.progress?.(this.streamed, this.size);
      this.changed();
    }
    leave();
    this.stop.signal.removeEventListener("abort", leave);
  }

  /** How many bytes have come already behind those of the stream, or behind another place. */
  private comeNext(at = this.streamed): number {
    let chunk = Math.floor(at / CHUNK);
    while (this.has[chunk] === 1) chunk++;
    return Math.max(Math.min(chunk * CHUNK, this.size) - at, 0);
  }

  /** How far to ask for what is wanted next: to what need not come again. */
  private endOfGap(): number {
    for (let at = (Math.floor(this.streamed / CHUNK) + 1) * CHUNK; at < this.limit; at += CHUNK) if (this.comeNext(at) > FETCHED_AT_ONCE) return at;
    return this.limit;
  }

  private async fetchRange(start: number, end: number): Promise<void> {
    const [first, last] = [start / CHUNK, Math.ceil(end / CHUNK)];
    this.asked.fill(1, first, last);
    for (let left = TRIES; ; left--) {
      try {
        const response = await this.ask(start, end);
        if (response) await this.accept(start, end, response);
        return;
      } catch (error) {
        if (left <= 1 || (error as PrebakeError).kind === "changed") {
          this.asked.fill(0, first, last);
          throw PrebakeError.of(error, "network");
        }
        await pause(250 * (TRIES - left + 1));
      }
    }
  }

  /** Takes the end of the file, which was asked for before that was there. */
  async offerEnd(start: number, response: Response): Promise<void> {
    this.check(response);
    await this.accept(start, this.size, response);
  }

  private async accept(start: number, end: number, response: Response): Promise<void> {
    // The browser holds a server of files to what it has announced.
    const isAnnounced = response.headers.get("content-length") === String(end - start) && !response.headers.get("content-encoding");
    const bytes = isAnnounced ? new Uint8Array(await response.arrayBuffer()) : await bodyOf(response, end - start);
    if (bytes?.length !== end - start) throw new PrebakeError("truncated", `${this.url} gave ${bytes?.length ?? "more than"} of ${end - start} bytes`);
    this.bytes.set(bytes, start);
    this.has.fill(1, start / CHUNK, Math.ceil(end / CHUNK));
    this.changed();
  }

  private check(response: Response): void {
    if (response.status !== 206 || !response.body) throw answered(this.url, response);
    if (versionOf(response) !== this.version) {
      throw new PrebakeError("changed", `${this.url} was replaced while it was on its way; reload to get the new one`);
    }
  }

  /** Asks for a part; undefined if the server sends only all of the file. */
  private async ask(start: number, end: number): Promise<Response | undefined> {
    const headers = { ...headersOf(this.source), range: rangeOf(start, end) };
    const response = await fetch(this.url, { headers, signal: this.stop.signal, cache: "no-store" });
    if (response.status === 200) {
      void response.body?.cancel();
      this.ranges = false;
      // So it waits for what the first connection brings.
      this.limit = this.size;
      this.changed();
      return undefined;
    }
    this.check(response);
    return response;
  }
}

/** What brings a file as far as `end`. */
interface Connection {
  readonly body: ReadableStream<Uint8Array>;
  readonly end: number;
}

/** Bytes from `start` on, before `end`. */
function rangeOf(start: number, end: number): string {
  return `bytes=${start}-${end - 1}`;
}

function headersOf({ authorization }: RemoteSource): Record<string, string> {
  return authorization === undefined ? {} : { authorization };
}

function versionOf(response: Response): string | null {
  return response.headers.get("etag") ?? response.headers.get("last-modified");
}

function answered(url: string, response: Response): PrebakeError {
  const kind = response.status === 404 ? "not-found" : "http";
  return new PrebakeError(kind, `${url} was answered with ${response.status} ${response.statusText}; check the address and the server`);
}

/** Fetches a file, or that part of it. Other answers than success are errors. */
async function fetchFile(source: RemoteSource, range?: string): Promise<Response> {
  const { url, integrity } = source;
  let response: Response;
  try {
    const init = range === undefined ? { headers: headersOf(source) } : { headers: { ...headersOf(source), range }, cache: "no-store" as const };
    response = await fetch(url, { ...init, ...(integrity && { integrity }) });
  } catch (error) {
    const reason = integrity ? "it cannot be reached, or is damaged" : "it cannot be reached";
    const detail = error instanceof Error ? error.message : String(error);
    throw new PrebakeError("network", `${url} could not be fetched (${detail}): ${reason}; check the connection, and that the file is whole`);
  }
  // There is no part of an empty file.
  if (!response.ok && !(range !== undefined && response.status === 416)) throw answered(url, response);
  return response;
}

/** The URL that a source is at, if it is at one. */
export function urlOf(source: FileSource): RemoteSource | undefined {
  if (typeof source === "string") return { url: source };
  if (source instanceof URL) return { url: source.href };
  return "url" in source ? source : undefined;
}

/** A path of Node.js's, of a string that is no URL of the network. */
export function pathOf(source: FileSource): string | URL | undefined {
  if (!isNode) return undefined;
  if (typeof source === "string") return /^https?:/.test(source) ? undefined : source.startsWith("file:") ? new URL(source) : source;
  return source instanceof URL && source.protocol === "file:" ? source : undefined;
}

/** Opens a file for reading. If it has a `beginning`, no more comes until `bring` tells which parts are wanted, or `complete` asks for all. */
export async function openFile(source: FileSource, progress?: Progress, beginning?: Beginning): Promise<ReadableFile> {
  const path = pathOf(source);
  if (path !== undefined) return openPath(path);
  const remote = urlOf(source);
  // Of a part, nobody knows whether the file is what it should be.
  if (remote) return beginning && remote.integrity === undefined ? openParts(remote, beginning, progress) : openUrl(remote, progress);
  if (source instanceof Uint8Array) return new MemoryFile(source);
  if (source instanceof Blob) return openBlob(source);
  // A URL is none of these.
  const other = source as { readonly opfs: string } | TravellingSource;
  return "opfs" in other ? openStored(other.opfs) : TravellingFile.open(await openLayer(other.travelling, progress), other.content);
}

async function openPath(path: string | URL): Promise<ReadableFile> {
  const fs = await nodeModule<typeof import("node:fs")>("fs");
  try {
    const descriptor = fs.openSync(path, "r");
    return new PathFile(fs, descriptor, fs.fstatSync(descriptor).size);
  } catch (error) {
    throw new PrebakeError("not-found", `${String(path)} cannot be opened: ${(error as Error).message}`);
  }
}

async function openBlob(blob: Blob): Promise<ReadableFile> {
  if (typeof FileReaderSync === "undefined") return new MemoryFile(new Uint8Array(await blob.arrayBuffer()));
  return new BlobFile(blob);
}

async function openStored(path: string): Promise<ReadableFile> {
  const { directory, name } = await directoryOf(path);
  const found = await directory.getFileHandle(name);
  try {
    // Several readers at once, where the browser knows that.
    const open = found as unknown as { createSyncAccessHandle(options: { mode: string }): Promise<SyncHandle> };
    return new HandleFile(await open.createSyncAccessHandle({ mode: "read-only" }));
  } catch {
    return openBlob(await found.getFile());
  }
}

/** Opens a layer of a registry. */
export function openLayer(layer: RemoteSource, progress?: Progress): Promise<ReadableFile> {
  return openUrl(layer, progress, otherLayer);
}

async function openUrl(source: RemoteSource, progress?: Progress, wrong = otherSize, fetched?: Response): Promise<ReadableFile> {
  const response = fetched ?? (await fetchFile(source));
  const length = Number(response.headers.get("content-length") ?? NaN);
  const isPlain = !response.headers.get("content-encoding") && response.body !== null;
  const { size } = source;
  if (isPlain && Number.isSafeInteger(length)) {
    if (size !== undefined && size !== length) {
      leave(response);
      throw wrong(source.url, String(length), size);
    }
    // Of another origin's headers, a page may not see this one.
    const said = response.headers.get("accept-ranges");
    const ranges = said === null && response.type === "cors" ? undefined : said === "bytes";
    return new ComingFile(source, length, ranges, versionOf(response), response.body!, length, progress);
  }
  if (size === undefined) return new MemoryFile(new Uint8Array(await response.arrayBuffer()));
  const bytes = await bodyOf(response, size);
  if (bytes?.length !== size) throw wrong(source.url, bytes ? String(bytes.length) : "more", size);
  return new MemoryFile(bytes);
}

/** Opens a file of which only the beginning is asked for, if its server knows range requests. */
async function openParts(source: RemoteSource, { length, end }: Beginning, progress?: Progress): Promise<ReadableFile> {
  const lastChunk = end && source.size !== undefined ? Math.floor((source.size - 1) / CHUNK) * CHUNK : 0;
  const [response, last] = await Promise.all([
    fetchFile(source, rangeOf(0, length)),
    // If it does not come now, it is fetched when it is read.
    lastChunk < length ? undefined : fetchFile(source, rangeOf(lastChunk, source.size!)).catch(() => undefined),
  ]);
  if (response.status !== 206) {
    if (last) leave(last);
    return openUrl(source, progress, otherSize, response.ok ? response : undefined);
  }
  const [, found] = /\/(\d+)$/.exec(response.headers.get("content-range") ?? "") ?? [];
  // Of another origin's headers, a page may not see this one.
  const size = found === undefined ? source.size : Number(found);
  if (size === undefined || response.body === null) {
    leave(response);
    return openUrl(source, progress);
  }
  if (source.size !== undefined && source.size !== size) {
    leave(response);
    throw otherSize(source.url, String(size), source.size);
  }
  const file = new ComingFile(source, size, true, versionOf(response), response.body, Math.min(length, size), progress);
  if (last) await file.offerEnd(lastChunk, last).catch(() => undefined);
  return file;
}

function leave(response: Response): void {
  void response.body?.cancel().catch(() => undefined);
}

type OtherSize = (url: string, found: string, size: number) => PrebakeError;

const otherSize: OtherSize = (url, found, size) => {
  return new PrebakeError(Number(found) < size ? "truncated" : "too-long", `${url} has ${found} bytes and not ${size}; copy it to the server again`);
};

const otherLayer: OtherSize = (url, found, size) => {
  return new PrebakeError("registry-cut-off", `the layer ${url} has ${found} bytes, its manifest says ${size}; push it again`);
};
