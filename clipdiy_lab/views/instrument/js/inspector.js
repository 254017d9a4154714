// Why these pixels: who wins, by how much, which grid and which crops say so, and what would change it.

import { h, number, quoted, short, signed } from "./dom.js";
import { place, voters } from "./votes.js";

/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./engine.js").Story} Story */
/** @typedef {import("./parts.js").Part} Part */

const ROWS = 6;
const CROPS = 8;

/**
 * @param {Session} session
 * @param {HTMLImageElement} photograph
 * @param {{point: (part: Part | null) => void}} heard a crop under the pointer
 */
export function inspector(session, photograph, heard) {
  const root = h("section", { class: "cdi-inspector", "aria-label": "Why this pixel", "aria-live": "polite" });

  const update = () => {
    const pixels = session.focus;
    if (!pixels.length) {
      root.replaceChildren(invitation());
      return;
    }
    const story = session.engine.story(session.state.knobs, session.hidden, pixels);
    const parts = voters(session, pixels, story.winner);
    root.replaceChildren(
      headline(session, story),
      h("ul", { class: "cdi-story" }, ...sentences(session, story).map((text) => h("li", {}, text))),
      heading("Contribution of each grid"),
      bars(session, story),
      ...crops(session, parts, photograph, heard, story.winner),
    );
  };
  return { root, update };
}

function invitation() {
  return h(
    "div",
    { class: "cdi-invitation" },
    h("h3", {}, "Why this pixel?"),
    h(
      "p",
      {},
      "Click the picture to explain a pixel: its score is exactly the sum of the contributions of the windows. The arrow keys move the point; drag to select a region.",
    ),
    h(
      "p",
      {},
      "The windows that contribute to the pixel under the pointer are drawn on the picture; a stronger line means a larger contribution.",
    ),
  );
}

/** @param {string} text */
function heading(text) {
  return h("h4", {}, text);
}

/** @param {Session} session @param {number} label */
function swatch(session, label) {
  return h("span", { class: "cdi-swatch", style: { background: session.colors[label] } });
}

/** @param {Session} session @param {Story} story */
function headline(session, story) {
  const { labels } = session.scene,
    { region, pixel } = session.state;
  const where = region
    ? `mean of ${(region[2] - region[0]) * (region[3] - region[1])} pixels`
    : pixel
      ? `row ${pixel[0]}, column ${pixel[1]} of the frame`
      : "";
  return h(
    "div",
    { class: "cdi-headline" },
    h(
      "div",
      { class: "cdi-winner" },
      swatch(session, story.winner),
      h("strong", { title: labels[story.winner] }, short(labels[story.winner], 40)),
      h("span", { class: "cdi-number" }, number(story.scores[0], 4)),
    ),
    h(
      "p",
      {},
      story.runnerUp < 0
        ? "There is no other label."
        : `${number(story.margin, 4)} ahead of ${quoted(labels[story.runnerUp])}`,
      h("span", { class: "cdi-quiet" }, ` \u00b7 ${where}`),
    ),
  );
}

/** @param {Session} session @param {Story} story @returns {string[]} */
function sentences(session, story) {
  const { grids, labels } = session.scene,
    found = [];
  if (story.runnerUp >= 0 && grids.length > 1 && story.byGrid[0].length && story.byGrid[1].length) {
    const lead = grids.map((grid, at) => ({ title: grid.title, value: story.byGrid[0][at] - story.byGrid[1][at] }));
    lead.sort((one, other) => other.value - one.value);
    const against = lead[lead.length - 1];
    found.push(
      `The grid ${lead[0].title} contributes most of the lead (${signed(lead[0].value, 4)})` +
        (against.value < 0
          ? `; ${against.title} favours ${quoted(labels[story.runnerUp])} (${signed(against.value, 4)}).`
          : "."),
    );
  }
  if (story.saliency !== null && session.engine.guided(session.state.knobs, session.hidden)) {
    const below = story.threshold;
    const digits = below === null ? 2 : apart(story.saliency, below);
    const here = `Saliency is ${number(story.saliency, digits)} here`;
    found.push(
      below === null
        ? `${here}.`
        : below <= 0
          ? `${here}; it would not be background at any saliency.`
          : below >= 1
            ? `${here}; it would be background at any saliency.`
            : `${here}; below ${number(below, digits)} it would be background.`,
    );
  }
  if (session.engine.guided(session.state.knobs, session.hidden)) {
    const now = session.state.knobs.saliency_weight;
    found.push(
      story.flip
        ? `${story.flip.change < 0 ? "Below" : "Above"} a saliency weight of ${number(now + story.flip.change, 3)} (now ${number(now, 2)}), ${quoted(labels[story.flip.rival])} would win.`
        : "No saliency weight from 0 to 1 changes the label.",
    );
  }
  const turned = story.without
    .map((label, at) => ({ label, title: grids[at].title }))
    .filter(({ label }) => label !== story.winner);
  if (grids.length > 1 && story.without.length) {
    found.push(
      turned.length
        ? turned.map(({ label, title }) => `Without ${title} it would be ${quoted(labels[label])}.`).join(" ")
        : "Leaving out any one grid would not change the label.",
    );
  }
  return found;
}

/** @param {Session} session @param {Story} story */
function bars(session, story) {
  const { grids, labels } = session.scene;
  const most = Math.max(...story.scores.slice(0, ROWS).map(Math.abs), 1e-9);
  const head = h(
    "tr",
    {},
    h("th", { scope: "col" }, "label"),
    ...grids.map((grid) => h("th", { scope: "col" }, grid.title)),
    h("th", { scope: "col" }, "score"),
  );
  const rows = story.labels.slice(0, ROWS).map((label, at) => {
    const parts = story.byGrid[at];
    const bar = h(
      "div",
      { class: "cdi-bar", "aria-hidden": "true" },
      ...(parts.length ? parts : [story.scores[at]]).map((part, grid, all) =>
        h("i", {
          style: {
            width: `${Math.max(0, (100 * part) / most)}%`,
            background: session.colors[label],
            opacity: String(1 - (0.6 * grid) / Math.max(all.length - 1, 1)),
          },
        }),
      ),
    );
    return h(
      "tr",
      { class: label === story.winner ? "cdi-first" : "" },
      h(
        "th",
        { scope: "row", title: labels[label] },
        h("div", { class: "cdi-name" }, swatch(session, label), h("span", {}, short(labels[label], 20))),
        bar,
      ),
      ...(parts.length ? parts.map((part) => h("td", {}, number(part, 4))) : grids.map(() => h("td", {}, "\u2013"))),
      h("td", { class: "cdi-sum" }, number(story.scores[at], 4)),
    );
  });
  return h(
    "div",
    { class: "cdi-scroll", tabindex: "0", role: "group", "aria-label": "Table of contributions" },
    h("table", {}, h("thead", {}, head), h("tbody", {}, ...rows)),
  );
}

/**
 * @param {Session} session
 * @param {Part[]} parts
 * @param {HTMLImageElement} photograph
 * @param {{point: (part: Part | null) => void}} heard
 * @param {number} label
 */
function crops(session, parts, photograph, heard, label) {
  if (!parts.length) {
    return [
      h(
        "p",
        { class: "cdi-quiet" },
        "This score is computed from the scores of the other labels, so it cannot be split into windows.",
      ),
    ];
  }
  const shown = parts.slice(0, CROPS).map((part) => {
    const grid = session.scene.grids[part.grid];
    const title = `${grid.title}, row ${part.row}, column ${part.col}: weight ${number(part.interpolation * part.share, 3)} \u00d7 cosine ${number(part.cosine, 3)} \u00d7 saliency ${number(part.factor, 2)}`;
    return h(
      "figure",
      { title, on: { pointerenter: () => heard.point(part), pointerleave: () => heard.point(null) } },
      crop(session, part, photograph),
      h("figcaption", {}, h("b", {}, number(part.contribution, 4)), h("span", {}, grid.title)),
    );
  });
  const rest = parts.slice(CROPS).reduce((sum, part) => sum + part.contribution, 0);
  return [
    heading(`Crops that support ${quoted(session.scene.labels[label])}`),
    h("div", { class: "cdi-crops" }, ...shown),
    h(
      "p",
      { class: "cdi-quiet" },
      parts.length > CROPS
        ? `${parts.length - CROPS} more contribute ${number(rest, 4)}; together they sum to the score.`
        : "They sum to the score.",
    ),
  ];
}

/** @param {Session} session @param {Part} part @param {HTMLImageElement} photograph */
function crop(session, part, photograph) {
  const side = 96,
    canvas = h("canvas", { width: side, height: side, role: "img", "aria-label": "crop" });
  const { top, left, height, width } = place(session, part);
  const down = photograph.naturalHeight / session.scene.height,
    across = photograph.naturalWidth / session.scene.width;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  if (photograph.complete && photograph.naturalWidth) {
    context.drawImage(photograph, left * across, top * down, width * across, height * down, 0, 0, side, side);
  }
  return canvas;
}

/** Digits after the point, 2 to 4, that tell two numbers apart. @param {number} one @param {number} other */
function apart(one, other) {
  return [2, 3].find((digits) => one.toFixed(digits) !== other.toFixed(digits)) ?? 4;
}
