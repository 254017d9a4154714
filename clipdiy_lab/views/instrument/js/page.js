// The instrument in a page of its own: scenes lie in the page, nothing is asked of anybody.

import { move } from "./carry.js";
import { h, short } from "./dom.js";
import { ALONE, instrument } from "./instrument.js";
import { unpack } from "./scene.js";
import { decode, Session } from "./session.js";
import { follow } from "./theme.js";

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
  /** @type {Map<number, Session>} */
  const sessions = new Map();
  /** @type {ReturnType<typeof instrument> | null} */
  let shown = null;
  let at = 0;
  const strip = film(packed, (to) => turn(to - at));
  const stand = h("div");

  /** @param {number} number */
  function session(number) {
    let found = sessions.get(number);
    if (!found) sessions.set(number, (found = new Session(unpack(packed[number]))));
    return found;
  }

  /**
   * Show another image with what was turned and chosen here, as far as it knows it; what nobody turned stays as its run
   * was made.
   * @param {number} step
   */
  function turn(step) {
    const to = (at + step + packed.length) % packed.length;
    if (to !== at) {
      const from = session(at),
        { scene } = session(to);
      const { knobs, pixel: _, region: __, ...rest } = move(from.state, from.scene, scene);
      const turned = Object.entries(knobs ?? {}).filter(([name]) => name in from.turned);
      session(to).change({ ...rest, knobs: { ...scene.knobs, ...Object.fromEntries(turned) } });
    }
    show(to);
  }

  /** @param {number} number */
  function show(number) {
    at = number;
    if (shown) shown.close();
    shown = instrument(session(at), {
      ...ALONE,
      kept: shown ? shown.kept : null,
      link: () => `${location.href.split("#")[0]}#${at}=${shown ? shown.address : ""}`,
      turn: packed.length > 1 ? turn : null,
    });
    stand.replaceChildren(shown.root);
    strip.mark(at);
  }

  /** Show what the address asks for, if it does. */
  function open() {
    const [, place, text] = /^#(\d+)=(.*)$/.exec(location.hash) ?? [];
    if (place === undefined) return false;
    const number = Math.min(Number(place), packed.length - 1);
    const now = session(number);
    if (number === Number(place)) now.change({ ...now.start, ...decode(text, now.scene) });
    show(number);
    return true;
  }

  element.replaceChildren(...(packed.length > 1 ? [strip.root] : []), stand);
  follow(element);
  if (!open()) show(0);
  window.addEventListener("hashchange", open);
}

/** @param {any[]} packed @param {(to: number) => void} choose */
function film(packed, choose) {
  const frames = packed.map((scene, at) =>
    h(
      "button",
      { type: "button", title: scene.title, on: { click: () => choose(at) } },
      h("img", { src: scene.photograph, alt: "" }),
      h("span", {}, short(scene.title, 22)),
    ),
  );
  return {
    root: h("nav", { class: "cdi-film", "aria-label": "Images" }, ...frames),
    mark: (/** @type {number} */ at) =>
      frames.forEach((frame, place) => frame.setAttribute("aria-current", String(place === at))),
  };
}
