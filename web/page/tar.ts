// Writes a tar archive, in the form of POSIX (ustar, with pax headers for names that are long or not ASCII).

const BLOCK = 512;

export interface ArchivedFile {
  readonly path: string;
  readonly modified: number;
  readonly content: Uint8Array;
}

/** An archive of these files, in pieces. */
export function tar(files: readonly ArchivedFile[]): Uint8Array[] {
  const parts: Uint8Array[] = [];
  for (const file of files) {
    if (!/^[\x20-\x7e]{1,100}$/.test(file.path)) parts.push(...entry("pax", "x", file.modified, record("path", file.path)));
    parts.push(...entry(file.path, "0", file.modified, file.content));
  }
  parts.push(new Uint8Array(2 * BLOCK));
  return parts;
}

/** A line of a pax header. Its length counts its own digits. */
function record(key: string, value: string): Uint8Array {
  const rest = new TextEncoder().encode(` ${key}=${value}\n`);
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return new Uint8Array([...new TextEncoder().encode(String(length)), ...rest]);
}

function entry(path: string, type: string, modified: number, content: Uint8Array): Uint8Array[] {
  const header = new Uint8Array(BLOCK);
  const put = (at: number, text: string, room: number): void => {
    header.set(new TextEncoder().encode(text).subarray(0, room), at);
  };
  const octal = (at: number, number: number, room: number): void => put(at, number.toString(8).padStart(room - 1, "0"), room - 1);
  put(0, path, 100);
  octal(100, 0o644, 8);
  octal(108, 0, 8);
  octal(116, 0, 8);
  octal(124, content.length, 12);
  octal(136, Math.floor(modified / 1000), 12);
  put(148, "        ", 8);
  put(156, type, 1);
  put(257, "ustar\0" + "00", 8);
  octal(148, header.reduce((sum, byte) => sum + byte, 0), 7);
  header[154] = 0;
  header[155] = 0x20;
  return [header, content, new Uint8Array((BLOCK - (content.length % BLOCK)) % BLOCK)];
}
