// The pixel inspector: a grid of pixels whose parts came with the page. Labels are only ever set as text.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("inspector-data").textContent);
  const picture = document.getElementById("inspector-picture");
  const mark = document.getElementById("inspector-mark");
  const said = document.getElementById("inspector-said");
  const overlay = document.getElementById("inspector-overlay");
  const rows = data.ys.length, cols = data.xs.length, unit = 1e6;
  let row = Math.floor(rows / 2), col = Math.floor(cols / 2);

  const make = (tag, text, parent, name) => {
    const node = document.createElement(tag);
    if (text !== null) node.textContent = text;
    if (name) node.className = name;
    parent.append(node);
    return node;
  };
  const number = (value, digits = 4) => (value < 0 ? "\u2212" : "") + Math.abs(value).toFixed(digits);
  const quoted = (label) => "\u201c" + data.names[label] + "\u201d";

  const swatch = (label, parent) => {
    make("span", null, parent, "swatch").style.background = data.colors[label];
  };

  const headline = (pixel) => {
    const line = make("p", null, said, "headline");
    const best = data.best[pixel];
    swatch(best[0], line);
    make("strong", data.names[best[0]], line);
    const lead = best.length > 1
      ? `, ${number(data.margin[pixel] / unit)} ahead of ${quoted(best[1])}` : "";
    line.append(`${lead} (row ${data.ys[row]}, column ${data.xs[col]}).`);
  };

  const table = (pixel) => {
    const box = make("div", null, said, "scroll");
    const grid = make("table", null, box);
    const head = make("tr", null, make("thead", null, grid));
    const parted = data.parts !== null;
    const titles = ["label", ...(parted ? data.grids : []), "score"];
    titles.forEach((title) => { make("th", title, head).scope = "col"; });
    const body = make("tbody", null, grid);
    const top = Math.max(...data.score[pixel].map(Math.abs), 1);
    data.best[pixel].forEach((label, place) => {
      const line = make("tr", null, body);
      const name = make("th", null, line);
      name.scope = "row";
      swatch(label, name);
      name.append(data.names[label]);
      const parts = parted ? data.parts[pixel][place] : [];
      parts.forEach((part) => make("td", number(part / unit), line));
      make("td", number(data.score[pixel][place] / unit), line, "sum");
      const bar = make("span", null, name, "bar");
      bar.setAttribute("aria-hidden", "true");
      (parted ? parts : [data.score[pixel][place]]).forEach((part, place) => {
        const piece = make("i", null, bar);
        piece.style.width = `${100 * Math.max(part, 0) / top}%`;
        piece.style.background = data.colors[label];
        piece.style.opacity = 1 - 0.55 * place / Math.max(parts.length - 1, 1);
      });
    });
  };

  const flips = (pixel) => {
    const list = make("ul", null, said);
    const winner = data.best[pixel][0];
    if (data.change !== null) {
      const change = data.change[pixel];
      make("li", change === null
        ? "No saliency weight from 0 to 1 changes its label."
        : `${change < 0 ? "Below" : "Above"} a saliency weight of ${(data.weight + change).toFixed(3)} (now ${data.weight}) ` +
          `${quoted(data.rival[pixel])} takes over.`, list);
      const threshold = data.threshold[pixel], saliency = data.saliency[pixel];
      if (threshold !== null) {
        const rule = threshold <= 0 ? "no saliency makes it background"
          : threshold >= 1 ? "it is background at every saliency" : `below ${threshold.toFixed(3)} it is background`;
        make("li", `Saliency is ${saliency.toFixed(3)} here; ${rule}.`, list);
      }
    } else {
      make("li", "Saliency does not enter the scores of this run.", list);
    }
    if (data.without !== null) {
      const changed = data.grids.map((grid, place) => [grid, data.without[pixel][place]])
        .filter(([, label]) => label !== winner);
      make("li", changed.length
        ? changed.map(([grid, label]) => `Without the ${grid} windows it would be ${quoted(label)}.`).join(" ")
        : "It keeps its label when any one grid is left out.", list);
    }
    if (data.parts === null) make("li", `Scores are not split by grid: ${data.no_parts}`, list);
  };

  const show = () => {
    const pixel = row * cols + col;
    mark.style.left = `${100 * (data.xs[col] + 0.5) / data.width}%`;
    mark.style.top = `${100 * (data.ys[row] + 0.5) / data.height}%`;
    said.replaceChildren();
    headline(pixel);
    table(pixel);
    flips(pixel);
  };

  const inside = (value, count) => Math.min(Math.max(value, 0), count - 1);
  picture.addEventListener("click", (event) => {
    const box = picture.getBoundingClientRect();
    row = inside(Math.floor(rows * (event.clientY - box.top) / box.height), rows);
    col = inside(Math.floor(cols * (event.clientX - box.left) / box.width), cols);
    show();
  });
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  picture.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    if (!step || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const far = event.shiftKey ? 4 : 1;
    row = inside(row + far * step[0], rows);
    col = inside(col + far * step[1], cols);
    show();
  });
  document.getElementById("inspector-labels").addEventListener("change", (event) => {
    overlay.hidden = !event.target.checked;
  });
  document.getElementById("inspector-body").hidden = false;
  show();
})();
