// Refinement: scores moved to where the image has its edges. Linear in the scores; see `clipdiy_lab.method.refine`.

/** @typedef {import("./scene.js").Scene} Scene */
/** @typedef {import("./scene.js").Knobs} Knobs */

/**
 * What an image does to maps of scores, and the weight of every pixel's score in the refined score of one.
 * @typedef {object} Refinement
 * @property {(scores: Float32Array, count: number) => Float32Array} refined `count` maps after each other
 * @property {(pixel: number) => Float64Array} neighbours
 */

/**
 * The refinement that the knobs ask for; null for none.
 * @param {Scene} scene
 * @param {Knobs} knobs
 * @returns {Refinement | null}
 */
export function refinement(scene, knobs) {
  if (knobs.refine === "none") return null;
  if (!scene.pixels) throw new Error("This scene has no pixel values, which refinement needs.");
  return knobs.refine === "pamr" ? pamr(scene, knobs) : guided(scene, knobs);
}

/**
 * Pixel-adaptive mask refinement (Araslanov and Roth, CVPR 2020, section 4.3).
 * @param {Scene} scene
 * @param {Knobs} knobs
 * @returns {Refinement}
 */
function pamr(scene, knobs) {
  const pixels = scene.height * scene.width;
  const { nearby, affinity, count: around } = affinities(scene, knobs.refine_dilations);
  return {
    refined(scores, count) {
      // Labels of a pixel stand together, so that a neighbour is one stretch of memory.
      let now = new Float64Array(pixels * count),
        next = new Float64Array(pixels * count);
      for (let label = 0; label < count; label++) {
        for (let pixel = 0; pixel < pixels; pixel++) now[pixel * count + label] = scores[label * pixels + pixel];
      }
      for (let step = 0; step < knobs.refine_iterations; step++) {
        next.fill(0);
        for (let pixel = 0; pixel < pixels; pixel++) {
          const own = pixel * count;
          for (let place = 0; place < around; place++) {
            const weight = affinity[pixel * around + place],
              from = nearby[pixel * around + place] * count;
            for (let label = 0; label < count; label++) next[own + label] += weight * now[from + label];
          }
        }
        [now, next] = [next, now];
      }
      const found = new Float32Array(scores.length);
      for (let label = 0; label < count; label++) {
        for (let pixel = 0; pixel < pixels; pixel++) found[label * pixels + pixel] = now[pixel * count + label];
      }
      return found;
    },
    neighbours(pixel) {
      let row = new Float64Array(pixels);
      row[pixel] = 1;
      for (let step = 0; step < knobs.refine_iterations; step++) {
        const before = new Float64Array(pixels);
        for (let at = 0; at < pixels; at++) {
          if (row[at] === 0) continue;
          for (let place = at * around; place < (at + 1) * around; place++) {
            before[nearby[place]] += affinity[place] * row[at];
          }
        }
        row = before;
      }
      return row;
    },
  };
}

/**
 * Index of every neighbour of every pixel, and its weight; the weights of a pixel sum to 1.
 * @param {Scene} scene
 * @param {number[]} dilations
 */
function affinities(scene, dilations) {
  const { height, width } = scene;
  const image = /** @type {Uint8Array} */ (scene.pixels);
  const steps = dilations.flatMap((far) =>
    [-1, 0, 1].flatMap((y) => [-1, 0, 1].map((x) => [far * y, far * x])).filter(([y, x]) => y !== 0 || x !== 0),
  );
  const count = steps.length,
    all = count + dilations.length;
  const nearby = new Int32Array(height * width * count),
    affinity = new Float32Array(height * width * count);
  const unlike = new Float64Array(count);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const pixel = y * width + x,
        first = pixel * count;
      unlike.fill(0);
      steps.forEach(([down, right], place) => {
        const row = Math.min(Math.max(y + down, 0), height - 1),
          col = Math.min(Math.max(x + right, 0), width - 1);
        nearby[first + place] = row * width + col;
      });
      for (let channel = 0; channel < 3; channel++) {
        const own = image[pixel * 3 + channel];
        let sum = 0,
          squares = 0;
        for (let place = 0; place < count; place++) {
          const away = image[nearby[first + place] * 3 + channel] - own;
          sum += away;
          squares += away * away;
        }
        const spread = Math.sqrt(Math.max(squares - (sum * sum) / all, 0) / (all - 1));
        for (let place = 0; place < count; place++) {
          const away = image[nearby[first + place] * 3 + channel] - own;
          unlike[place] += Math.abs(away) / (1e-8 + 0.1 * spread);
        }
      }
      let least = Infinity,
        total = 0;
      for (let place = 0; place < count; place++) least = Math.min(least, unlike[place]);
      for (let place = 0; place < count; place++) total += unlike[place] = Math.exp((least - unlike[place]) / 3);
      for (let place = 0; place < count; place++) affinity[first + place] = unlike[place] / total;
    }
  }
  return { nearby, affinity, count };
}

/**
 * Guided filter (He, Sun and Tang, TPAMI 2013, equations 14 to 16), mirrored at the border.
 * @param {Scene} scene
 * @param {Knobs} knobs
 * @returns {Refinement}
 */
function guided(scene, knobs) {
  const { height, width } = scene;
  const pixels = height * width,
    radius = knobs.refine_radius;
  const image = /** @type {Uint8Array} */ (scene.pixels);
  const colours = [0, 1, 2].map((channel) =>
    Float64Array.from({ length: pixels }, (_, at) => image[at * 3 + channel] / 255),
  );
  const rows = mirrored(height, radius),
    cols = mirrored(width, radius),
    area = (2 * radius + 1) ** 2;
  const mean = (/** @type {Float64Array} */ map) => boxes(map, height, width, rows, cols, area);
  const usual = colours.map(mean);
  const inverse = inverses(colours, usual, mean, knobs.refine_eps);
  const times = (/** @type {Float64Array} */ one, /** @type {ArrayLike<number>} */ other) =>
    one.map((value, at) => value * other[at]);
  return {
    refined(scores, count) {
      const found = new Float32Array(scores.length);
      for (let label = 0; label < count; label++) {
        const map = Float64Array.from(scores.subarray(label * pixels, (label + 1) * pixels));
        const level = mean(map);
        const together = colours.map((colour, channel) => {
          const both = mean(times(colour, map));
          return both.map((value, at) => value - usual[channel][at] * level[at]);
        });
        const slopes = [0, 1, 2].map((i) =>
          level.map(
            (_, at) =>
              inverse[i][0][at] * together[0][at] +
              inverse[i][1][at] * together[1][at] +
              inverse[i][2][at] * together[2][at],
          ),
        );
        const rest = mean(
          level.map(
            (value, at) =>
              value - slopes[0][at] * usual[0][at] - slopes[1][at] * usual[1][at] - slopes[2][at] * usual[2][at],
          ),
        );
        const smooth = slopes.map(mean);
        for (let at = 0; at < pixels; at++) {
          found[label * pixels + at] =
            rest[at] + smooth[0][at] * colours[0][at] + smooth[1][at] * colours[1][at] + smooth[2][at] * colours[2][at];
        }
      }
      return found;
    },
    neighbours(pixel) {
      // The filter read backwards: what the windows around the pixel ask of every score.
      const back = (/** @type {Float64Array} */ map) => boxesBack(map, height, width, rows, cols, area);
      const point = new Float64Array(pixels);
      point[pixel] = 1;
      const share = back(point);
      const asked = [0, 1, 2].map((i) =>
        share.map(
          (value, at) =>
            value &&
            value * [0, 1, 2].reduce((sum, j) => sum + inverse[j][i][at] * (colours[j][pixel] - usual[j][at]), 0),
        ),
      );
      const level = share.map((value, at) => value - asked.reduce((sum, map, i) => sum + map[at] * usual[i][at], 0));
      const found = back(level);
      asked.forEach((map, i) =>
        back(map).forEach((value, at) => {
          found[at] += value * colours[i][at];
        }),
      );
      return found;
    },
  };
}

/** Pixels that the window round each pixel of a side reaches, mirrored at its ends. @param {number} side @param {number} radius */
function mirrored(side, radius) {
  return Array.from({ length: side }, (_, at) =>
    Int32Array.from({ length: 2 * radius + 1 }, (_, step) => {
      const reached = at + step - radius;
      return reached < 0 ? -1 - reached : Math.min(reached, 2 * side - 1 - reached);
    }),
  );
}

/**
 * Running mean over windows.
 * @param {Float64Array} map @param {number} height @param {number} width
 * @param {Int32Array[]} rows @param {Int32Array[]} cols @param {number} area
 */
function boxes(map, height, width, rows, cols, area) {
  const found = new Float64Array(map.length),
    column = new Float64Array(width),
    last = rows[0].length - 1;
  for (const from of rows[0]) for (let x = 0; x < width; x++) column[x] += map[from * width + x];
  for (let y = 0; y < height; y++) {
    if (y > 0) {
      const enters = rows[y][last] * width,
        leaves = rows[y - 1][0] * width;
      for (let x = 0; x < width; x++) column[x] += map[enters + x] - map[leaves + x];
    }
    let sum = 0;
    for (const from of cols[0]) sum += column[from];
    found[y * width] = sum / area;
    for (let x = 1; x < width; x++) {
      sum += column[cols[x][last]] - column[cols[x - 1][0]];
      found[y * width + x] = sum / area;
    }
  }
  return found;
}

/**
 * The transpose of `boxes`.
 * @param {Float64Array} map @param {number} height @param {number} width
 * @param {Int32Array[]} rows @param {Int32Array[]} cols @param {number} area
 */
function boxesBack(map, height, width, rows, cols, area) {
  const half = new Float64Array(map.length),
    found = new Float64Array(map.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const value = map[y * width + x] / area;
      if (value) for (const to of cols[x]) half[y * width + to] += value;
    }
    for (const to of rows[y]) {
      for (let x = 0; x < width; x++) found[to * width + x] += half[y * width + x];
    }
  }
  return found;
}

/**
 * Inverse of the covariance of the colours around every pixel, with eps on the diagonal.
 * @param {Float64Array[]} colours @param {Float64Array[]} usual
 * @param {(map: Float64Array) => Float64Array} mean @param {number} eps
 */
function inverses(colours, usual, mean, eps) {
  const pairs = [0, 1, 2].map((i) =>
    [0, 1, 2].map((j) => (j < i ? null : mean(colours[i].map((value, at) => value * colours[j][at])))),
  );
  const found = [0, 1, 2].map(() => [0, 1, 2].map(() => new Float64Array(colours[0].length)));
  const of = (/** @type {number} */ i, /** @type {number} */ j, /** @type {number} */ at) =>
    /** @type {Float64Array} */ (pairs[Math.min(i, j)][Math.max(i, j)])[at] -
    usual[i][at] * usual[j][at] +
    (i === j ? eps : 0);
  for (let at = 0; at < colours[0].length; at++) {
    const [a, b, c, d, e, f] = [of(0, 0, at), of(0, 1, at), of(0, 2, at), of(1, 1, at), of(1, 2, at), of(2, 2, at)];
    const adjugate = [
      [d * f - e * e, c * e - b * f, b * e - c * d],
      [0, a * f - c * c, b * c - a * e],
      [0, 0, a * d - b * b],
    ];
    const size = a * adjugate[0][0] + b * adjugate[0][1] + c * adjugate[0][2];
    for (let i = 0; i < 3; i++)
      for (let j = 0; j < 3; j++) found[i][j][at] = adjugate[Math.min(i, j)][Math.max(i, j)] / size;
  }
  return found;
}
