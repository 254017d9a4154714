// Colours of the labels to choose from.

/** Paul Tol's bright and muted schemes (SRON/EPS/TN/09-002), which no common colour blindness confuses. */
const TOL = [
  "#4477aa",
  "#ee6677",
  "#228833",
  "#ccbb44",
  "#66ccee",
  "#aa3377",
  "#332288",
  "#ddcc77",
  "#117733",
  "#88ccee",
  "#882255",
  "#44aa99",
  "#999933",
  "#aa4499",
  "#cc6677",
];
const BACKGROUND = "#5a5a62";

/** @type {Record<string, string>} */
export const PALETTES = { lab: "Lab colours", tol: "Tol, colour-blind safe", lightness: "By lightness" };

/**
 * @param {string} palette
 * @param {import("./scene.js").Scene} scene
 * @returns {string[]}
 */
export function labelColors(palette, scene) {
  if (palette !== "tol" && palette !== "lightness") return scene.colors;
  const others = scene.labels.map((_, label) => label).filter((label) => label !== scene.background);
  const found = scene.labels.map(() => BACKGROUND);
  others.forEach((label, at) => {
    found[label] =
      palette === "tol"
        ? TOL[at % TOL.length]
        : byLightness(at / Math.max(others.length - 1, 1), scene.scales.sequential.colors);
  });
  return found;
}

/** @param {number} share @param {string[]} colors */
function byLightness(share, colors) {
  return colors[Math.round(share * (colors.length - 1))];
}
