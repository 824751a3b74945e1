// A picture to prompt a segmenter on, or to read a network's outputs from. State lives in the
// kernel: points, box, mask, told; or planes and values, from which nothing is sent back.
function render({ model, el }) {
  const side = 384;
  const [width, height] = [model.get("width"), model.get("height")];
  const scale = side / Math.max(width, height);
  el.innerHTML = `
    <div class="seghw-canvas">
      <canvas tabindex="0" role="application" width="${width * scale}" height="${height * scale}"
        aria-label="Picture. Click: on the object. Shift-click: beside it. Drag: a box. Arrow keys move a cross, Enter clicks, Shift+Enter clicks beside, Backspace undoes, Escape clears."></canvas>
      <div><button type="button" data-do="undo">Undo</button>
      <button type="button" data-do="clear">Clear</button>
      <button type="button" data-do="everything">Show everything</button></div>
      <output aria-live="polite"></output>
      <small>Click: on the object. Shift-click or right button: beside it. Drag: a box. Keys: arrows,
      Enter, Shift+Enter, Backspace, Escape.</small>
    </div>
    <style>
      .seghw-canvas { display: inline-flex; flex-direction: column; align-items: flex-start; gap: 4px; max-width: 100%; }
      .seghw-canvas canvas { max-width: 100%; cursor: crosshair; touch-action: none; }
      .seghw-canvas canvas:focus-visible { outline: 3px solid #0072b2; outline-offset: 2px; }
      .seghw-canvas output { min-height: 1.4em; }
    </style>`;
  const canvas = el.querySelector("canvas");
  const context = canvas.getContext("2d");
  const output = el.querySelector("output");
  const image = new Image();
  const layer = document.createElement("canvas");
  layer.width = width;
  layer.height = height;
  const planes = model.get("planes");
  const bytes = model.get("values");
  const start = bytes.byteOffset || 0; // the copy is aligned, as floats must be
  const values = new Float32Array(planes.length ? bytes.buffer.slice(start, start + bytes.byteLength) : 0);
  let cross = [width >> 1, height >> 1];
  let from = null; // where a drag began
  let to = null;
  let asked = 0; // when the kernel was asked for what it has not answered yet

  // Of each plane under a pixel: [name, value, whether the band paints it, color].
  const read = (x, y) => planes.map(([name, low, high, color], c) => {
    const value = values[(c * height + y) * width + x];
    return [name, value, low < value && value < high, color];
  });

  function describe(x, y) {
    const told = read(x, y).map(([name, value, painted]) =>
      `${name} ${value.toFixed(Math.abs(value) < 10 ? 2 : 0)}${painted ? " (painted)" : ""}`);
    output.textContent = `row ${y}, column ${x}: ${told.join(", ")}`;
  }

  function paintPlanes() {
    const pen = layer.getContext("2d");
    const data = pen.createImageData(width, height);
    for (let i = 0; i < width * height; i++) {
      const [, , , color] = read(i % width, Math.floor(i / width)).find((plane) => plane[2]) || [];
      if (color) data.data.set([...color, 170], 4 * i);
    }
    pen.putImageData(data, 0, 0);
  }

  function paintMask() {
    if (planes.length) return paintPlanes();
    const bits = new Uint8Array(model.get("mask").buffer || []);
    const pen = layer.getContext("2d");
    const data = pen.createImageData(width, height);
    for (let i = 0; i < width * height; i++) {
      if ((bits[i >> 3] >> (7 - (i & 7))) & 1) data.data.set([0, 114, 178, 150], 4 * i);
    }
    pen.putImageData(data, 0, 0);
  }

  function draw() {
    // Crisp pixels for small pictures, smooth ones for photographs.
    context.imageSmoothingEnabled = Math.max(width, height) > 128;
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    context.drawImage(layer, 0, 0, canvas.width, canvas.height);
    const at = (v) => (v + 0.5) * scale;
    const box = from && to ? [...from, ...to] : model.get("box");
    context.lineWidth = 2;
    if (box.length) {
      const [x0, y0, x1, y1] = [Math.min(box[0], box[2]), Math.min(box[1], box[3]),
        Math.max(box[0], box[2]), Math.max(box[1], box[3])];
      context.strokeStyle = "#d55e00";
      context.strokeRect(x0 * scale, y0 * scale, (x1 - x0 + 1) * scale, (y1 - y0 + 1) * scale);
      context.fillStyle = "#d55e00"; // handles at the corners
      for (const x of [x0, x1 + 1])
        for (const y of [y0, y1 + 1]) context.fillRect(x * scale - 4, y * scale - 4, 8, 8);
    }
    for (const [x, y, label] of model.get("points")) {
      context.fillStyle = label ? "#009e73" : "#d55e00";
      context.strokeStyle = "white";
      context.beginPath();
      context.arc(at(x), at(y), 5, 0, 7);
      context.fill();
      context.stroke();
    }
    if (document.activeElement === canvas) {
      context.strokeStyle = "white";
      context.beginPath();
      context.moveTo(at(cross[0]) - 8, at(cross[1]));
      context.lineTo(at(cross[0]) + 8, at(cross[1]));
      context.moveTo(at(cross[0]), at(cross[1]) - 8);
      context.lineTo(at(cross[0]), at(cross[1]) + 8);
      context.stroke();
    }
    if (planes.length && document.activeElement === canvas) return;
    const seconds = Math.floor((Date.now() - asked) / 1000);
    output.textContent = asked ? `working ... ${seconds ? `${seconds} s` : ""}` : model.get("told");
  }

  function send(change) {
    if (planes.length) return;
    const wanted = { points: [], box: [], everything: false, ...change };
    const same = (name) => JSON.stringify(wanted[name]) === JSON.stringify(model.get(name));
    if (Object.keys(wanted).every(same)) return;
    asked = Date.now();
    for (const [name, value] of Object.entries(wanted)) model.set(name, value);
    model.save_changes();
  }
  const click = (x, y, label) => send({ points: [...model.get("points"), [x, y, label]] });
  const actions = {
    undo: () => send({ points: model.get("points").slice(0, -1) }),
    clear: () => send({}),
    everything: () => send({ everything: true }),
  };
  const pixel = (event) => {
    const frame = canvas.getBoundingClientRect();
    const inside = (v, n) => Math.max(0, Math.min(n - 1, Math.floor(v)));
    return [inside(((event.clientX - frame.left) / frame.width) * width, width),
      inside(((event.clientY - frame.top) / frame.height) * height, height)];
  };

  // The corner opposite to the one of the box that is under the pointer, if any.
  const grabbed = (event) => {
    const [[x, y], box, near] = [pixel(event), model.get("box"), 6 / scale];
    if (!box.length) return null;
    const column = [0, 2].find((k) => Math.abs(box[k] - x) <= near);
    const row = [1, 3].find((k) => Math.abs(box[k] - y) <= near);
    return column === undefined || row === undefined ? null : [box[2 - column], box[4 - row]];
  };

  canvas.addEventListener("pointerdown", (event) => {
    canvas.focus();
    canvas.setPointerCapture(event.pointerId);
    from = grabbed(event) || pixel(event);
    to = pixel(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (planes.length) describe(...pixel(event));
    else if (from) {
      to = pixel(event);
      draw();
    }
  });
  canvas.addEventListener("pointerup", (event) => {
    if (!from) return;
    const [x0, y0, x1, y1] = [...from, ...pixel(event)];
    from = to = null;
    cross = [x1, y1];
    if (Math.max(Math.abs(x1 - x0), Math.abs(y1 - y0)) * scale > 8)
      send({ box: [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)] });
    else click(x1, y1, event.shiftKey || event.button === 2 ? 0 : 1);
  });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (step) {
      cross = [Math.max(0, Math.min(width - 1, cross[0] + step[0])), Math.max(0, Math.min(height - 1, cross[1] + step[1]))];
      draw();
      if (planes.length) describe(...cross);
    } else if (event.key === "Enter") click(...cross, event.shiftKey ? 0 : 1);
    else if (event.key === "Backspace") actions.undo();
    else if (event.key === "Escape") actions.clear();
    else return;
    event.preventDefault();
    event.stopPropagation(); // JupyterLab's own shortcuts
  });
  for (const name of ["focus", "blur"]) canvas.addEventListener(name, draw);
  for (const button of el.querySelectorAll("button")) button.onclick = actions[button.dataset.do];
  model.on("change:mask", paintMask);
  model.on("change", draw);
  model.on("msg:custom", () => {
    asked = 0;
    draw();
  });
  const clock = setInterval(() => asked && draw(), 1000);
  if (planes.length) {
    canvas.setAttribute("aria-label", "Picture. Arrow keys move a cross; the line below reads the outputs there.");
    for (const part of el.querySelectorAll(".seghw-canvas > div, small")) part.hidden = true;
  }
  image.onload = () => {
    paintMask();
    draw();
  };
  image.src = model.get("image");
  return () => clearInterval(clock);
}
export default { render };
