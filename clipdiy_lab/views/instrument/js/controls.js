// Knobs: the few that are always in sight, and the panel that finds the others by their words.

import { h } from "./dom.js";
import { answers } from "./scene.js";

/** @typedef {import("./session.js").Session} Session */

/**
 * A knob as `Config` declares it.
 * @typedef {object} Control
 * @property {string} name
 * @property {string} title
 * @property {string} help
 * @property {string} form
 * @property {string} group
 * @property {number} [min]
 * @property {number} [max]
 * @property {number} [step]
 * @property {any[]} [choices]
 * @property {any} [likely] value that an optional knob begins with
 * @property {Record<string, string[]>} [needs] values of other knobs with which it has a meaning
 */

/**
 * The strip that is always visible: saliency, grids, refinement.
 * @param {Session} session
 */
export function strip(session) {
  const controls = new Map(session.scene.controls.map((control) => [control.name, control]));
  const pieces = ["saliency_weight", "saliency_threshold"].map((name) =>
    knob(session, /** @type {Control} */ (controls.get(name))),
  );
  const grids = session.scene.grids.map((grid) =>
    slider({
      title: grid.title,
      help: `Weight of the grid ${grid.title}`,
      min: 0,
      max: 2,
      step: 0.05,
      get: () => session.state.knobs.weights[grid.name] ?? 1,
      set: (value) => session.turn({ weights: { ...session.state.knobs.weights, [grid.name]: value } }),
    }),
  );
  const refine = session.scene.pixels ? [knob(session, /** @type {Control} */ (controls.get("refine")))] : [];
  const saliency = session.scene.saliency && session.scene.background >= 0 ? pieces : [];
  const all = [...saliency, ...grids, ...refine];
  const group = (/** @type {string} */ title, /** @type {{root: HTMLElement}[]} */ parts) =>
    parts.length > 0 && h("fieldset", {}, h("legend", {}, title), ...parts.map((part) => part.root));
  const root = h(
    "div",
    { class: "cdi-strip" },
    group("Saliency", saliency),
    group("Grids", grids),
    group("Refinement", refine),
  );
  return { root, update: () => all.forEach((part) => part.update()) };
}

/**
 * A group of the panel that is made elsewhere. `search` shows what fits some words, and says whether anything does.
 * @typedef {{root: HTMLElement, search: (words: string) => boolean}} Extra
 */

/**
 * Every other knob, found by its name or its words; a knob that has no meaning now is left out.
 * @param {Session} session
 * @param {Extra | null} extra
 */
export function panel(session, extra) {
  const shown = session.scene.controls.filter(
    ({ name }) => name !== "weights" && name !== "saliency_weight" && name !== "saliency_threshold",
  );
  const parts = shown.map((control) => ({ control, ...knob(session, control) }));
  const search = h("input", {
    type: "search",
    placeholder: "Search the knobs",
    "aria-label": "Search the knobs",
    on: { input: () => update() },
  });
  const groups = [...new Set(shown.map(({ group }) => group))].map((title) => {
    const inside = parts.filter(({ control }) => control.group === title);
    const body = h("div", { class: "cdi-knobs" }, ...inside.map((part) => part.root));
    return { inside, root: h("details", { open: true }, h("summary", {}, title), body) };
  });
  const none = h("p", { class: "cdi-quiet", hidden: true }, "No knob matches.");
  const root = h(
    "div",
    { class: "cdi-panel" },
    search,
    none,
    ...groups.map((group) => group.root),
    extra && extra.root,
  );
  function update() {
    const words = search.value.trim().toLowerCase();
    let any = extra !== null && extra.search(words);
    for (const { inside, root: box } of groups) {
      let some = false;
      for (const part of inside) {
        const fits =
          meant(session, part.control) && `${part.control.title} ${part.control.help}`.toLowerCase().includes(words);
        part.root.hidden = !fits;
        some ||= fits;
        part.update();
      }
      box.hidden = !some;
      any ||= some;
    }
    none.hidden = any;
  }
  return { root, update };
}

/** Whether a knob has a meaning with the others as they are. @param {Session} session @param {Control} control */
function meant(session, { name, needs }) {
  if (name.startsWith("refine") && !session.scene.pixels) return false;
  return Object.entries(needs ?? {}).every(([other, values]) =>
    values.includes(/** @type {any} */ (session.state.knobs)[other]),
  );
}

/**
 * The element of a knob, by its form.
 * @param {Session} session
 * @param {Control} control
 * @returns {{root: HTMLElement, update: () => void}}
 */
function knob(session, control) {
  const get = () => /** @type {any} */ (session.state.knobs)[control.name];
  const set = (/** @type {any} */ value) => session.turn({ [control.name]: value });
  const bounds = {
    title: control.title,
    help: control.help,
    min: control.min ?? 0,
    max: control.max ?? 1,
    step: control.step ?? 0.01,
    get,
    set,
  };
  if (control.form === "choice") return choice(control, get, set, session);
  if (control.form === "switch") return toggle(control, get, set);
  if (control.form === "optional") return optional(control, { ...bounds });
  if (control.form === "numbers") return numbers(control, get, set);
  return slider(bounds);
}

/**
 * @typedef {object} Slider
 * @property {string} title @property {string} help
 * @property {number} min @property {number} max @property {number} step
 * @property {() => number} get @property {(value: number) => void} set
 */

/** @param {Slider} of */
function slider({ title, help, min, max, step, get, set }) {
  const digits = Math.min(Math.max(0, Math.ceil(-Math.log10(step))), 5);
  const range = h("input", {
    type: "range",
    min,
    max,
    step,
    "aria-label": title,
    on: { input: () => set(Number(range.value)) },
  });
  const field = h("input", {
    type: "number",
    min,
    max,
    step,
    "aria-label": `${title}, as a number`,
    on: { change: typed },
  });
  function typed() {
    const value = Number(field.value);
    field.classList.toggle("cdi-bad", !(field.value !== "" && value >= min && value <= max));
    if (field.value !== "" && value >= min && value <= max) set(value);
    else field.title = `${title}: expected a number from ${min} to ${max}.`;
  }
  const root = h("label", { class: "cdi-knob", title: help }, h("span", {}, title), range, field);
  return {
    root,
    update: () => {
      const value = get();
      if (Number(range.value) !== value) range.value = String(value);
      if (document.activeElement !== field) {
        field.value = value.toFixed(digits);
        field.classList.remove("cdi-bad");
      }
    },
  };
}

/** @param {Control} control @param {() => any} get @param {(value: any) => void} set @param {Session} session */
function choice(control, get, set, session) {
  const usable = (/** @type {any} */ value) => control.name !== "background" || answers(session.scene, value);
  const select = h(
    "select",
    { "aria-label": control.title, on: { change: () => set(select.value) } },
    ...(control.choices ?? []).map((value) => h("option", { value, disabled: !usable(value) }, value)),
  );
  const root = h("label", { class: "cdi-knob", title: control.help }, h("span", {}, control.title), select);
  return {
    root,
    update: () => {
      select.value = get();
    },
  };
}

/** @param {Control} control @param {() => any} get @param {(value: any) => void} set */
function toggle(control, get, set) {
  const box = h("input", { type: "checkbox", on: { change: () => set(box.checked) } });
  const root = h("label", { class: "cdi-knob", title: control.help }, h("span", {}, control.title), box);
  return {
    root,
    update: () => {
      box.checked = get();
    },
  };
}

/** @param {Control} control @param {Slider} bounds */
function optional(control, bounds) {
  let likely = control.likely ?? (bounds.min + bounds.max) / 2;
  const inner = slider({ ...bounds, get: () => bounds.get() ?? likely });
  const box = h("input", {
    type: "checkbox",
    "aria-label": `${control.title} on`,
    on: { change: () => bounds.set(box.checked ? likely : null) },
  });
  inner.root.prepend(box);
  return {
    root: inner.root,
    update: () => {
      const value = bounds.get();
      if (value !== null) likely = value;
      box.checked = value !== null;
      inner.root.classList.toggle("cdi-off", value === null);
      for (const input of inner.root.querySelectorAll("input")) if (input !== box) input.disabled = value === null;
      inner.update();
    },
  };
}

/** @param {Control} control @param {() => number[]} get @param {(value: number[]) => void} set */
function numbers(control, get, set) {
  const field = h("input", { type: "text", "aria-label": control.title, on: { change: typed } });
  function typed() {
    const values = field.value
      .split(/[\s,;]+/)
      .filter(Boolean)
      .map(Number);
    const good =
      values.length > 0 &&
      values.every((value) => Number.isInteger(value) && value >= (control.min ?? 1) && value <= (control.max ?? 1e4));
    field.classList.toggle("cdi-bad", !good);
    field.title = good ? control.help : `Enter whole numbers such as ${get().join(", ")}.`;
    if (good) set([...new Set(values)]);
  }
  const root = h("label", { class: "cdi-knob", title: control.help }, h("span", {}, control.title), field);
  return {
    root,
    update: () => {
      if (document.activeElement !== field) field.value = get().join(", ");
    },
  };
}

/** What was turned, as arguments of `lab.recombine`. @param {Session} session */
export function recombination(session) {
  const { scene, state } = session,
    own = scene.background;
  // A background that is off is no label with its own words, but none at all.
  const none = state.knobs.background === "none" || state.hidden.includes(own);
  const left = scene.labels.filter((_, label) => !state.hidden.includes(label) && !(none && label === own));
  const others = left.filter((label) => label !== scene.labels[own]).length;
  const turned = {
    ...session.turned,
    ...(none && scene.knobs.background !== "none" ? { background: "none" } : {}),
    // Python refuses to keep more labels than there are.
    ...((state.knobs.keep_labels ?? 0) > others ? { keep_labels: null } : {}),
  };
  const literal = (/** @type {any} */ value) =>
    value === null
      ? "None"
      : typeof value === "boolean"
        ? value
          ? "True"
          : "False"
        : Array.isArray(value)
          ? `(${value.map((part) => JSON.stringify(part)).join(", ")}${value.length === 1 ? "," : ""})`
          : JSON.stringify(value);
  const knobs = Object.entries(turned).map(([name, value]) => `${name}=${literal(value)}`);
  const labels = state.hidden.some((label) => label !== own) ? [`labels=${JSON.stringify(left)}`] : [];
  const all = [...labels, ...knobs];
  return all.length
    ? `run = lab.recombine(\n    run,\n${all.map((part) => `    ${part},\n`).join("")})`
    : "run  # no knob was changed";
}
