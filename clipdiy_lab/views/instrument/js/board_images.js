// The worst and the best images of a row: what was predicted, what is true, where they differ.

import { h } from "./dom.js";

/**
 * @typedef {object} Card
 * @property {number} place
 * @property {string} title
 * @property {number | null} miou
 * @property {{title: string, source: string}[]} pictures
 * @property {{name: string, color: string}[]} keys
 * @property {number} ratio width over height
 * @property {string} error
 */

/** @typedef {{row?: number, name?: string, count?: number, cards?: Card[]}} Images */

/** @param {(place: number) => void} open shows an image in the explorer */
export function rowImages(open) {
  const root = h("section", { class: "cdi-rowimages", "aria-label": "Images of a row", hidden: true });

  /** @param {Card} card */
  function figure(card) {
    const score = card.miou === null ? "nothing to score" : `${card.miou.toFixed(1)} % mIoU`;
    return h(
      "li",
      {},
      h("p", { class: "cdi-cardhead" }, h("strong", {}, card.title), h("span", { class: "cdi-number" }, score)),
      h(
        "div",
        { class: "cdi-triple" },
        ...card.pictures.map(({ title, source }) =>
          h(
            "figure",
            {},
            h("img", { src: source, alt: `${card.title}, ${title}`, style: { "aspect-ratio": String(card.ratio) } }),
            h("figcaption", {}, title),
          ),
        ),
      ),
      card.error && h("p", { class: "cdi-refused" }, card.error),
      h(
        "p",
        { class: "cdi-keys" },
        ...card.keys.map(({ name, color }) =>
          h("span", {}, h("i", { class: "cdi-swatch", style: { background: color } }), name),
        ),
      ),
      !card.error &&
        h(
          "button",
          {
            type: "button",
            class: "cdi-open",
            "aria-label": `Open ${card.title} in the explorer`,
            on: { click: () => open(card.place) },
          },
          "Open in the explorer",
        ),
    );
  }

  /** @param {string} title @param {Card[]} cards */
  const group = (title, cards) =>
    h("div", {}, h("h4", {}, title), h("ul", { class: "cdi-cards" }, ...cards.map(figure)));

  return {
    root,
    /** @param {Images} now */
    take({ row, name = "", count = 0, cards = [] }) {
      root.hidden = row === undefined;
      if (row === undefined) return root.replaceChildren();
      const all = count === cards.length;
      root.dataset.row = String(row);
      root.replaceChildren(
        h("h3", {}, `Images of ${name}`),
        h("p", { class: "cdi-quiet" }, `The first ${count} images are scored separately and ranked by their own mIoU.`),
        ...(all
          ? [group("Worst first", cards)]
          : [group("Worst", cards.slice(0, cards.length / 2)), group("Best", cards.slice(cards.length / 2).reverse())]),
      );
      root.scrollIntoView({ block: "nearest" });
    },
  };
}
