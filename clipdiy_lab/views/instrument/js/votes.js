// The windows and patches that vote at some pixels, as boxes on the picture and as a list of crops.

/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./parts.js").Part} Part */
/** @typedef {import("./picture.js").Box} Box */

/** Votes that are drawn at once; a refined pixel or a region has hundreds of small ones. */
const MOST = 60;

/**
 * The parts of a label's score, the largest first.
 * @param {Session} session
 * @param {number[]} pixels
 * @param {number} label
 * @returns {Part[]}
 */
export function voters(session, pixels, label) {
  const found = session.engine.parts(session.state.knobs, session.hidden, pixels, label) ?? [];
  return found
    .filter((part) => part.contribution !== 0)
    .sort((one, other) => Math.abs(other.contribution) - Math.abs(one.contribution));
}

/**
 * Boxes of votes: the opacity of a box is its share of the largest weight.
 * @param {Session} session
 * @param {Part[]} parts
 * @param {string} color
 * @returns {Box[]}
 */
export function boxes(session, parts, color) {
  const weights = parts.map((part) => Math.abs(part.interpolation * part.share));
  const most = Math.max(...weights, 1e-12);
  return parts
    .slice(0, MOST)
    .map((part, at) => ({ ...place(session, part), opacity: 0.15 + (0.85 * weights[at]) / most, color }));
}

/** Where a cell lies on the frame. @param {Session} session @param {Part} part */
export function place(session, part) {
  const grid = session.scene.grids[part.grid];
  return { top: grid.tops[part.row], left: grid.lefts[part.col], height: grid.window, width: grid.window };
}
