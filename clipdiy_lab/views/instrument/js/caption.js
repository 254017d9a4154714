// What stands under the picture: the words of its map, its scale, and what its colours stand for.

import { h, number, short } from "./dom.js";

/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./views.js").Shown} Shown */

/** @param {Session} session @param {string} name of the view @param {Shown} one @returns {Node[]} */
export function captionOf(session, name, one) {
  const found = /** @type {Node[]} */ ([
    h("p", {}, h("strong", {}, one.title), " ", h("span", { class: "cdi-quiet" }, one.sentence)),
  ]);
  if (one.scale) {
    found.push(
      h(
        "div",
        { class: "cdi-scale" },
        h("span", {}, number(one.scale.low)),
        h("i", { style: { background: one.scale.css } }),
        h("span", {}, number(one.scale.high)),
        h("span", { class: "cdi-quiet" }, one.unit),
      ),
    );
  }
  if (one.palette) found.push(keys(one.palette));
  if (name === "score") found.push(scoreTools(session, one));
  return found;
}

/** @param {Session} session @param {Shown} one */
function scoreTools(session, one) {
  const select = h(
    "select",
    {
      "aria-label": "Label whose score is shown",
      on: { change: () => session.change({ label: Number(select.value) }) },
    },
    ...session.scene.labels.map((name, label) =>
      h("option", { value: label, selected: label === session.state.label }, short(name, 40)),
    ),
  );
  const { low, high } = one.scale ?? { low: 0, high: 1 };
  const cut = h("input", {
    type: "range",
    min: 0,
    max: 1,
    step: 0.01,
    value: session.state.cut === null ? 0 : (session.state.cut - low) / (high - low || 1),
    "aria-label": "Score above which pixels are shown",
    title: "Show only pixels above a score",
    on: {
      change: () => session.change({ cut: Number(cut.value) === 0 ? null : low + Number(cut.value) * (high - low) }),
    },
  });
  return h(
    "div",
    { class: "cdi-scoretools" },
    select,
    h("label", {}, "above ", cut, session.state.cut === null ? "" : ` ${number(session.state.cut)}`),
  );
}

/** What colours stand for, where they are no labels. @param {{colors: string[], names: string[]}} palette */
function keys({ colors, names }) {
  return h(
    "ul",
    { class: "cdi-keys" },
    ...names.map((name, at) => h("li", {}, h("i", { style: { background: colors[at] } }), name)),
  );
}
