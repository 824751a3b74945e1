// A picture to prompt a segmenter on, or to read a network's outputs from. State lives in the
// model: a kernel's, by anywidget, or that of the report's page, which needs no kernel.
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const PROMPTS = "Click: on the object. Shift-click or right button: beside it. Drag: a box. Keys: " +
  "arrows move a cross, Enter, Shift+Enter, Backspace undoes, Escape clears. ";
const ZOOM = "Zoom: + and -, or the wheel with Ctrl; the wheel alone then moves the picture.";
const BUTTONS = { undo: "Undo", clear: "Clear", everything: "Show everything", copy: "Copy COCO JSON",
  save: "Save PNG", larger: "Zoom in", smaller: "Zoom out" };
const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

function render({ model, el }) {
  const [width, height, channels] = ["width", "height", "channels"].map((name) => model.get(name));
  const scale = 384 / Math.max(width, height);
  const few = channels.length ? "" : "Click, or Enter at the cross. ";
  const help = (model.get("buttons").includes("undo") ? PROMPTS : `${few}Arrow keys move a cross. `) + ZOOM;
  el.innerHTML = `
    <div class="seghw-canvas">
      <canvas tabindex="0" role="application" aria-label="Picture. ${help}"
        width="${width * scale}" height="${height * scale}"></canvas>
      <div class="legend"></div><div class="buttons"></div>
      <output aria-live="polite"></output><small>${help}</small>
    </div>
    <style>
      .seghw-canvas { display: flex; flex-direction: column; align-items: flex-start; gap: 4px; max-width: 30rem; }
      .seghw-canvas canvas { max-width: 100%; cursor: crosshair; touch-action: none; }
      .seghw-canvas canvas:focus-visible { outline: 3px solid #0072b2; outline-offset: 2px; }
      .seghw-canvas .buttons { display: flex; flex-wrap: wrap; gap: 4px; }
      .seghw-canvas output { min-height: 1.4em; }
      .seghw-canvas .legend i { display: inline-block; width: 1em; height: 1em; margin: 0 4px 0 12px; vertical-align: -2px; }
    </style>`;
  const [canvas, legend, output] = ["canvas", ".legend", "output"].map((name) => el.querySelector(name));
  const context = canvas.getContext("2d");
  const image = new Image();
  const layer = Object.assign(document.createElement("canvas"), { width, height });
  const bytes = (name) => { // a copy, which is aligned as floats must be
    const view = model.get(name);
    return view.byteLength ? view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength) : new ArrayBuffer(0);
  };
  const values = new Float32Array(bytes("values"));
  let [zoom, left, top] = [1, 0, 0]; // the view's corner, in pixels of the picture
  let cross = [width >> 1, height >> 1];
  let [from, to] = [null, null]; // a drag
  let asked = 0; // when the kernel was asked for what it has not answered yet
  let [outline, masked] = [new Path2D(), false];

  // Of each channel at pixel i: [name, value, whether it is predicted, color].
  const read = (i) => model.get("channels").map(([name, low, high, color], c) => {
    const value = values[c * width * height + i];
    return [name, value, low < value && value < high, color];
  });
  const describe = ([x, y]) => {
    const parts = read(y * width + x).map(([name, value, predicted]) =>
      `${name} ${value.toFixed(Math.abs(value) < 10 ? 2 : 0)}${predicted ? " (predicted)" : ""}`);
    output.textContent = `row ${y}, column ${x}: ${parts.join(", ")}`;
  };
  // Fills a picture pixel by pixel with [red, green, blue, opacity], or nothing.
  const fill = (target, color) => {
    const data = new ImageData(width, height);
    for (let i = 0; i < width * height; i++) data.data.set(color(i) || [0, 0, 0, 0], 4 * i);
    target.getContext("2d").putImageData(data, 0, 0);
  };

  function paint() {
    const [labels, colors] = [new Uint8Array(bytes("labels")), model.get("colors")];
    masked = channels.length > 0 || labels.some(Boolean);
    const predicted = (i) => read(i).find((channel) => channel[2])?.[3];
    const color = (i) => (channels.length ? predicted(i) : labels[i] && colors[labels[i] - 1]);
    fill(layer, (i) => { const c = color(i); return c && [...c, 170]; });
    const truth = new Uint8Array(bytes("truth")); // (K, H, W); its edges become one path
    outline = new Path2D();
    for (let i = 0; i < truth.length; i++) {
      const [x, y] = [i % width, Math.floor(i / width) % height];
      if (x && truth[i] !== truth[i - 1]) { outline.moveTo(x, y); outline.lineTo(x, y + 1); }
      if (y && truth[i] !== truth[i - width]) { outline.moveTo(x, y); outline.lineTo(x + 1, y); }
    }
  }

  function draw() {
    const unit = scale * zoom;
    const stroke = (path, color, thickness = 2) => {
      [context.strokeStyle, context.lineWidth] = [color, thickness / unit];
      context.stroke(path);
    };
    context.setTransform(unit, 0, 0, unit, -left * unit, -top * unit);
    // Crisp pixels for small pictures, smooth ones for photographs.
    context.imageSmoothingEnabled = Math.max(width, height) > 128;
    context.drawImage(image, 0, 0, width, height);
    if (masked) { // gray, so that every color stands out
      context.globalCompositeOperation = "saturation";
      context.fillStyle = "gray";
      context.fillRect(0, 0, width, height);
      context.globalCompositeOperation = "source-over";
    }
    context.imageSmoothingEnabled = false;
    context.drawImage(layer, 0, 0, width, height);
    stroke(outline, "black", 3.5);
    stroke(outline, "white", 1.5);
    const box = from && to ? [...from, ...to] : model.get("box");
    if (box.length) {
      const [x0, x1] = [Math.min(box[0], box[2]), Math.max(box[0], box[2]) + 1];
      const [y0, y1] = [Math.min(box[1], box[3]), Math.max(box[1], box[3]) + 1];
      const frame = new Path2D();
      frame.rect(x0, y0, x1 - x0, y1 - y0);
      stroke(frame, "#d55e00");
      context.fillStyle = "#d55e00"; // handles at the corners
      const half = 4 / unit;
      for (const x of [x0, x1]) for (const y of [y0, y1]) context.fillRect(x - half, y - half, 2 * half, 2 * half);
    }
    for (const [x, y, label] of model.get("points")) {
      const dot = new Path2D();
      dot.arc(x + 0.5, y + 0.5, 5 / unit, 0, 7);
      context.fillStyle = label ? "#009e73" : "#d55e00";
      context.fill(dot);
      stroke(dot, "white");
    }
    if (document.activeElement === canvas) {
      const [x, y, arm] = [cross[0] + 0.5, cross[1] + 0.5, 8 / unit];
      const plus = new Path2D(`M${x - arm} ${y}H${x + arm}M${x} ${y - arm}V${y + arm}`);
      stroke(plus, "black", 4);
      stroke(plus, "white");
      if (channels.length) return describe(cross);
    }
    const seconds = Math.floor((Date.now() - asked) / 1000);
    output.textContent = asked ? `working ... ${seconds ? `${seconds} s` : ""}` : model.get("text");
  }

  function send(change) {
    if (channels.length) return;
    const wanted = { points: [], box: [], everything: false, ...change };
    const same = (name) => JSON.stringify(wanted[name]) === JSON.stringify(model.get(name));
    if (Object.keys(wanted).every(same)) return;
    asked = Date.now();
    for (const [name, value] of Object.entries(wanted)) model.set(name, value);
    model.save_changes();
  }
  const click = ([x, y], label) => send({ points: [...model.get("points"), [x, y, label]] });
  const move = (x, y) => {
    left = clamp(x, 0, width - width / zoom);
    top = clamp(y, 0, height - height / zoom);
    draw();
  };
  const magnify = (factor, [x, y] = cross) => { // the pixel stays where it is
    const before = zoom;
    zoom = clamp(zoom * factor, 1, 16);
    move(x - ((x - left) * before) / zoom, y - ((y - top) * before) / zoom);
  };
  const save = () => { // a gray picture, each object's number its value; 255 for a single one
    const labels = new Uint8Array(bytes("labels"));
    const picture = Object.assign(document.createElement("canvas"), { width, height });
    const gray = (label) => (model.get("everything") ? label : label && 255);
    fill(picture, (i) => [gray(labels[i]), gray(labels[i]), gray(labels[i]), 255]);
    Object.assign(document.createElement("a"), { href: picture.toDataURL(), download: "mask.png" }).click();
  };
  const actions = {
    undo: () => send({ points: model.get("points").slice(0, -1) }),
    clear: () => send({}),
    everything: () => send({ everything: true }),
    // On an unencrypted page there is no clipboard, which is a refusal as well.
    copy: () => Promise.resolve().then(() => navigator.clipboard.writeText(model.get("coco")))
      .then(() => (output.textContent = "copied as annotations of COCO"),
        () => (output.textContent = "the browser refuses to copy; in Python it is the canvas's .coco")),
    save,
    larger: () => magnify(2),
    smaller: () => magnify(0.5),
  };
  const pixel = (event) => {
    const frame = canvas.getBoundingClientRect();
    const along = (share, n, start) => clamp(Math.floor(start + (share * n) / zoom), 0, n - 1);
    return [along((event.clientX - frame.left) / frame.width, width, left),
      along((event.clientY - frame.top) / frame.height, height, top)];
  };
  // The corner opposite to the one of the box that is under the pointer, if any.
  const grabbed = (event) => {
    const [[x, y], box, near] = [pixel(event), model.get("box"), 6 / (scale * zoom)];
    const column = [0, 2].find((k) => Math.abs(box[k] - x) <= near);
    const row = [1, 3].find((k) => Math.abs(box[k] - y) <= near);
    return column === undefined || row === undefined ? null : [box[2 - column], box[4 - row]];
  };

  const pointer = {
    pointerdown: (event) => {
      canvas.focus();
      canvas.setPointerCapture(event.pointerId);
      [from, to] = [grabbed(event) || pixel(event), pixel(event)];
    },
    pointermove: (event) => {
      if (channels.length) describe(pixel(event));
      else if (from) {
        to = pixel(event);
        draw();
      }
    },
    pointerup: (event) => {
      if (!from) return;
      const [x0, y0, x1, y1] = [...from, ...pixel(event)];
      from = to = null;
      cross = [x1, y1];
      if (channels.length) draw();
      else if (Math.max(Math.abs(x1 - x0), Math.abs(y1 - y0)) * scale * zoom > 8)
        send({ box: [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)] });
      else click(cross, event.shiftKey || event.ctrlKey || event.button === 2 ? 0 : 1);
    },
    pointercancel: () => { // as when a touch becomes a gesture of the system's
      from = to = null;
      draw();
    },
    contextmenu: (event) => {
      event.preventDefault();
      event.stopPropagation(); // JupyterLab has a menu of its own
    },
    wheel: (event) => {
      if (!event.ctrlKey && zoom === 1) return; // the page's own scrolling
      event.preventDefault();
      if (event.ctrlKey) magnify(2 ** (-event.deltaY / 200), pixel(event));
      else move(left + event.deltaX / (scale * zoom), top + event.deltaY / (scale * zoom));
    },
    focus: draw,
    blur: draw,
  };
  for (const [name, act] of Object.entries(pointer)) canvas.addEventListener(name, act, { passive: false });

  const keys = { Backspace: actions.undo, Escape: actions.clear, "+": actions.larger, "=": actions.larger, "-": actions.smaller };
  const keydown = (event) => {
    if (event.target !== canvas || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = KEYS[event.key];
    if (step) {
      cross = [clamp(cross[0] + step[0], 0, width - 1), clamp(cross[1] + step[1], 0, height - 1)];
      move(clamp(left, cross[0] + 1 - width / zoom, cross[0]), clamp(top, cross[1] + 1 - height / zoom, cross[1]));
    } else if (event.key === "Enter") click(cross, event.shiftKey ? 0 : 1);
    else if (keys[event.key]) keys[event.key]();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  window.addEventListener("keydown", keydown, true); // before JupyterLab, which listens to the document

  for (const name of model.get("buttons")) {
    const button = document.createElement("button");
    [button.type, button.textContent, button.onclick] = ["button", BUTTONS[name], actions[name]];
    el.querySelector(".buttons").append(button);
  }
  for (const [name, , , color] of channels) {
    const patch = document.createElement("i");
    patch.style.background = `rgb(${color})`;
    legend.append(patch, name);
  }
  const changed = () => { paint(); draw(); };
  model.on("change", changed);
  model.on("msg:custom", () => { asked = 0; draw(); });
  const clock = setInterval(() => asked && draw(), 1000);
  image.onload = changed;
  image.src = model.get("image");
  return () => {
    clearInterval(clock);
    window.removeEventListener("keydown", keydown, true);
  };
}
export default { render };
