// What each grid does for the label of each pixel, and how sure the scores are: as `explain.grid_importance` and
// `explain.uncertainty` have it.

import { eachRow, factors } from "./fuse.js";

/** @typedef {import("./scene.js").Scene} Scene */
/** @typedef {import("./scene.js").Knobs} Knobs */
/** @typedef {import("./fuse.js").Layout} Layout */

/**
 * What can be said of the grids; see the stages of the same names in Python.
 * @typedef {object} GridMaps
 * @property {Float32Array[]} shapley of each grid
 * @property {Int16Array} deciding index of the grid with the largest Shapley value
 * @property {Int16Array[]} flips of each grid: 0 where the label changes without it, else -1
 * @property {Float32Array} agreement share of the grids with a weight that give the label by themselves
 */

/**
 * Lead of the winner over its best rival with only some grids in play.
 * @param {Scene} scene
 * @param {Knobs} knobs
 * @param {Layout} plan
 * @param {{labels: number[], background: number}} among see `competing`; two labels or more
 * @param {Int16Array} winner label of every pixel with all grids
 * @returns {{worth: Float32Array[], kept: Uint8Array[]}} entry i is of the subset whose members are the bits of i;
 *   entry 0, no grid, is worth 0. `kept` says whether the winner still wins; of equal scores the first one does.
 */
function subsetMargins(scene, knobs, plan, { labels, background }, winner) {
  const { width } = scene,
    of = factors(scene, knobs, background);
  const subsets = { length: 1 << scene.grids.length },
    pixels = scene.height * width;
  const worth = Array.from(subsets, () => new Float32Array(pixels)),
    kept = Array.from(subsets, () => new Uint8Array(pixels));
  for (let subset = 1; subset < worth.length; subset++) {
    const weights = Object.fromEntries(
      scene.grids.map(({ name }, grid) => [name, (subset >> grid) & 1 ? (knobs.weights[name] ?? 1) : 0]),
    );
    eachRow(scene, { ...knobs, weights }, plan, labels, (scores, y) => {
      for (let x = 0, pixel = y * width; x < width; x++, pixel++) {
        const [onLabel, onBackground] = of(pixel);
        let own = 0,
          rival = -Infinity,
          first = -1;
        for (let place = 0; place < labels.length; place++) {
          const label = labels[place];
          const score = scores[place * width + x] * (label === background ? onBackground : onLabel);
          if (label === winner[pixel]) own = score;
          else if (score > rival) {
            rival = score;
            first = label;
          }
        }
        worth[subset][pixel] = own - rival;
        kept[subset][pixel] = Number(own > rival || (own === rival && winner[pixel] < first));
      }
    });
  }
  return { worth, kept };
}

/**
 * Exact Shapley values of a game, by its definition over all subsets.
 * @param {Float32Array[]} worth see `subsetMargins`
 * @param {number} players
 * @returns {Float32Array[]} of each player
 */
function shapley(worth, players) {
  const factorial = (/** @type {number} */ n) =>
    Array.from({ length: n }, (_, at) => at + 1).reduce((a, b) => a * b, 1);
  return Array.from({ length: players }, (_, player) => {
    const values = new Float32Array(worth[0].length);
    worth.forEach((without, subset) => {
      if ((subset >> player) & 1) return;
      const size = [...subset.toString(2)].filter((bit) => bit === "1").length;
      const chance = (factorial(size) * factorial(players - size - 1)) / factorial(players);
      const whole = worth[subset | (1 << player)];
      for (let pixel = 0; pixel < values.length; pixel++) values[pixel] += chance * (whole[pixel] - without[pixel]);
    });
    return values;
  });
}

/**
 * @param {Scene} scene
 * @param {Knobs} knobs
 * @param {Layout} plan
 * @param {{labels: number[], background: number}} among
 * @param {Int16Array} winner
 * @returns {GridMaps}
 */
export function gridMaps(scene, knobs, plan, among, winner) {
  const { worth, kept } = subsetMargins(scene, knobs, plan, among, winner),
    players = scene.grids.map((_, grid) => grid);
  const values = shapley(worth, players.length);
  const used = players.filter((grid) => (knobs.weights[scene.grids[grid].name] ?? 1) > 0);
  const whole = worth.length - 1;
  return {
    shapley: values,
    deciding: Int16Array.from(winner, (_, pixel) =>
      players.reduce((best, grid) => (values[grid][pixel] > values[best][pixel] ? grid : best), 0),
    ),
    flips: players.map((grid) => Int16Array.from(kept[whole ^ (1 << grid)], (still) => -still)),
    agreement: Float32Array.from(
      winner,
      (_, pixel) => used.filter((grid) => kept[1 << grid][pixel]).length / used.length,
    ),
  };
}

/**
 * Entropy in nats of the softmax of scores over the labels.
 * @param {Float32Array} scores labels x pixels
 * @param {number} pixels
 * @param {number} temperature
 */
export function entropy(scores, pixels, temperature) {
  const labels = scores.length / pixels;
  return new Float32Array(pixels).map((_, pixel) => {
    let top = -Infinity;
    for (let label = 0; label < labels; label++) top = Math.max(top, scores[label * pixels + pixel]);
    let total = 0,
      mean = 0;
    for (let label = 0; label < labels; label++) {
      const shifted = (scores[label * pixels + pixel] - top) / temperature,
        weight = Math.exp(shifted);
      total += weight;
      mean += weight * shifted;
    }
    return Math.max(Math.log(total) - mean / total, 0);
  });
}
