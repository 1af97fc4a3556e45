// Boots v86 to a prompt, and saves its state there.
//
//     node v86-state.mjs FOLDER      what bench/guest has put there; FOLDER gets state.bin

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { V86 } from "v86";

const folder = process.argv[2];
const state = join(folder, "state.bin");
if (existsSync(state)) process.exit(0);
const file = (name) => ({ buffer: new Uint8Array(readFileSync(join(folder, name))).buffer });
const emulator = new V86({
  wasm_path: fileURLToPath(new URL("../node_modules/v86/build/v86.wasm", import.meta.url)),
  memory_size: 128 << 20,
  vga_memory_size: 2 << 20,
  bios: file("bios.bin"),
  vga_bios: file("vgabios.bin"),
  bzimage: file("vmlinuz"),
  initrd: file("initramfs.cpio"),
  cmdline: "console=ttyS0 quiet",
  autostart: true,
  fastboot: true,
  disable_keyboard: true,
  disable_mouse: true,
  disable_speaker: true,
});
let said = "";
emulator.add_listener("serial0-output-byte", async (byte) => {
  said += String.fromCharCode(byte);
  if (!said.endsWith("\n# ")) return;
  writeFileSync(state, Buffer.from(await emulator.save_state()));
  process.exit(0);
});
