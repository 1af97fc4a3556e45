// What comes before the page: the machine is on its way when the page begins, which keeps the browser busy.

import { choice } from "./choice.js";

// The page tells why there is none.
const chosen = await choice.catch(() => undefined);
await chosen?.launch?.begun;
void import("./main.js");
