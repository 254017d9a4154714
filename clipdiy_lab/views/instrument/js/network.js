// Controls of what a network has to answer: nothing happens before Encode.

import { h } from "./dom.js";
import { split } from "./legend.js";

/**
 * A control as `clipdiy_lab.views.explorer.asks` describes it.
 * @typedef {object} Ask
 * @property {string} name
 * @property {string} title
 * @property {string} help
 * @property {string} form
 * @property {any} value
 * @property {number} [min]
 * @property {number} [max]
 * @property {number} [step]
 * @property {string[]} [choices]
 * @property {string[]} [suggestions]
 * @property {Record<string, any>} [idle] values of other controls with which it has no meaning
 */

/**
 * @param {Ask[]} asks
 * @param {() => void} changed
 */
export function network(asks, changed) {
  /** Values that differ from the kernel's. @type {Map<string, any>} */
  const draft = new Map();
  let known = new Map(asks.map((ask) => [ask.name, ask]));
  const parts = asks.map((ask) =>
    part(ask, (value) => {
      if (JSON.stringify(value) === JSON.stringify(known.get(ask.name)?.value)) draft.delete(ask.name);
      else draft.set(ask.name, value);
      refuse("");
      update();
      changed();
    }),
  );
  const body = h("div", { class: "cdi-knobs" }, ...parts.map(({ root }) => root));
  const root = h("details", { class: "cdi-network", open: true }, h("summary", {}, "Needs the network"), body);
  let words = "";

  const now = (/** @type {string} */ name) => (draft.has(name) ? draft.get(name) : known.get(name)?.value);
  const idle = (/** @type {Ask} */ ask) =>
    Object.entries(ask.idle ?? {}).some(([name, values]) => [values].flat().includes(now(name)));

  function update() {
    let any = false;
    parts.forEach((one, at) => {
      const ask = known.get(asks[at].name) ?? asks[at];
      one.root.hidden = idle(ask) || !`${ask.title} ${ask.help}`.toLowerCase().includes(words);
      one.root.classList.toggle("cdi-changed", draft.has(ask.name));
      any ||= !one.root.hidden;
    });
    root.hidden = !any;
    return any;
  }

  /** Mark the control that an error is about. @param {string} error */
  function refuse(error) {
    parts.forEach((one, at) =>
      one.mark(
        error !== "" &&
          [asks[at].name, asks[at].title].some((name) => error.startsWith(name)) &&
          draft.has(asks[at].name),
      ),
    );
  }

  return {
    root,
    refuse,
    /** @param {string} text */
    search(text) {
      words = text;
      return update();
    },
    /** What Encode sends. @returns {Record<string, any>} */
    get values() {
      return Object.fromEntries(draft);
    },
    /** Take what the kernel knows; what is being typed stays. @param {Ask[]} told */
    take(told) {
      known = new Map(told.map((ask) => [ask.name, ask]));
      for (const [name, value] of draft)
        if (JSON.stringify(value) === JSON.stringify(known.get(name)?.value)) draft.delete(name);
      parts.forEach((one, at) => {
        const { name } = asks[at];
        if (!draft.has(name)) one.set(known.get(name)?.value);
      });
      update();
    },
    drop() {
      draft.clear();
      parts.forEach((one, at) => one.set(known.get(asks[at].name)?.value));
      refuse("");
      update();
      changed();
    },
  };
}

let lists = 0;

/**
 * @param {Ask} ask
 * @param {(value: any) => void} told
 */
function part(ask, told) {
  const { field, read, write } = element(ask);
  field.addEventListener("change", () => told(read()));
  if (!(field instanceof HTMLSelectElement) && ask.form !== "switch")
    field.addEventListener("input", () => told(read()));
  field.setAttribute("aria-label", ask.title);
  field.dataset.ask = ask.name;
  write(ask.value);
  const several = ask.suggestions && field instanceof HTMLInputElement;
  const list = several
    ? h(
        "datalist",
        { id: `cdi-suggestions-${++lists}` },
        ...(ask.suggestions ?? []).map((value) => h("option", { value })),
      )
    : null;
  if (list) field.setAttribute("list", list.id);
  const root = h("label", { class: "cdi-knob", title: ask.help }, h("span", {}, ask.title), field, list);
  return {
    root,
    set: (/** @type {any} */ value) => {
      if (document.activeElement !== field || JSON.stringify(read()) !== JSON.stringify(value)) write(value);
    },
    mark: (/** @type {boolean} */ bad) => {
      field.classList.toggle("cdi-bad", bad);
      field.setAttribute("aria-invalid", String(bad));
    },
  };
}

/** The field of a form, and how its value is read and shown. @param {Ask} ask */
function element({ form, choices, min, max, step }) {
  if (form === "choice") {
    const field = h("select", {}, ...(choices ?? []).map((value) => h("option", { value }, value)));
    return {
      field,
      read: () => field.value,
      write: (/** @type {any} */ value) => {
        field.value = value;
      },
    };
  }
  if (form === "switch") {
    const field = h("input", { type: "checkbox" });
    return {
      field,
      read: () => field.checked,
      write: (/** @type {any} */ value) => {
        field.checked = value;
      },
    };
  }
  if (form === "phrases" || form === "sides") {
    const field = h("textarea", { rows: 2, placeholder: form === "phrases" ? "sofa: sofa, couch" : "64: 96" });
    return {
      field,
      read: () => field.value,
      write: (/** @type {any} */ value) => {
        field.value = value;
      },
    };
  }
  if (form === "number" || form === "count" || form === "optional") {
    const field = h("input", { type: "number", min, max, step, placeholder: form === "optional" ? "off" : null });
    const read = () => (field.value === "" ? (form === "optional" ? null : "") : Number(field.value));
    return {
      field,
      read,
      write: (/** @type {any} */ value) => {
        field.value = value === null ? "" : String(value);
      },
    };
  }
  const field = h("input", { type: "text" });
  if (form === "numbers" || form === "words") {
    const read = () =>
      split(field.value).map((text) => (form === "numbers" && /^\d+$/.test(text) ? Number(text) : text));
    const spelled = (/** @type {any} */ text) => (/,/.test(String(text)) ? `"${text}"` : String(text));
    return {
      field,
      read,
      write: (/** @type {any[]} */ value) => {
        field.value = value.map(spelled).join(", ");
      },
    };
  }
  return {
    field,
    read: () => field.value,
    write: (/** @type {any} */ value) => {
      field.value = value;
    },
  };
}
