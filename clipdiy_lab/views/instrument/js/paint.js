// Maps as pictures: labels in their colours, numbers in a scale.

/** @typedef {Uint8ClampedArray} Pixels RGBA */

/** @param {string} color as #rrggbb @returns {[number, number, number]} */
export function rgb(color) {
  const value = parseInt(color.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

/**
 * Paint label indices; `clear` ones stay transparent.
 * @param {ArrayLike<number>} labels
 * @param {string[]} colors
 * @param {ReadonlySet<number>} clear
 * @param {Pixels} into
 */
export function paintLabels(labels, colors, clear, into) {
  const words = new Uint32Array(into.buffer);
  const palette = Uint32Array.from(colors, (color, label) => (clear.has(label) ? 0 : packed(rgb(color))));
  for (let at = 0; at < words.length; at++) words[at] = labels[at] < 0 ? 0 : palette[labels[at]];
}

/**
 * Paint numbers in a scale; those that are no numbers stay transparent.
 * @param {ArrayLike<number>} values
 * @param {{colors: string[], low: number, high: number}} scale
 * @param {Pixels} into
 */
export function paintNumbers(values, scale, into) {
  const words = new Uint32Array(into.buffer),
    ramp = rampOf(scale.colors);
  const factor = (ramp.length - 1) / (scale.high - scale.low || 1);
  for (let at = 0; at < words.length; at++) {
    const place = Math.round((values[at] - scale.low) * factor);
    words[at] = Number.isNaN(place) ? 0 : ramp[Math.min(Math.max(place, 0), ramp.length - 1)];
  }
}

/** @param {string[]} colors @returns {Uint32Array} 256 even steps */
function rampOf(colors) {
  const stops = colors.map(rgb);
  return Uint32Array.from({ length: 256 }, (_, step) => {
    const place = (step / 255) * (stops.length - 1),
      low = Math.min(Math.floor(place), stops.length - 2);
    const [from, to] = [stops[low], stops[low + 1]];
    return packed(
      /** @type {[number, number, number]} */ (
        from.map((part, at) => Math.round(part + (place - low) * (to[at] - part)))
      ),
    );
  });
}

/** RGBA as one word of memory; every machine that has a browser is little-endian. @param {number[]} color */
function packed([red, green, blue]) {
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

/** @param {ArrayLike<number>} values @returns {[number, number]} lowest and highest finite number */
export function extent(values) {
  let low = Infinity,
    high = -Infinity;
  for (let at = 0; at < values.length; at++) {
    const value = values[at];
    if (!Number.isFinite(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low > high ? [0, 1] : [low, high];
}
