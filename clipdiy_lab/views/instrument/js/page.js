// The instrument in a page of its own: scenes lie in the page, nothing is asked of anybody.

import { h, short } from "./dom.js";
import { ALONE, instrument } from "./instrument.js";
import { unpack } from "./scene.js";
import { decode, Session } from "./session.js";

/**
 * Show the scenes of a page in an element. Its content, a picture for those without scripts, goes; where a scene cannot
 * be shown it stays, and a sentence says why.
 * @param {HTMLElement} element
 * @param {any[]} packed
 */
export function show(element, packed) {
  try {
    packed.forEach(unpack);
    build(element, packed);
  } catch (error) {
    element.append(h("p", { role: "alert" }, error instanceof Error ? error.message : String(error)));
  }
}

/** @param {HTMLElement} element @param {any[]} packed */
function build(element, packed) {
  const [, place, text] = /^#(\d+)=(.*)$/.exec(location.hash) ?? [];
  /** @type {Map<number, Session>} */
  const sessions = new Map();
  /** @type {ReturnType<typeof instrument> | null} */
  let shown = null;
  let at = Math.min(Number(place ?? 0), packed.length - 1);
  const strip = film(packed, (to) => turn(to - at));
  const stand = h("div");

  /** @param {number} number */
  function session(number) {
    let found = sessions.get(number);
    if (!found) {
      const scene = unpack(packed[number]);
      const given = text && Number(place) === number ? decode(text, scene) : {};
      sessions.set(number, (found = new Session(scene, given)));
    }
    return found;
  }

  /** @param {number} step */
  function turn(step) {
    const before = session(at);
    at = (at + step + packed.length) % packed.length;
    const now = session(at);
    if (now !== before) carry(before, now);
    if (shown) shown.close();
    shown = instrument(now, {
      ...ALONE,
      link: () => `${location.href.split("#")[0]}#${at}=${shown ? shown.address : ""}`,
      turn: packed.length > 1 ? turn : null,
    });
    stand.replaceChildren(shown.root);
    strip.mark(at);
  }

  element.replaceChildren(...(packed.length > 1 ? [strip.root] : []), stand);
  turn(0);
}

/** Take knobs and view along to another image, as far as it knows them. @param {Session} from @param {Session} to */
function carry(from, to) {
  const same =
    JSON.stringify(from.scene.grids.map(({ name }) => name)) === JSON.stringify(to.scene.grids.map(({ name }) => name));
  const { view, opacity, palette, knobs, hidden } = from.state;
  const alike = JSON.stringify(from.scene.labels) === JSON.stringify(to.scene.labels);
  to.change({ view, opacity, palette, ...(same ? { knobs } : {}), ...(alike ? { hidden } : {}) });
}

/** @param {any[]} packed @param {(to: number) => void} choose */
function film(packed, choose) {
  const frames = packed.map((scene, at) =>
    h(
      "button",
      { type: "button", title: scene.title, on: { click: () => choose(at) } },
      h("img", { src: scene.photograph, alt: "", loading: "lazy" }),
      h("span", {}, short(scene.title, 22)),
    ),
  );
  return {
    root: h("nav", { class: "cdi-film", "aria-label": "Images" }, ...frames),
    mark: (/** @type {number} */ at) =>
      frames.forEach((frame, place) => frame.setAttribute("aria-current", String(place === at))),
  };
}
