// What is chosen, taken along when a scene is replaced by another: new labels, grids, or another image.

import { answers, competes } from "./scene.js";
import { Session } from "./session.js";

/** @typedef {import("./scene.js").Scene} Scene */
/** @typedef {import("./session.js").State} State */

/**
 * What the kernel knows of the choice.
 * @typedef {object} Chosen
 * @property {Partial<import("./scene.js").Knobs>} knobs
 * @property {string[]} hidden
 * @property {[number, number] | null} pixel
 * @property {number} opacity
 * @property {string} panel
 */

/** @param {Session} session @returns {Chosen} */
export function chosenOf({ state, scene }) {
  const { knobs, pixel, opacity, view } = state;
  return { knobs, pixel, opacity, panel: view, hidden: state.hidden.map((label) => scene.labels[label]) };
}

/**
 * What of a choice the kernel has not heard. Only that is sent: the rest may have been changed in Python meanwhile.
 * @param {Chosen} here
 * @param {Chosen} told
 * @returns {Partial<Chosen>}
 */
export function newsOf(here, told) {
  const fresh = (/** @type {any} */ mine, /** @type {any} */ theirs) =>
    Object.fromEntries(
      Object.entries(mine).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(theirs[name])),
    );
  const knobs = fresh(here.knobs, told.knobs);
  const { knobs: _, ...rest } = fresh(here, told);
  return Object.keys(knobs).length ? { ...rest, knobs } : rest;
}

/**
 * What was chosen here since the kernel last heard of it, over what the kernel says.
 * @param {Chosen} here
 * @param {Chosen} told what the kernel heard last
 * @param {Chosen} kernel
 * @returns {Chosen}
 */
export function merged(here, told, kernel) {
  const differs = (/** @type {any} */ one, /** @type {any} */ other) => JSON.stringify(one) !== JSON.stringify(other);
  const over = (/** @type {any} */ mine, /** @type {any} */ theirs, /** @type {any} */ was) =>
    Object.fromEntries(
      Object.keys(theirs).map((name) => [
        name,
        name in mine && differs(mine[name], was[name]) ? mine[name] : theirs[name],
      ]),
    );
  return /** @type {Chosen} */ (
    /** @type {any} */ ({ ...over(here, kernel, told), knobs: over(here.knobs, kernel.knobs, told.knobs) })
  );
}

/**
 * A choice as part of a state.
 * @param {Chosen} chosen
 * @param {Scene} scene
 * @returns {Partial<State>}
 */
export function stateOf({ knobs, hidden, pixel, opacity, panel }, scene) {
  const all = { ...scene.knobs, ...knobs };
  const weights = Object.fromEntries(
    scene.grids.map(({ name }) => [name, all.weights[name] ?? scene.knobs.weights[name] ?? 1]),
  );
  return {
    knobs: { ...all, weights },
    hidden: numbers(hidden, scene),
    opacity,
    view: panel,
    ...(inside(pixel, scene) ? { pixel } : {}),
  };
}

/**
 * A session of another scene that looks as the one before, with its history where the image is the same.
 * @param {Session} before
 * @param {Scene} scene
 * @param {Chosen} chosen
 */
export function carried(before, scene, chosen) {
  const moved = move(before.state, before.scene, scene);
  const same = before.scene.title === scene.title && before.scene.photograph === scene.photograph;
  const start = { ...moved, ...stateOf(chosen, scene) };
  if (!same) {
    delete start.region;
    delete start.pixel;
  }
  const session = new Session(scene, start);
  if (same) {
    session.past = before.past.map((state) => ({ ...session.first, ...move(state, before.scene, scene) }));
    session.future = before.future.map((state) => ({ ...session.first, ...move(state, before.scene, scene) }));
  }
  return session;
}

/** A state of one scene as far as another knows its labels and grids. @param {State} state @param {Scene} from @param {Scene} to @returns {Partial<State>} */
export function move(state, from, to) {
  const names = (/** @type {number[]} */ labels) => labels.map((label) => from.labels[label]);
  const order = numbers(names(state.order), to);
  const natural = state.order.every((label, at) => label === at);
  const rest = to.labels.map((_, label) => label).filter((label) => !order.includes(label));
  const { cut, region, palette, opacity, view, pixel } = state;
  const weights = Object.fromEntries(
    to.grids.map(({ name }) => [name, state.knobs.weights[name] ?? to.knobs.weights[name] ?? 1]),
  );
  const hidden = numbers(names(state.hidden), to);
  const { background } = answers(to, state.knobs.background) ? state.knobs : to.knobs;
  return {
    cut,
    palette,
    opacity,
    view,
    hidden: competes(to, hidden) ? hidden : [],
    label: Math.max(0, to.labels.indexOf(from.labels[state.label])),
    knobs: { ...state.knobs, background, weights },
    ...(inside(pixel, to) ? { pixel } : {}),
    ...(region && region[2] <= to.height && region[3] <= to.width ? { region } : {}),
    ...(natural ? {} : { order: [...order, ...rest] }),
  };
}

/** @param {string[]} names @param {Scene} scene */
function numbers(names, scene) {
  return names.map((name) => scene.labels.indexOf(name)).filter((label) => label >= 0);
}

/** @param {[number, number] | null} pixel @param {Scene} scene */
function inside(pixel, scene) {
  return pixel !== null && pixel[0] < scene.height && pixel[1] < scene.width;
}
