// Starts what takes longest, before the page itself.

import { prepare } from "prebake";
import { listImages } from "./images.js";

prepare();
// Whoever uses the list is told if there is none.
listImages().catch(() => undefined);
void import("./main.js");
