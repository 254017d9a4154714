// Photograph and labels over each other, a mark, the pixel under the pointer; a click tells the kernel row and column.
function render({ model, el }) {
  const box = document.createElement("div");
  box.className = "clipdiy-picture";
  const layers = {};
  for (const name of ["photograph", "labels"]) {
    layers[name] = box.appendChild(document.createElement("img"));
    layers[name].className = `clipdiy-${name}`;
    layers[name].alt = name === "labels" ? "labels over the image" : "";
    layers[name].draggable = false;
  }
  const mark = box.appendChild(document.createElement("div"));
  mark.className = "clipdiy-mark";
  const told = box.appendChild(document.createElement("div"));
  told.className = "clipdiy-pointer";

  const place = () => {
    const [height, width] = model.get("size");
    const scale = model.get("side") / Math.max(height, width);
    box.style.width = `${width * scale}px`;
    box.style.height = `${height * scale}px`;
    const pixel = model.get("mark");
    mark.hidden = pixel.length === 0;
    mark.style.top = `${(100 * (pixel[0] + 0.5)) / height}%`;
    mark.style.left = `${(100 * (pixel[1] + 0.5)) / width}%`;
  };
  const draw = (name) => {
    // An empty address would ask the page's own.
    if (model.get(name)) layers[name].src = model.get(name);
  };
  const blend = () => (layers.labels.style.opacity = model.get("opacity"));
  const pixelOf = (event) => {
    const [height, width] = model.get("size");
    const shown = box.getBoundingClientRect();
    const at = (share, count) => Math.min(count - 1, Math.max(0, Math.floor(share * count)));
    return [
      at((event.clientY - shown.top) / shown.height, height),
      at((event.clientX - shown.left) / shown.width, width),
    ];
  };

  // A click has rounded coordinates and could name the pixel beside the one that is shown: the pointer's own count.
  let here = null;
  const point = (event) => {
    here = pixelOf(event);
    told.textContent = `row ${here[0]}, column ${here[1]}`;
  };
  box.addEventListener("pointermove", point);
  box.addEventListener("pointerdown", point);
  box.addEventListener("click", (event) => model.send({ pixel: here ?? pixelOf(event) }));
  box.addEventListener("pointerleave", () => (told.textContent = ""));
  const heard = {
    "change:photograph": () => draw("photograph"),
    "change:labels": () => draw("labels"),
    "change:opacity": blend,
    "change:size": place,
    "change:mark": place,
  };
  for (const [event, act] of Object.entries(heard)) model.on(event, act);
  for (const act of Object.values(heard)) act();
  el.appendChild(box);
  return () => {
    for (const [event, act] of Object.entries(heard)) model.off(event, act);
  };
}

export default { render };
