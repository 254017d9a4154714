// The line of a notebook's instrument: what the kernel does and says, and Encode and Cancel when there is a reason.

import { h } from "./dom.js";

/** @typedef {{error: string, note: string, wait: string, busy: string, done: number, total: number}} Status */

/** @param {{encode: () => void, cancel: () => void}} acts */
export function bar(acts) {
  const encode = h("button", { type: "button", class: "cdi-encode", on: { click: acts.encode } }, "Encode");
  const cancel = h("button", { type: "button", class: "cdi-cancel", on: { click: acts.cancel } }, "Cancel");
  const steps = h("progress", { max: 1, value: 0, "aria-label": "Encoded crops" });
  const told = h("span", { class: "cdi-busy", role: "status" });
  const error = h("span", { class: "cdi-refused cdi-error", role: "alert" });
  const note = h("span", { class: "cdi-note", role: "note" });
  const lost = h("span", { class: "cdi-lost", role: "alert" });
  const root = h("div", { class: "cdi-statusbar", hidden: true }, encode, cancel, steps, told, error, note, lost);
  return {
    root,
    /**
     * @param {Status} status
     * @param {number} drafted values that wait for Encode
     * @param {{gone: boolean, away: string, refused: string}} kernel whether it is gone, why it does not answer, what it refused
     */
    update(status, drafted, { gone, away, refused }) {
      const busy = status.busy !== "";
      encode.hidden = gone || drafted <= 0;
      encode.textContent = drafted === 1 ? "Encode 1 change" : `Encode ${drafted} changes`;
      cancel.hidden = gone || (drafted <= 0 && !busy && !status.wait);
      steps.hidden = gone || !busy || !status.total;
      steps.max = status.total || 1;
      steps.value = status.done;
      told.textContent = gone
        ? ""
        : [status.busy, status.total && busy ? `${status.done} of ${status.total} crops` : "", status.wait]
            .filter(Boolean)
            .join(" ");
      error.textContent = gone ? "" : refused || status.error;
      note.textContent = status.note;
      lost.textContent = away;
      root.hidden =
        ![encode, cancel, steps].some((one) => !one.hidden) &&
        ![told, error, note, lost].some((one) => one.textContent);
    },
  };
}
