// The report's page: the table of measurements, and the live parts; render is the canvas's.
const live = JSON.parse(document.getElementById("live").textContent);
const make = (tag, attributes, parent, text = "") => {
  const svg = ["svg", "path", "text", "line", "circle"].includes(tag) && "http://www.w3.org/2000/svg";
  const node = svg ? document.createElementNS(svg, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(text);
  parent.append(node);
  return node;
};
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const unpack = (text, length) => { const b = bytes(text); return Uint8Array.from({ length }, (_, i) => (b[i >> 3] >> (7 - (i & 7))) & 1); };
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));

function measurements(table) {
  const [field, all, left] = ["filter", "all-rows", "left"].map((id) => document.getElementById(id));
  const rows = [...table.tBodies[0].rows];
  const show = () => {
    const words = field.value.toLowerCase().split(/\s+/);
    for (const row of rows) row.hidden = !((all.checked || row.dataset.decides === "1") && words.every((w) => row.textContent.toLowerCase().includes(w)));
    const count = rows.filter((row) => !row.hidden).length;
    left.textContent = count ? `${count} of ${rows.length} rows` : "No row has all of these words.";
  };
  field.oninput = all.onchange = show;
  show();
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, k) => {
    const button = make("button", { type: "button" }, head, head.textContent);
    head.firstChild.remove();
    button.onclick = () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      const key = ({ cells: { [k]: cell } }) => (cell.dataset.value === undefined ? cell.textContent : +(cell.dataset.value || NaN));
      const order = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en") : isNaN(a) - isNaN(b) || a - b);
      table.tBodies[0].append(...rows.sort((a, b) => sign * order(key(a), key(b))));
    };
  });
}
measurements(document.getElementById("measurements"));

function curves(section, runs) {
  const kinds = { mse: ["MSE term", "iteration"], dice: ["Dice term", "iteration"], iou: ["validation mean IoU", "epoch"] };
  const kind = make("select", {}, make("label", {}, section, "Show: "));
  for (const [value, [text]] of Object.entries(kinds)) make("option", { value }, kind, text);
  const fields = make("fieldset", {}, section);
  const boxes = runs.map((run, k) => { // the color follows the place, so it stays when others go
    const label = make("label", {}, fields);
    const box = make("input", { type: "checkbox" }, label);
    box.checked = k < 3;
    make("b", { style: `color: ${color(k)}` }, label, " \u25AC ");
    label.append(run.name);
    return box;
  });
  const svg = make("svg", { viewBox: "0 0 640 300", role: "img" }, section);
  const out = make("output", { "aria-live": "polite" }, section);
  function draw(at = null) {
    const [name, axis] = kinds[kind.value], chosen = runs.map((run, k) => [k, run[kind.value]]).filter(([k]) => boxes[k].checked);
    const log = kind.value !== "iou", value = (y) => (log ? Math.log10(Math.max(y, 1e-6)) : y);
    const xs = chosen.flatMap(([, [x]]) => x), ys = chosen.flatMap(([, [, y]]) => y.map(value));
    const x1 = Math.max(1, ...xs), y0 = log ? Math.min(...ys) : 0, y1 = Math.max(y0 + 0.01, ...ys);
    const X = (x) => 60 + (570 * x) / x1, Y = (y) => 250 - (235 * (value(y) - y0)) / (y1 - y0);
    svg.replaceChildren();
    svg.setAttribute("aria-label", `${name} of ${chosen.length} runs over the ${axis}s`);
    const write = (x, y, anchor, text, more = {}) => make("text", { x, y, "text-anchor": anchor, "font-size": 12, fill: "currentColor", ...more }, svg, text);
    for (const share of chosen.length ? [0, 0.25, 0.5, 0.75, 1] : []) {
      const y = y0 + share * (y1 - y0), height = 250 - 235 * share;
      make("line", { x1: 60, x2: 630, y1: height, y2: height, stroke: "currentColor", opacity: 0.2 }, svg);
      write(54, height + 4, "end", +(log ? 10 ** y : y).toPrecision(2));
      write(60 + 570 * share, 266, share < 1 ? "middle" : "end", Math.round(share * x1));
    }
    write(345, 288, "middle", axis);
    write(14, 135, "middle", name + (log ? " (logarithmic)" : ""), { transform: "rotate(-90 14 135)" });
    for (const [k, [x, y]] of chosen) make("path", { d: "M" + x.map((v, i) => `${X(v)},${Y(y[i])}`).join("L"), fill: "none", stroke: color(k), "stroke-width": 2, "stroke-dasharray": ["none", "6 3", "2 2"][k % 3] }, svg);
    const near = (x) => x.reduce((best, v, i) => (Math.abs(X(v) - at) < Math.abs(X(x[best]) - at) ? i : best), 0);
    out.textContent = at === null ? "The pointer reads the curves." : chosen.map(([k, [x, y]]) => `${runs[k].name}: ${y[near(x)]} at ${axis} ${x[near(x)]}`).join("; ");
  }
  svg.onpointermove = (event) => { const box = svg.getBoundingClientRect(); draw((640 * (event.clientX - box.left)) / box.width); };
  kind.onchange = fields.onchange = () => draw();
  draw();
}
const color = (k) => `hsl(${(k * 137.5) % 360} 75% 45%)`;

// A model for the canvas without a kernel: answer says what a change of the state leads to.
function model(state, answer = () => {}) {
  const values = Object.fromEntries(Object.entries(state).map(([k, v]) => [k, v?.bytes === undefined ? v : new DataView(bytes(v.bytes).buffer)]));
  const listeners = [];
  return {
    get: (name) => values[name],
    set: (name, value) => { values[name] = value; },
    on: (_, listener) => listeners.push(listener),
    save_changes() { answer(this); listeners.forEach((listener) => listener()); },
  };
}

function threshold(section, { canvas, image }) {
  const state = model(canvas), channels = canvas.channels, n = canvas.width * canvas.height;
  const [values, truth] = [new Float32Array(bytes(canvas.values.bytes).buffer), bytes(canvas.truth.bytes)];
  const label = make("label", {}, section, `Corrected network, test image ${image}; the true outlines are white. A pixel is predicted where the output lies above: `);
  const slider = make("input", { type: "range", min: -0.2, max: 1.2, step: 0.02, value: channels[0][1] }, label);
  const out = make("output", { "aria-live": "polite" }, section);
  const read = () => {
    const low = +slider.value;
    state.set("channels", channels.map(([name, , high, tone]) => [name, low, high, tone]));
    const parts = channels.map(([name], c) => {
      let [both, either] = [0, 0];
      for (let i = c * n; i < (c + 1) * n; i++) { both += values[i] > low && truth[i]; either += values[i] > low || truth[i]; }
      return either && `${name} ${(both / either).toFixed(2)}`;
    });
    out.textContent = `threshold ${low.toFixed(2)}; IoU: ${parts.filter(Boolean).join(", ")}`;
  };
  read();
  slider.oninput = () => { read(); state.save_changes(); };
  render({ model: state, el: make("div", {}, section) });
}

function clicks(section, { canvas, image, name, side, answers }) {
  const n = canvas.width * canvas.height;
  make("p", {}, section, `${name}, test image ${image}: the last click alone counts, at the nearest of ${side} x ${side} points.`);
  const state = model(canvas, () => {
    const box = state.get("box"), point = box.length ? [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, 1] : state.get("points").at(-1)?.with(2, 1);
    const [column, row] = point ? [point[0] / canvas.width, point[1] / canvas.height].map((v) => Math.floor(v * side)) : [];
    const { text, mask, truth } = point ? answers[row * side + column] : { text: canvas.text, mask: "", truth: "" };
    const changes = { points: point ? [point] : [], box: [], text, labels: unpack(mask, n), truth: unpack(truth, truth ? n : 0) };
    for (const [key, value] of Object.entries(changes)) state.set(key, value instanceof Uint8Array ? new DataView(value.buffer) : value);
  });
  render({ model: state, el: make("div", {}, section) });
}

for (const [name, show] of Object.entries({ curves, threshold, clicks })) {
  const section = document.getElementById(`live-${name}`);
  if (live[name]) { section.hidden = false; show(section, live[name]); } else section.remove();
}
