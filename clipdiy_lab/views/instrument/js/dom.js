// Small helpers for elements. Text is only ever set as text, so no label or file name is read as HTML.

/**
 * Make an element.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, any>} [props] attributes; `on` holds listeners, `style` an object
 * @param {...(Node | string | null | false)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === "on") for (const [event, act] of Object.entries(value)) node.addEventListener(event, act);
    else if (name === "style") for (const [key, part] of Object.entries(value)) node.style.setProperty(key, part);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, String(value));
  }
  node.append(
    ...children
      .filter((child) => child !== null && child !== false)
      .map((child) => /** @type {Node | string} */ (child)),
  );
  return node;
}

/**
 * Make an SVG element.
 * @param {string} tag
 * @param {Record<string, any>} [props]
 * @param {...Node} children
 */
export function svg(tag, props = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(props)) node.setAttribute(name, String(value));
  node.append(...children);
  return node;
}

/** A number with a true minus. @param {number} value @param {number} [digits] */
export function number(value, digits = 3) {
  return (value < 0 && Number(value.toFixed(digits)) !== 0 ? "\u2212" : "") + Math.abs(value).toFixed(digits);
}

/** A number with its sign. @param {number} value @param {number} [digits] */
export function signed(value, digits = 3) {
  return (Number(value.toFixed(digits)) > 0 ? "+" : "") + number(value, digits);
}

/** A label in quotation marks, shortened where it would push everything else away. @param {string} label */
export function quoted(label) {
  return `\u201c${short(label, 60)}\u201d`;
}

/** @param {string} text @param {number} [most] */
export function short(text, most = 28) {
  const letters = Array.from(text);
  return letters.length > most ? letters.slice(0, most - 1).join("") + "\u2026" : text;
}

/** @param {number} share */
export function percent(share) {
  return share > 0 && share < 0.0005 ? "<0.1 %" : `${(100 * share).toFixed(1)} %`;
}

/** @param {number} value @param {number} low @param {number} high */
export function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}
