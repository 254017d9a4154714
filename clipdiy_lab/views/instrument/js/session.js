// What is chosen, with its history; everything that is drawn listens to it.

import { Engine } from "./engine.js";
import { labelColors, PALETTES } from "./palettes.js";
import { answers, competes } from "./scene.js";

/** @typedef {import("./scene.js").Scene} Scene */
/** @typedef {import("./scene.js").Knobs} Knobs */

/**
 * Everything that somebody may choose.
 * @typedef {object} State
 * @property {Knobs} knobs
 * @property {number[]} hidden labels that are off
 * @property {number[]} order of the labels in the legend
 * @property {string} view name of what is shown
 * @property {number} label of the views that show one
 * @property {number | null} cut score above which a pixel is marked in the view of one label
 * @property {[number, number] | null} pixel that is pinned, row and column of the frame
 * @property {[number, number, number, number] | null} region top, left, bottom and right, the last two excluded
 * @property {number} opacity of the labels over the photograph
 * @property {string} palette
 */

/** Changes of one thing within this time are one step of the history, milliseconds. */
const ONE_STEP = 700;
const MOST_STEPS = 200;

export class Session {
  /** @param {Scene} scene @param {Partial<State>} [start] */
  constructor(scene, start = {}) {
    this.scene = scene;
    this.engine = new Engine(scene);
    /** @type {State} */
    this.first = {
      knobs: scene.knobs,
      hidden: [],
      order: scene.labels.map((_, label) => label),
      view: "labels",
      label: 0,
      cut: null,
      pixel: null,
      region: null,
      opacity: 0.65,
      palette: "lab",
    };
    const pixel = telling(scene, this.engine);
    const label = pixel
      ? this.engine.decide({ ...scene.knobs, refine: "none" }, new Set()).labels[pixel[0] * scene.width + pixel[1]]
      : 0;
    /** What is shown before anything is chosen: a pixel is taken apart already. @type {State} */
    this.start = { ...this.first, pixel, label };
    /** @type {State} */
    this.state = { ...this.start, ...start };
    /** @type {State[]} */
    this.past = [];
    /** @type {State[]} */
    this.future = [];
    this.last = { what: "", when: 0 };
    /** Whether the picture is drawn without its refinement, until that has been computed. */
    this.rough = false;
    /** @type {Set<(state: State, before: State) => void>} */
    this.listeners = new Set();
  }

  /** @param {(state: State, before: State) => void} listener @returns {() => void} takes it away again */
  listen(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** @param {Partial<State>} patch */
  change(patch) {
    const now = /** @type {any} */ (this.state);
    if (Object.entries(patch).every(([name, value]) => JSON.stringify(value) === JSON.stringify(now[name]))) return;
    const what = Object.keys(patch).join();
    const when = performance.now();
    if (what !== this.last.what || when - this.last.when > ONE_STEP) {
      this.past = [...this.past.slice(-MOST_STEPS), this.state];
    }
    this.last = { what, when };
    this.future = [];
    this.enter({ ...this.state, ...patch });
  }

  /** @param {Partial<Knobs>} knobs */
  turn(knobs) {
    this.change({ knobs: { ...this.state.knobs, ...knobs } });
  }

  /** Turn the paper's knobs, but for a background that this scene has no texts for. */
  paper() {
    const { background, ...rest } = this.scene.paper;
    this.turn(background && answers(this.scene, background) ? { ...rest, background } : rest);
  }

  undo() {
    this.step(this.past, this.future);
  }

  redo() {
    this.step(this.future, this.past);
  }

  reset() {
    this.change({ ...this.first, view: this.state.view, pixel: this.state.pixel, label: this.state.label });
    this.last.what = "";
  }

  /** @param {State[]} from @param {State[]} to */
  step(from, to) {
    const state = from.pop();
    if (!state) return;
    to.push(this.state);
    this.last.what = "";
    this.enter(state);
  }

  /** @param {State} state */
  enter(state) {
    const before = this.state;
    this.state = state;
    for (const listener of [...this.listeners]) listener(state, before);
  }

  get hidden() {
    return new Set(this.state.hidden);
  }

  /** Colours of the labels. @returns {string[]} */
  get colors() {
    return labelColors(this.state.palette, this.scene);
  }

  /** Knobs as they are drawn now. @returns {Knobs} */
  get knobs() {
    return this.rough ? { ...this.state.knobs, refine: "none" } : this.state.knobs;
  }

  /** Labels and margins now, or of another state. @param {State} [state] */
  decision(state) {
    return state ? this.engine.decide(state.knobs, new Set(state.hidden)) : this.engine.decide(this.knobs, this.hidden);
  }

  /** Pixels that the inspector looks at: the region, else the pinned pixel. @returns {number[]} */
  get focus() {
    const { pixel, region } = this.state,
      { width } = this.scene;
    if (!region) return pixel ? [pixel[0] * width + pixel[1]] : [];
    const [top, left, bottom, right] = region;
    return Array.from(
      { length: (bottom - top) * (right - left) },
      (_, at) => (top + Math.floor(at / (right - left))) * width + left + (at % (right - left)),
    );
  }

  /** What differs from the beginning. @returns {Partial<State>} */
  get changed() {
    const found = /** @type {any} */ ({});
    for (const [name, value] of Object.entries(this.state)) {
      if (JSON.stringify(value) !== JSON.stringify(/** @type {any} */ (this.first)[name])) found[name] = value;
    }
    return found;
  }

  /** Knobs that differ from those that the scene came with. @returns {Partial<Knobs>} */
  get turned() {
    const first = /** @type {any} */ (this.scene.knobs);
    return /** @type {any} */ (
      Object.fromEntries(
        Object.entries(this.state.knobs).filter(
          ([name, value]) => JSON.stringify(value) !== JSON.stringify(first[name]),
        ),
      )
    );
  }
}

/**
 * The pixel that an instrument begins with: of the largest label that is not background, the one nearest its middle.
 * @param {Scene} scene
 * @param {Engine} engine
 * @returns {[number, number] | null}
 */
function telling(scene, engine) {
  const { labels } = engine.decide({ ...scene.knobs, refine: "none" }, new Set());
  const places = /** @type {Map<number, number[]>} */ (new Map());
  labels.forEach((label, at) => {
    if (label === scene.background) return;
    const found = places.get(label);
    if (found) found.push(at);
    else places.set(label, [at]);
  });
  const [largest] = [...places.values()].sort((one, other) => other.length - one.length);
  if (!largest) return null;
  const split = (/** @type {number} */ at) => [Math.floor(at / scene.width), at % scene.width];
  const middle = largest
    .map(split)
    .reduce(([y, x], at) => [y + at[0] / largest.length, x + at[1] / largest.length], [0, 0]);
  const away = (/** @type {number[]} */ at) => (at[0] - middle[0]) ** 2 + (at[1] - middle[1]) ** 2;
  return /** @type {[number, number]} */ (largest.map(split).reduce((best, at) => (away(at) < away(best) ? at : best)));
}

/**
 * A state as text for an address, and back. A text that is none gives nothing.
 * @param {Partial<State>} changed
 */
export function encode(changed) {
  return encodeURIComponent(JSON.stringify(changed));
}

/** @param {string} text @param {Scene} scene @returns {Partial<State>} */
export function decode(text, scene) {
  try {
    const state = JSON.parse(decodeURIComponent(text));
    return state && typeof state === "object" && !Array.isArray(state) ? sensible(state, scene) : {};
  } catch {
    return {};
  }
}

/** Keep what makes sense for a scene: an address may be of another page. @param {any} state @param {Scene} scene @returns {Partial<State>} */
function sensible(state, scene) {
  const found = /** @type {any} */ ({});
  const { height, width } = scene,
    labels = scene.labels.length;
  const whole = (/** @type {any} */ value, /** @type {number} */ low, /** @type {number} */ high) =>
    Number.isInteger(value) && value >= low && value <= high;
  const known = (/** @type {any} */ label) => whole(label, 0, labels - 1);
  const { hidden, order, view, label, cut, pixel, region, opacity, palette, knobs } = state;
  if (Array.isArray(hidden) && hidden.every(known) && competes(scene, hidden)) found.hidden = [...new Set(hidden)];
  if (Array.isArray(order) && order.every(known) && order.length === labels && new Set(order).size === labels)
    found.order = order;
  if (typeof view === "string") found.view = view;
  if (known(label)) found.label = label;
  if (Number.isFinite(cut)) found.cut = cut;
  if (Array.isArray(pixel) && whole(pixel[0], 0, height - 1) && whole(pixel[1], 0, width - 1))
    found.pixel = [pixel[0], pixel[1]];
  if (Array.isArray(region)) {
    const [top, left, bottom, right] = region;
    const inside = whole(top, 0, height - 1) && whole(left, 0, width - 1);
    if (inside && whole(bottom, top + 1, height) && whole(right, left + 1, width))
      Object.assign(found, { region: [top, left, bottom, right], pixel: null });
  }
  if (typeof opacity === "number") found.opacity = Math.min(Math.max(opacity, 0), 1);
  if (typeof palette === "string" && Object.hasOwn(PALETTES, palette)) found.palette = palette;
  if (knobs && typeof knobs === "object") found.knobs = { ...scene.knobs, ...fitting(knobs, scene) };
  return found;
}

/** The knobs that a control could have been turned to. @param {any} given @param {Scene} scene @returns {Partial<Knobs>} */
function fitting(given, scene) {
  const found = /** @type {any} */ ({});
  for (const control of scene.controls) {
    const value = given[control.name];
    if (value !== undefined && fits(control, value)) found[control.name] = value;
  }
  if (found.background && !answers(scene, found.background)) delete found.background;
  if (given.weights && typeof given.weights === "object") {
    const weights = scene.grids
      .map(({ name }) => [name, given.weights[name]])
      .filter(([, weight]) => Number.isFinite(weight) && weight >= 0);
    found.weights = { ...scene.knobs.weights, ...Object.fromEntries(weights) };
  }
  return found;
}

/** Whether a knob can have a value. @param {import("./controls.js").Control} control @param {any} value @returns {boolean} */
function fits({ form, choices, min = 0, max = 1 }, value) {
  const within = (/** @type {any} */ one) => typeof one === "number" && one >= min && one <= max;
  if (form === "choice") return (choices ?? []).includes(value);
  if (form === "switch") return typeof value === "boolean";
  if (form === "optional") return value === null || within(value);
  if (form === "count") return Number.isInteger(value) && within(value);
  if (form === "numbers") {
    const count = (/** @type {any} */ one) => Number.isInteger(one) && within(one);
    return Array.isArray(value) && value.length > 0 && value.every(count);
  }
  return within(value);
}
