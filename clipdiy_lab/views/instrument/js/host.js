// The element that a notebook's output gives a widget: its theme, and its keys for itself.

import { follow } from "./theme.js";

/** @param {HTMLElement} el @returns {() => void} leaves it as it was */
export function host(el) {
  el.classList.add("cdi-host");
  // JupyterLab would take n, p, Enter and the arrows for its own commands, and cancel what they do here.
  el.dataset.lmSuppressShortcuts = "true";
  const keep = (/** @type {Event} */ event) => event.stopPropagation();
  el.addEventListener("keydown", keep);
  const leave = follow(el);
  return () => {
    el.removeEventListener("keydown", keep);
    leave();
  };
}
