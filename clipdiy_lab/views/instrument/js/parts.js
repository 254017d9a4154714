// Exact decomposition of a score: the contribution of every cell of every grid. As `explain.pixel` and `explain.region`.

import { factors, share } from "./fuse.js";

/** @typedef {import("./scene.js").Scene} Scene */
/** @typedef {import("./scene.js").Knobs} Knobs */
/** @typedef {import("./fuse.js").Layout} Layout */

/**
 * Share of every pixel's fused score in a score: of one pixel, of its refined score, or of a region's mean.
 * @typedef {Map<number, number>} Shares
 */

/**
 * What every cell weighs in a score, for labels and for the background, with saliency and without.
 * @typedef {object} Reading
 * @property {Float64Array[]} plain of each grid, rows x cols: its interpolation weight
 * @property {Float64Array[]} onLabel that times the factor of saliency
 * @property {Float64Array[]} onBackground the same for the background
 */

/**
 * @param {Scene} scene
 * @param {Knobs} knobs
 * @param {Layout} plan
 * @param {Shares} shares
 * @param {number} background index, -1: none
 * @returns {Reading}
 */
export function read(scene, knobs, plan, shares, background) {
  const of = factors(scene, knobs, background);
  const label = new Map(),
    other = new Map();
  for (const [pixel, value] of shares) {
    const [onLabel, onBackground] = of(pixel);
    label.set(pixel, value * onLabel);
    other.set(pixel, value * onBackground);
  }
  const [plain, onLabel, onBackground] = [shares, label, other].map((values) => cellWeights(scene, plan, values));
  return { plain, onLabel, onBackground };
}

/**
 * Weight of every cell in a weighted sum of pixels.
 * @param {Scene} scene
 * @param {Layout} plan
 * @param {Shares} shares
 * @returns {Float64Array[]} of each grid, rows x cols
 */
function cellWeights(scene, plan, shares) {
  return scene.grids.map((grid, index) => {
    const down = plan.downs[index],
      across = plan.acrosses[index];
    const half = new Map();
    for (const [pixel, value] of shares) {
      const y = Math.floor(pixel / scene.width),
        x = pixel % scene.width;
      let row = half.get(y);
      if (!row) half.set(y, (row = new Float64Array(grid.cols)));
      for (let col = 0; col < grid.cols; col++) row[col] += value * across[x * grid.cols + col];
    }
    const found = new Float64Array(grid.rows * grid.cols);
    for (const [y, values] of half) {
      for (let row = 0; row < grid.rows; row++) {
        const weight = down[y * grid.rows + row];
        if (weight === 0) continue;
        for (let col = 0; col < grid.cols; col++) found[row * grid.cols + col] += weight * values[col];
      }
    }
    return found;
  });
}

/**
 * One cell's part of a score: the product of its four numbers.
 * @typedef {object} Part
 * @property {number} grid
 * @property {number} row
 * @property {number} col
 * @property {number} interpolation
 * @property {number} cosine
 * @property {number} share the grid's weight over the number of grids
 * @property {number} factor of saliency
 * @property {number} contribution
 */

/**
 * The parts of one label's score; they sum to it.
 * @param {Scene} scene
 * @param {Knobs} knobs
 * @param {Reading} reading
 * @param {number} label
 * @param {boolean} isBackground
 * @returns {Part[]}
 */
export function parts(scene, knobs, reading, label, isBackground) {
  const guided = isBackground ? reading.onBackground : reading.onLabel;
  return scene.grids.flatMap((grid, index) => {
    const weight = share(scene, knobs, grid);
    const found = [];
    for (let cell = 0; cell < grid.rows * grid.cols; cell++) {
      const interpolation = reading.plain[index][cell];
      if (interpolation === 0) continue;
      const cosine = grid.similarity[cell * scene.labels.length + label];
      found.push({
        grid: index,
        row: Math.floor(cell / grid.cols),
        col: cell % grid.cols,
        interpolation,
        cosine,
        share: weight,
        factor: guided[index][cell] / interpolation,
        contribution: guided[index][cell] * cosine * weight,
      });
    }
    return found;
  });
}

/**
 * What each grid adds to each label's score, with saliency at weight 0 and at weight 1.
 * @param {Scene} scene
 * @param {Knobs} knobs
 * @param {Layout} plan
 * @param {Shares} shares
 * @param {{labels: number[], background: number}} among
 * @returns {{plain: Float64Array[], guided: Float64Array[], now: Float64Array[]}} of each grid, in the labels' order
 */
export function gridScores(scene, knobs, plan, shares, among) {
  const whole = read(scene, { ...knobs, saliency_weight: 1 }, plan, shares, among.background);
  const now = read(scene, knobs, plan, shares, among.background);
  const sum = (/** @type {Reading} */ reading, /** @type {"plain" | "guided"} */ how) =>
    scene.grids.map((grid, index) => {
      const weight = share(scene, knobs, grid),
        found = new Float64Array(among.labels.length);
      for (let cell = 0; cell < grid.rows * grid.cols; cell++) {
        among.labels.forEach((label, place) => {
          const weights =
            how === "plain" ? reading.plain : label === among.background ? reading.onBackground : reading.onLabel;
          found[place] += weights[index][cell] * grid.similarity[cell * scene.labels.length + label] * weight;
        });
      }
      return found;
    });
  return { plain: sum(whole, "plain"), guided: sum(whole, "guided"), now: sum(now, "guided") };
}

/**
 * The saliency weight nearest to today's beyond which another label wins; see `explain.flip_weight`.
 * @param {Float64Array} plain scores at weight 0, in label order
 * @param {Float64Array} guided scores at weight 1
 * @param {number} weight
 * @param {number} winner place among the labels
 * @returns {{change: number, rival: number} | null}
 */
export function flip(plain, guided, weight, winner) {
  const score = (/** @type {number} */ place) => plain[place] + weight * (guided[place] - plain[place]);
  const slope = (/** @type {number} */ place) => guided[place] - plain[place];
  const first = (/** @type {number} */ sign, /** @type {number} */ room) => {
    let found = { distance: Infinity, rival: -1, gain: 0 };
    for (let place = 0; place < plain.length; place++) {
      const gain = sign * (slope(place) - slope(winner));
      if (place === winner || gain <= 0) continue;
      let distance = Math.max(score(winner) - score(place), 0) / gain;
      if (Math.abs(distance - room) < 1e-12) distance = room;
      // A tie at the very end of the range goes to the label that comes first.
      if (distance > room || (distance === room && place > winner)) continue;
      const steeper = distance === found.distance && distance !== room && gain > found.gain;
      if (distance < found.distance || steeper) found = { distance, rival: place, gain };
    }
    return found;
  };
  const up = first(1, 1 - weight),
    down = first(-1, weight);
  if (up.distance === Infinity && down.distance === Infinity) return null;
  return up.distance <= down.distance
    ? { change: up.distance, rival: up.rival }
    : { change: -down.distance, rival: down.rival };
}

/**
 * Saliency below which a pixel is background; see `explain.background_threshold`. Null where none is.
 * @param {number} background merged score of the background
 * @param {number} best the best other merged score
 * @param {number} weight
 */
export function backgroundThreshold(background, best, weight) {
  const room = weight * (background + best);
  return room > 0 ? (background - (1 - weight) * best) / room : null;
}
