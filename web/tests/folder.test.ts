// What needs no machine.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Errno, Folder, FolderError } from "../lib/folder.js";
import { tar } from "../page/tar.js";

const errnoOf = (work: () => unknown): number | undefined => {
  try {
    work();
    return undefined;
  } catch (error) {
    return (error as FolderError).errno;
  }
};

test("no path leads out of a folder", () => {
  const folder = new Folder();
  folder.write("a/b", new Uint8Array(3));
  for (const path of ["../x", "a/../../x", "a/..", ".."]) {
    expect(errnoOf(() => folder.write(path, new Uint8Array())), path).toBe(Errno.PERM);
    expect(errnoOf(() => folder.read(path)), path).toBe(Errno.PERM);
  }
  expect(errnoOf(() => folder.read("a/b/c"))).toBe(Errno.NOTDIR);
  expect(errnoOf(() => folder.read("a"))).toBe(Errno.ISDIR);
  expect(errnoOf(() => folder.write("a", new Uint8Array()))).toBe(Errno.ISDIR);
  expect(folder.read("/a//./b").length).toBe(3);
});

test("a folder has its limits, and room that was given back", () => {
  const folder = new Folder();
  const half = new Uint8Array(300 << 20);
  folder.write("a", half);
  expect(errnoOf(() => folder.write("b", half))).toBe(Errno.NOSPC);
  folder.remove(folder.root, "a", false);
  expect(errnoOf(() => folder.write("b", half))).toBe(undefined);
});

test("a file that shrinks and grows again is zero where it had ended", () => {
  const file = new Folder().newFile();
  file.write(0, new Uint8Array([1, 2, 3, 4]));
  file.resize(1);
  file.resize(3);
  expect([...file.bytes()]).toEqual([1, 0, 0]);
  file.write(6, new Uint8Array([5]));
  expect([...file.bytes()]).toEqual([1, 0, 0, 0, 0, 0, 5]);
});

test("an archive is what tar understands, with long names and others than ASCII", () => {
  const scratch = mkdtempSync(join(tmpdir(), "prebake-tar-"));
  const content = (length: number): Uint8Array => new Uint8Array(length).map((_, at) => at * 7);
  const files = ["plain", "a folder/with blanks", `${"long/".repeat(30)}name`, "Grüße/世界"].map((path, number) => {
    return { path, modified: 1_700_000_000_000, content: content(number * 512 + number) };
  });
  try {
    writeFileSync(join(scratch, "all.tar"), Buffer.concat(tar(files)));
    execFileSync("tar", ["-xf", "all.tar"], { cwd: scratch });
    for (const { path, content } of files) expect(new Uint8Array(readFileSync(join(scratch, path)))).toEqual(content);
  } finally {
    rmSync(scratch, { recursive: true });
  }
});
