// What is chosen, with its history; everything that is drawn listens to it.

import { Engine } from "./engine.js";
import { labelColors } from "./palettes.js";

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
    /** @type {State} */
    this.state = { ...this.first, pixel, label, ...start };
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
    const what = Object.keys(patch).join();
    const now = performance.now();
    if (what !== this.last.what || now - this.last.when > ONE_STEP) {
      this.past = [...this.past.slice(-MOST_STEPS), this.state];
    }
    this.last = { what, when: now };
    this.future = [];
    this.enter({ ...this.state, ...patch });
  }

  /** @param {Partial<Knobs>} knobs */
  turn(knobs) {
    this.change({ knobs: { ...this.state.knobs, ...knobs } });
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
  const labels = scene.labels.length;
  const known = (/** @type {any} */ label) => Number.isInteger(label) && label >= 0 && label < labels;
  if (Array.isArray(state.hidden)) found.hidden = state.hidden.filter(known);
  if (Array.isArray(state.order) && new Set(state.order.filter(known)).size === labels) found.order = state.order;
  if (typeof state.view === "string") found.view = state.view;
  if (known(state.label)) found.label = state.label;
  const inside = (/** @type {any} */ at) =>
    Number.isInteger(at[0]) &&
    Number.isInteger(at[1]) &&
    at[0] >= 0 &&
    at[1] >= 0 &&
    at[0] < scene.height &&
    at[1] < scene.width;
  if (Array.isArray(state.pixel) && inside(state.pixel)) found.pixel = state.pixel;
  if (typeof state.opacity === "number") found.opacity = Math.min(Math.max(state.opacity, 0), 1);
  if (state.knobs && typeof state.knobs === "object") {
    const first = /** @type {any} */ (scene.knobs);
    const alike = (/** @type {string} */ name) =>
      name in first &&
      (first[name] === null || state.knobs[name] === null || typeof state.knobs[name] === typeof first[name]);
    found.knobs = { ...first, ...Object.fromEntries(Object.entries(state.knobs).filter(([name]) => alike(name))) };
  }
  return found;
}
