// Which knobs vary and their values; a value that makes no sense is refused beside its field and changes nothing.

import { h } from "./dom.js";

/** @typedef {import("./kernel.js").Answer} Answer */

/**
 * @typedef {object} Form
 * @property {number} images
 * @property {number} most
 * @property {{name: string, title: string, help: string}[]} knobs
 * @property {{name: string, text: string}[]} chosen
 * @property {number} rows
 * @property {number} left
 * @property {string} price
 */

let made = 0;

/**
 * A field whose text the kernel takes or refuses.
 * @param {{title: string, help: string, kind: string, send: (text: string) => Promise<Answer>}} of
 */
function field({ title, help, kind, send }) {
  const id = `cdi-refusal-${++made}`;
  const input = h("input", {
    type: "text",
    inputmode: kind === "images" ? "numeric" : null,
    class: `cdi-${kind}`,
    "aria-describedby": id,
    spellcheck: "false",
    on: { change: typed, keydown: key },
  });
  const refusal = h("span", { class: "cdi-refused", role: "alert", id });
  let valid = "";
  async function typed() {
    const text = input.value;
    const { error } = await send(text);
    if (input.value !== text) return;
    refuse(error && `${error} Still in effect: ${valid}`);
  }
  /** @param {string} text */
  function refuse(text) {
    refusal.textContent = text;
    input.classList.toggle("cdi-bad", text !== "");
    input.setAttribute("aria-invalid", String(text !== ""));
  }
  /** @param {KeyboardEvent} event */
  function key(event) {
    if (event.key !== "Escape") return;
    input.value = valid;
    refuse("");
  }
  return {
    input,
    label: h("label", { class: "cdi-knob", title: help }, h("span", {}, title), input),
    refusal,
    /** @param {string} text what is in effect now */
    take(text) {
      if (text === valid) return;
      valid = text;
      input.value = text;
      refuse("");
    },
  };
}

/** @param {(what: string, content?: Record<string, any>) => Promise<Answer>} ask */
export function gridForm(ask) {
  /** @type {Map<string, {root: HTMLElement, field: ReturnType<typeof field>}>} */
  const lines = new Map();
  /** @type {Form} */
  let form = { images: 1, most: 1, knobs: [], chosen: [], rows: 0, left: 0, price: "" };
  const list = h("ul", { class: "cdi-varied" });
  const select = h("select", { "aria-label": "Knob to vary" });
  const refused = h("span", { class: "cdi-refused", role: "alert" });
  const images = field({
    title: "images",
    help: "Number of images on which every row is scored",
    kind: "images",
    send: (text) => ask("limit", { images: text }),
  });
  const most = h("span", { class: "cdi-quiet" });
  images.label.append(most);
  const add = h("button", { type: "button", class: "cdi-add-knob", on: { click: more } }, "Add knob");
  async function more() {
    const knob = select.value;
    const { error } = await ask("add", { knob });
    refused.textContent = error;
    if (!error) lines.get(knob)?.field.input.focus();
  }
  const root = h(
    "div",
    { class: "cdi-gridform" },
    list,
    h(
      "div",
      { class: "cdi-addrow" },
      h("label", { class: "cdi-knob" }, h("span", {}, "vary"), select),
      add,
      refused,
      images.label,
      images.refusal,
    ),
  );

  /** @param {string} name */
  function line(name) {
    const knob = form.knobs.find((one) => one.name === name) ?? { name, title: name, help: "" };
    const values = field({
      title: knob.title,
      help: `${knob.help}. Separate values by commas or semicolons.`,
      kind: "values",
      send: (text) => ask("choose", { knob: name, text }),
    });
    values.input.dataset.knob = name;
    const remove = h(
      "button",
      { type: "button", "aria-label": `Do not vary ${knob.title}`, title: "Remove this knob", on: { click: off } },
      "\u00d7",
    );
    async function off() {
      await ask("remove", { knob: name });
      select.focus();
    }
    return { root: h("li", {}, values.label, remove, values.refusal), field: values };
  }

  return {
    root,
    /** @param {Form} now */
    take(now) {
      const asked = select.value;
      form = now;
      const names = now.chosen.map(({ name }) => name);
      for (const name of [...lines.keys()]) if (!names.includes(name)) lines.delete(name);
      for (const { name, text } of now.chosen) {
        const found = lines.get(name) ?? line(name);
        lines.set(name, found);
        found.field.take(text);
      }
      const wanted = names.map((name) => /** @type {any} */ (lines.get(name)).root);
      if (wanted.length !== list.children.length || wanted.some((one, at) => list.children[at] !== one))
        list.replaceChildren(...wanted);
      const free = now.knobs.filter(({ name }) => !names.includes(name));
      if (free.length !== select.options.length || free.some(({ name }, at) => select.options[at].value !== name)) {
        select.replaceChildren(
          ...free.map(({ name, title, help }) => h("option", { value: name, title: help }, title)),
        );
        const first = free.some(({ name }) => name === asked) ? asked : "saliency_weight";
        if (free.some(({ name }) => name === first)) select.value = first;
      }
      refused.textContent = "";
      most.textContent = `of ${now.most}`;
      images.take(String(now.images));
    },
  };
}
