// The files that machine and user share.

import type { Vm } from "prebake";
import { FOLDER } from "./launch.js";
import { tar } from "./tar.js";
import { button, bytes, download, element, make, sheet, toast, when } from "./view.js";

/** Puts files of the user into the folder. */
export async function upload(vm: Vm, files: readonly { readonly path: string; readonly file: File }[]): Promise<void> {
  for (const { path, file } of files) {
    try {
      await vm.writeFile(path, new Uint8Array(await file.arrayBuffer()));
      toast(`${path} is in ${FOLDER} (${bytes(file.size)})`);
    } catch (error) {
      toast(`${path}: ${(error as Error).message}`, true);
    }
  }
}

/** What was dropped, folders with all that is in them. */
export async function dropped(items: DataTransferItemList): Promise<{ path: string; file: File }[]> {
  const entries = [...items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  return (await Promise.all(entries.map((entry) => walk(entry)))).flat();
}

async function walk(entry: FileSystemEntry): Promise<{ path: string; file: File }[]> {
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    return [{ path: entry.fullPath.replace(/^\//, ""), file }];
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const found: { path: string; file: File }[] = [];
  for (;;) {
    const part = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (part.length === 0) return found;
    for (const entry of part) found.push(...(await walk(entry)));
  }
}

/** Shows the folder. */
export async function showFiles(vm: Vm): Promise<void> {
  const entries = await vm.listFiles();
  const save = async (path: string): Promise<void> => download(path.split("/").pop()!, await vm.readFile(path));
  const rows = entries.map(({ path, size, modified }) => {
    const get = button("Download", () => void save(path));
    get.setAttribute("aria-label", `Download ${path}`);
    return make("li", {}, make("div", { className: "what" }, path, make("small", {}, `${bytes(size)} · ${when(modified)}`)), get);
  });
  const all = async (): Promise<void> => {
    const files = await Promise.all(entries.map(async (entry) => ({ ...entry, content: await vm.readFile(entry.path) })));
    download("shared.tar", tar(files), "application/x-tar");
  };
  const actions = make("div", { className: "actions" }, button("Upload files", () => element("upload").click(), "primary"));
  if (entries.length > 1) actions.append(button("Download all (.tar)", () => void all()));
  const text = make("p", {}, "The machine has these files in ", make("code", {}, FOLDER), ". Drop files onto the page to add some.");
  sheet("Files", text, ...(rows.length ? [make("ul", { className: "rows" }, ...rows)] : []), actions);
}
