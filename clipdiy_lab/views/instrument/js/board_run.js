// Run, Cancel and How long?; what the grid costs, how far it is, and what went wrong.

import { h } from "./dom.js";

/**
 * @typedef {object} Status
 * @property {string} error
 * @property {string} wait
 * @property {string} busy
 * @property {boolean} running
 * @property {number} done
 * @property {number} total
 * @property {string} left
 */

/** @param {{run: () => void, cancel: () => void, estimate: () => void}} acts */
export function runBar(acts) {
  const button = (/** @type {string} */ text, /** @type {string} */ kind, /** @type {() => void} */ act) =>
    h("button", { type: "button", class: kind, on: { click: act } }, text);
  const run = button("Run", "cdi-encode cdi-run", acts.run);
  const cancel = button("Cancel", "cdi-cancel", acts.cancel);
  const estimate = button("How long?", "cdi-estimate", acts.estimate);
  const price = h("span", { class: "cdi-price" });
  const steps = h("progress", { max: 1, value: 0, "aria-label": "Images that are scored" });
  const count = h("span", { class: "cdi-quiet cdi-count" });
  const told = h("span", { class: "cdi-busy-text", role: "status" });
  const error = h("span", { class: "cdi-refused cdi-error", role: "alert" });
  const lost = h("span", { class: "cdi-lost", role: "alert" });
  const root = h(
    "div",
    { class: "cdi-statusbar cdi-runbar" },
    run,
    cancel,
    estimate,
    price,
    steps,
    count,
    told,
    error,
    lost,
  );
  return {
    root,
    /**
     * @param {Status} status
     * @param {import("./board_form.js").Form} form
     * @param {{gone: boolean, away: string, refused: string}} kernel
     */
    update(status, form, { gone, away, refused }) {
      const { running, done, total, left } = status;
      run.hidden = gone || running || !form.rows;
      estimate.hidden = gone || running || !form.left || form.price.includes("about");
      cancel.hidden = gone || !running;
      price.textContent = form.rows ? form.price : "Choose a knob to vary and add it.";
      steps.hidden = count.hidden = gone || !running || !done;
      steps.max = total || 1;
      steps.value = done;
      count.textContent = [`${done} of ${total} images`, left].filter(Boolean).join(", ");
      told.textContent = gone ? "" : [status.busy, status.wait].filter(Boolean).join(" ");
      error.textContent = gone ? "" : refused || status.error;
      lost.textContent = away;
    },
  };
}
