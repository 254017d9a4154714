// Labels are the legend: colour, name and share; click hides, double click shows one alone, a drag orders, typing adds.

import { h, percent, short } from "./dom.js";
import { competes } from "./scene.js";

/** @typedef {import("./session.js").Session} Session */

const CLICK = 260;
const LONGEST = 200;

/**
 * @param {Session} session
 * @param {{highlight: (label: number | null) => void, add: ((words: string[]) => void) | null}} heard
 */
export function legend(session, heard) {
  const list = h("ul", { class: "cdi-labels", "aria-label": "Labels" });
  const field = h("input", {
    type: "text",
    class: "cdi-add",
    placeholder: "Add or find a label",
    "aria-label": "Add or find a label",
    maxlength: 4000,
  });
  const refused = h("span", { class: "cdi-refused", role: "alert" });
  const root = h("div", { class: "cdi-legend" }, list, h("form", { on: { submit } }, field, refused));
  let waiting = 0,
    dragged = -1;
  /** Labels as they stand in the list. @type {number[]} */
  let listed = [];

  /** @param {SubmitEvent} event */
  function submit(event) {
    event.preventDefault();
    const words = split(field.value);
    const problem = words.map((word) => complaint(word)).find(Boolean) ?? (words.length ? "" : "Type a label.");
    const known = words.map((word) =>
      session.scene.labels.findIndex((label) => label.toLowerCase() === word.toLowerCase()),
    );
    const fresh = words.filter((_, at) => known[at] < 0);
    if (!problem && fresh.length && !heard.add) {
      refused.textContent = `This page has no text encoder for \u201c${short(fresh[0])}\u201d; labels are added in a notebook or with lab.recombine.`;
      return;
    }
    refused.textContent = problem;
    if (problem) return;
    const shown = new Set(known);
    session.change({ hidden: session.state.hidden.filter((label) => !shown.has(label)) });
    if (fresh.length && heard.add) heard.add(fresh);
    field.value = "";
  }

  /** @param {number} label */
  const toggle = (label) => {
    const hidden = new Set(session.state.hidden);
    if (!hidden.delete(label)) hidden.add(label);
    hide([...hidden]);
  };
  /** Show one label beside the background, or all again. @param {number} label */
  const solo = (label) => {
    const others = session.scene.labels
      .map((_, at) => at)
      .filter((at) => at !== label && at !== session.scene.background);
    const alone = others.every((at) => session.hidden.has(at)) && !session.hidden.has(label);
    hide(alone ? [] : others);
  };
  /** @param {number[]} hidden */
  const hide = (hidden) => {
    const some = competes(session.scene, hidden);
    refused.textContent = some ? "" : "At least one label besides the background must remain.";
    if (some) session.change({ hidden });
  };

  /** @param {number} label */
  const chip = (label) => {
    const share = h("span", { class: "cdi-share" }),
      swatch = h("span", { class: "cdi-swatch" });
    const button = h(
      "button",
      {
        type: "button",
        class: "cdi-chip",
        draggable: "true",
        "data-label": label,
        on: {
          click: () => {
            clearTimeout(waiting);
            waiting = window.setTimeout(() => toggle(label), CLICK);
          },
          dblclick: () => {
            clearTimeout(waiting);
            solo(label);
          },
          pointerenter: () => heard.highlight(label),
          pointerleave: () => heard.highlight(null),
          focus: () => heard.highlight(label),
          blur: () => heard.highlight(null),
          dragstart: () => {
            dragged = label;
          },
          dragover: (/** @type {DragEvent} */ event) => event.preventDefault(),
          drop: (/** @type {DragEvent} */ event) => {
            event.preventDefault();
            move(dragged, label);
          },
          keydown: (/** @type {KeyboardEvent} */ event) => {
            if (event.key !== "Enter" || !event.shiftKey) return;
            event.preventDefault();
            solo(label);
          },
        },
      },
      swatch,
      h("span", { class: "cdi-name" }, short(session.scene.labels[label])),
      share,
    );
    return { root: h("li", {}, button), button, share, swatch };
  };
  // Made once: an element that went away under the pointer would be entered again, and again.
  const chips = session.scene.labels.map((_, label) => chip(label));
  /** @param {number} label @param {number} before */
  const move = (label, before) => {
    if (label < 0 || label === before) return;
    const order = listed.filter((at) => at !== label);
    order.splice(order.indexOf(before), 0, label);
    session.change({ order });
  };

  const update = () => {
    const counts = new Float64Array(session.scene.labels.length),
      { labels } = session.decision();
    for (const label of labels) counts[label] += 1;
    chips.forEach(({ button, share, swatch }, label) => {
      const off = session.hidden.has(label),
        told = off ? "off" : percent(counts[label] / labels.length);
      button.setAttribute("aria-pressed", String(!off));
      button.title = `${session.scene.labels[label]}: ${told}. Click to hide or show it, double-click to show only this label.`;
      share.textContent = told;
      swatch.style.background = session.colors[label];
    });
    const given = session.state.order === session.first.order || session.state.order.length !== counts.length;
    listed = given
      ? [...session.first.order].sort((one, other) => counts[other] - counts[one] || one - other)
      : session.state.order;
    const there = listed
      .filter((label) => !(label === session.scene.background && session.state.knobs.background === "none"))
      .map((label) => chips[label].root);
    if (there.length !== list.children.length || there.some((node, at) => list.children[at] !== node)) arrange(there);
  };
  /** @param {HTMLElement[]} there */
  const arrange = (there) => {
    const active = document.activeElement;
    list.replaceChildren(...there);
    if (active instanceof HTMLElement && list.contains(active)) active.focus();
  };
  return {
    root,
    update,
    refuse: (/** @type {string} */ text) => {
      refused.textContent = text;
    },
    close: () => clearTimeout(waiting),
  };
}

/**
 * Split a pasted list at commas and line breaks; quotation marks keep commas.
 * @param {string} text
 * @returns {string[]}
 */
export function split(text) {
  const found = [];
  for (const part of text.matchAll(/\s*(?:"([^"]*)"|([^,\n]+))/g)) {
    const word = (part[1] ?? part[2]).trim();
    if (word) found.push(word);
  }
  return [...new Set(found)];
}

/** Why a word can be no label; empty if it can. @param {string} word */
function complaint(word) {
  if (word.length > LONGEST)
    return `A label of ${word.length} characters is too long for a prompt; use at most ${LONGEST}.`;
  // eslint-disable-next-line no-control-regex
  if (/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/.test(word))
    return "A label cannot contain control characters.";
  return "";
}
