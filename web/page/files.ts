// The files that machine and user share.

import type { FolderEntry, Vm } from "prebake";
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

/** Files that are in a folder of the shared one, or deeper. */
interface Shown {
  readonly name: string;
  readonly files: FolderEntry[];
}

/** What is right in the folder `at`, whose path ends with a slash unless it is the shared one: folders, and files. */
function inside(entries: readonly FolderEntry[], at: string): { folders: Shown[]; files: FolderEntry[] } {
  const folders = new Map<string, Shown>();
  const files: FolderEntry[] = [];
  for (const entry of entries) {
    if (!entry.path.startsWith(at)) continue;
    const [name, ...deeper] = entry.path.slice(at.length).split("/");
    if (deeper.length === 0) files.push(entry);
    else if (folders.has(name!)) folders.get(name!)!.files.push(entry);
    else folders.set(name!, { name: name!, files: [entry] });
  }
  return { folders: [...folders.values()], files };
}

/** Offers files as one archive, by their paths behind `at`. */
async function downloadAll(vm: Vm, name: string, at: string, entries: readonly FolderEntry[]): Promise<void> {
  const files = await Promise.all(entries.map(async ({ path, modified }) => ({ path: path.slice(at.length), modified, content: await vm.readFile(path) })));
  download(`${name}.tar`, tar(files), "application/x-tar");
}

function row(name: string, text: string, ...buttons: HTMLButtonElement[]): HTMLElement {
  return make("li", {}, make("div", { className: "what" }, name, make("small", {}, text)), ...buttons);
}

/** A button of a row, which a screen reader reads without that. */
function rowButton(text: string, path: string, act: () => Promise<void>): HTMLButtonElement {
  const made = button(text, () => void act().catch((error: Error) => toast(`${path}: ${error.message}`, true)));
  made.setAttribute("aria-label", `${text} ${path}`);
  return made;
}

/** Shows a folder: the shared one, or one in it. */
export async function showFiles(vm: Vm, at = ""): Promise<void> {
  const entries = (await vm.listFiles()).filter(({ path }) => path.startsWith(at));
  const { folders, files } = inside(entries, at);
  const folderRow = ({ name, files }: Shown): HTMLElement => {
    const size = files.reduce((sum, file) => sum + file.size, 0);
    const path = at + name;
    const open = rowButton("Open", path, () => showFiles(vm, `${path}/`));
    const get = rowButton("Download", path, () => downloadAll(vm, name, at, files));
    return row(`${name}/`, `${files.length === 1 ? "1 file" : `${files.length} files`} · ${bytes(size)}`, open, get);
  };
  const fileRow = ({ path, size, modified }: FolderEntry): HTMLElement => {
    const name = path.slice(at.length);
    const get = async (): Promise<void> => download(name, [await vm.readFile(path)]);
    return row(name, `${bytes(size)} · ${when(modified)}`, rowButton("Download", path, get));
  };
  const rows = [...folders.map(folderRow), ...files.map(fileRow)];
  const actions = make("div", { className: "actions" });
  if (at) actions.append(button("Back", () => void showFiles(vm, at.replace(/[^/]+\/$/, ""))));
  else actions.append(button("Upload files", () => element("upload").click(), "primary"));
  if (!at && entries.length > 1) actions.append(button("Download all (.tar)", () => void downloadAll(vm, "shared", "", entries)));
  const text = at
    ? make("p", {}, make("code", {}, `${FOLDER}/${at}`))
    : make("p", {}, "The machine has these files in ", make("code", {}, FOLDER), ". Drop files or folders onto the page to add some.");
  sheet("Files", text, ...(rows.length ? [make("ul", { className: "rows" }, ...rows)] : []), actions);
}
