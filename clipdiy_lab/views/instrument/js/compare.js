// A and B: a state that was pinned beside today's, and what differs.

import { h, number, percent } from "./dom.js";

/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./session.js").State} State */

/** @type {Record<string, string>} */
const MODES = { swipe: "Swipe", flicker: "Flicker", side: "Side by side", changed: "Changed pixels" };
const BEAT = 700;

/**
 * The tools of a comparison. `mode` is empty while nothing is pinned.
 * @param {Session} session
 * @param {() => void} redraw
 * @param {{pinned: State | null, mode: string}} start what is compared from the beginning
 */
export function comparison(session, redraw, start) {
  const pin = h(
    "button",
    {
      type: "button",
      title: "Keep this state as A and compare it with later states",
      on: { click: () => set(found.pinned ? null : session.state) },
    },
    "Pin as A",
  );
  const mode = h(
    "select",
    {
      "aria-label": "How A and B are compared",
      on: {
        change: () => {
          found.mode = mode.value;
          beat();
          redraw();
        },
      },
    },
    ...Object.entries(MODES).map(([value, title]) => h("option", { value, selected: value === start.mode }, title)),
  );
  const swipe = h("input", {
    type: "range",
    min: 0,
    max: 100,
    value: 50,
    "aria-label": "Position of the divider between A and B",
    on: { input: redraw },
  });
  const told = h("span", { class: "cdi-quiet", role: "status" });
  const root = h("div", { class: "cdi-compare" }, pin, mode, swipe, told);
  let timer = 0;
  const found = {
    root,
    pinned: start.pinned,
    mode: start.pinned ? start.mode : "",
    /** Whether A is on show while it flickers. */
    flipped: false,
    get share() {
      return Number(swipe.value) / 100;
    },
    update() {
      pin.textContent = found.pinned ? "Unpin A" : "Pin as A";
      mode.hidden = !found.pinned;
      swipe.hidden = found.mode !== "swipe";
      told.textContent = found.pinned ? difference(session, found.pinned) : "";
    },
    /** Labels as the mode shows them. @returns {Int16Array} */
    labels() {
      const { labels } = session.decision();
      if (!found.pinned) return labels;
      const before = session.decision(found.pinned).labels,
        { width } = session.scene;
      if (found.mode === "changed") return labels.map((label, at) => (before[at] === label ? -1 : label));
      if (found.mode === "flicker") return found.flipped ? before : labels;
      if (found.mode === "swipe")
        return labels.map((label, at) => (at % width < found.share * width ? before[at] : label));
      return labels;
    },
    close() {
      clearInterval(timer);
    },
  };
  /** @param {State | null} state */
  function set(state) {
    found.pinned = state;
    found.mode = state ? mode.value : "";
    beat();
    redraw();
  }
  function beat() {
    clearInterval(timer);
    found.flipped = false;
    if (found.mode !== "flicker") return;
    timer = window.setInterval(() => {
      found.flipped = !found.flipped;
      redraw();
    }, BEAT);
  }
  beat();
  return found;
}

/** @param {Session} session @param {State} pinned */
function difference(session, pinned) {
  const before = session.decision(pinned).labels,
    { labels, margin } = session.decision();
  const margins = [];
  for (let at = 0; at < labels.length; at++) if (labels[at] !== before[at]) margins.push(margin[at]);
  if (!margins.length) return "A and B have the same labels.";
  margins.sort((one, other) => one - other);
  return `${percent(margins.length / labels.length)} of the pixels have another label; their median margin in B is ${number(margins[margins.length >> 1], 4)}.`;
}
