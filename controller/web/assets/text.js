// Words with commands in them.

import { h } from "./dom.js";

// What stands between backticks is to be typed.
export function code(text) {
  return text.split("`").map((part, n) => (n % 2 ? h("code", {}, part) : part)).filter((part) => part !== "");
}
