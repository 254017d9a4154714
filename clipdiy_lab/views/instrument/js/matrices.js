// Where the cells of a grid enter the pixels: the matrices of `Grid.matrices` (clipdiy_lab/method), along one axis.

/**
 * Interpolation between cells, as `Config` names it.
 * @typedef {object} Spread
 * @property {"stretched" | "centred"} placement
 * @property {"bilinear" | "nearest"} interpolation
 * @property {boolean} align_corners
 */

/**
 * One axis of a grid. Windows have `centres`; patch tokens have rectangles of `count` patches that begin at `starts`
 * and are `length` pixels long.
 * @typedef {object} Axis
 * @property {number} cells
 * @property {number[]} [centres]
 * @property {number[]} [starts]
 * @property {number} [length]
 * @property {number} [count]
 * @property {boolean} [stretched]
 */

/**
 * Weights of every cell in every pixel of a side, `side` x `cells`, in rows.
 * @param {Axis} axis
 * @param {number} side pixels
 * @param {Spread} spread
 * @returns {Float64Array}
 */
export function matrix(axis, side, spread) {
  const { placement, interpolation, align_corners } = spread;
  if (axis.centres) {
    if (placement === "centred") return centred(axis.centres, side, interpolation);
    return tiles(axis.cells, side, side, 0, interpolation, align_corners);
  }
  const whole = axis.stretched && placement === "stretched";
  const starts = whole ? [0] : /** @type {number[]} */ (axis.starts);
  const length = whole ? side : /** @type {number} */ (axis.length);
  return meanOfMaps(starts, length, /** @type {number} */ (axis.count), side, interpolation, align_corners);
}

/**
 * Weights of values that are tiles of a whole length which begins at pixel `start`; beyond its ends the outermost
 * value holds. As `torch.nn.functional.interpolate` has them.
 * @param {number} count
 * @param {number} side
 * @param {number} length
 * @param {number} start
 * @param {string} interpolation
 * @param {boolean} alignCorners
 * @returns {Float64Array}
 */
function tiles(count, side, length, start, interpolation, alignCorners) {
  const found = new Float64Array(side * count);
  const f = Math.fround;
  for (let pixel = 0; pixel < side; pixel++) {
    const place = pixel - start;
    if (interpolation === "nearest") {
      // torch's "nearest" takes the tile that the pixel's left edge falls into, computed in float32.
      const tile = Math.floor(f(f(place) * f(f(count) / f(length))));
      found[pixel * count + clamp(tile, count - 1)] = 1;
    } else if (alignCorners) {
      linear(found, pixel, count, length > 1 ? place * ((count - 1) / (length - 1)) : 0);
    } else {
      linear(found, pixel, count, (place + 0.5) * (count / length) - 0.5);
    }
  }
  return found;
}

/**
 * Values at their true centres; beyond the outermost centres the outermost value holds.
 * @param {number[]} centres
 * @param {number} side
 * @param {string} interpolation
 * @returns {Float64Array}
 */
function centred(centres, side, interpolation) {
  const count = centres.length;
  const found = new Float64Array(side * count);
  for (let pixel = 0; pixel < side; pixel++) {
    let after = centres.findIndex((centre) => centre >= pixel);
    if (after < 0) after = count;
    if (interpolation === "nearest") {
      const before = after > 0 && (after === count || pixel - centres[after - 1] <= centres[after] - pixel);
      found[pixel * count + (before ? after - 1 : after)] = 1;
    } else if (after === 0 || after === count) {
      linear(found, pixel, count, after === 0 ? 0 : count - 1);
    } else {
      const gap = centres[after] - centres[after - 1];
      linear(found, pixel, count, after - 1 + (pixel - centres[after - 1]) / gap);
    }
  }
  return found;
}

/**
 * The mean, at every pixel, of the maps of the rectangles that cover it; a pixel that none covers takes the nearest.
 * @param {number[]} starts
 * @param {number} length
 * @param {number} count patches of a rectangle
 * @param {number} side
 * @param {string} interpolation
 * @param {boolean} alignCorners
 * @returns {Float64Array}
 */
function meanOfMaps(starts, length, count, side, interpolation, alignCorners) {
  const cells = starts.length * count;
  const found = new Float64Array(side * cells);
  const maps = starts.map((start) => tiles(count, side, length, start, interpolation, alignCorners));
  for (let pixel = 0; pixel < side; pixel++) {
    const beyond = starts.map((start) => Math.max(start - pixel, pixel - start - (length - 1), 0));
    const least = Math.min(...beyond);
    const share = 1 / beyond.filter((distance) => distance === least).length;
    starts.forEach((_, place) => {
      if (beyond[place] !== least) return;
      for (let cell = 0; cell < count; cell++) {
        found[pixel * cells + place * count + cell] = share * maps[place][pixel * count + cell];
      }
    });
  }
  return found;
}

/**
 * Enter the weights of linear interpolation at a fractional place between values, clamped to them.
 * @param {Float64Array} found
 * @param {number} pixel
 * @param {number} count
 * @param {number} position
 */
function linear(found, pixel, count, position) {
  const at = clamp(position, count - 1);
  const low = Math.min(Math.floor(at), count - 1);
  const high = Math.min(low + 1, count - 1);
  found[pixel * count + low] += 1 - (at - low);
  found[pixel * count + high] += at - low;
}

/** @param {number} value @param {number} most */
function clamp(value, most) {
  return Math.min(Math.max(value, 0), most);
}

/**
 * A stretch of pixels over which every weight of some matrices is a line: at the pixel `start + i` it is
 * `base + i * slope`.
 * @typedef {object} Stretch
 * @property {number} start
 * @property {number} end excluded
 * @property {Float64Array} base
 * @property {Float64Array} slope
 */

const STRAIGHT = 1e-12;

/**
 * Split a side into stretches over which all columns of a matrix are lines. Scores are then lines too, so that a
 * pixel costs one multiplication a label, however many grids there are.
 * @param {Float64Array} weights side x cells
 * @param {number} side
 * @returns {Stretch[]}
 */
export function stretches(weights, side) {
  const cells = weights.length / side;
  const found = [];
  for (let start = 0; start < side;) {
    const base = weights.slice(start * cells, (start + 1) * cells);
    const slope = new Float64Array(cells);
    let end = start + 1;
    if (end < side) {
      for (let cell = 0; cell < cells; cell++) slope[cell] = weights[end * cells + cell] - base[cell];
      end += 1;
      while (end < side && straight(weights, cells, end, slope)) end += 1;
    }
    found.push({ start, end, base, slope });
    start = end;
  }
  return found;
}

/** @param {Float64Array} weights @param {number} cells @param {number} pixel @param {Float64Array} slope */
function straight(weights, cells, pixel, slope) {
  for (let cell = 0; cell < cells; cell++) {
    const step = weights[pixel * cells + cell] - weights[(pixel - 1) * cells + cell];
    if (Math.abs(step - slope[cell]) > STRAIGHT) return false;
  }
  return true;
}
