// Several images of a notebook's instrument: thumbnails round the one on show.

import { h, short } from "./dom.js";

/** @typedef {{count?: number, place?: number, frames?: {place: number, title: string, source: string}[]}} Film */

/** @param {(place: number) => void} choose */
export function filmstrip(choose) {
  const root = h("nav", { class: "cdi-film", "aria-label": "Images", hidden: true });
  return {
    root,
    /** @param {Film} film */
    take({ count = 0, place = 0, frames = [] }) {
      root.hidden = count < 2;
      const within = root.contains(document.activeElement);
      root.replaceChildren(
        h("span", { class: "cdi-quiet" }, `${place + 1} of ${count}`),
        ...frames.map((frame) =>
          h(
            "button",
            {
              type: "button",
              title: `${frame.title} (press n or p for the next or previous image)`,
              "aria-current": String(frame.place === place),
              on: { click: () => choose(frame.place) },
            },
            frame.source ? h("img", { src: frame.source, alt: "" }) : null,
            h("span", {}, short(frame.title, 26)),
          ),
        ),
      );
      const shown = /** @type {HTMLElement | null} */ (root.querySelector("[aria-current=true]"));
      if (!shown) return;
      if (within) shown.focus();
      root.scrollLeft = shown.offsetLeft - (root.clientWidth - shown.offsetWidth) / 2;
    },
  };
}
