"use strict";
// Sorts, filters and compares the rows of the table. Without it, the table stands as it was written.
const curves = JSON.parse(document.getElementById("curves").textContent);
const body = document.querySelector("tbody");
const rows = [...body.rows];
const boxes = [...document.querySelectorAll("input[data-run]")];
const figures = [...document.querySelectorAll("figure[data-curve]")];
const COLOURS = 6;
const DASHES = ["", "7 4", "2 3", "9 3 2 3", "4 2"];
const LOG_RATIO = 5;
const EDGES = { left: 50, right: 10, top: 8, bottom: 24 };
const nameOf = (row) => row.querySelector("th a, th").firstChild.textContent;

// A number in at most four digits.
const plain = (value) => Number(value.toPrecision(4)).toLocaleString("en-US", { maximumSignificantDigits: 4 });

function element(svg, tag, attributes, text) {
  const made = document.createElementNS(svg.namespaceURI, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  svg.append(made);
  return made;
}

// The direction of a first click, and that of a second.
const orders = (head) => (head.classList.contains("number") ? ["descending", "ascending"] : ["ascending", "descending"]);

// Sorting: by the rank of a cell, the best or largest first, empty ones last in both directions.
function sortBy(head, reversed) {
  const rank = (row) => row.querySelector(`[data-of="${head.dataset.column}"]`)?.dataset.rank ?? "";
  const numeric = rows.every((row) => rank(row) === "" || !Number.isNaN(Number(rank(row))));
  rows.sort((one, other) => {
    const [a, b] = [rank(one), rank(other)];
    if (a === "" || b === "") return (a === "") - (b === "");
    const order = numeric ? Number(a) - Number(b) : a.localeCompare(b, undefined, { numeric: true });
    return reversed ? -order : order;
  });
  body.append(...rows);
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  const [first, second] = orders(head);
  head.setAttribute("aria-sort", reversed ? second : first);
}

for (const head of document.querySelectorAll("th[data-column]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = head.textContent;
  head.replaceChildren(button);
  button.addEventListener("click", () => sortBy(head, head.getAttribute("aria-sort") === orders(head)[0]));
}

// Filters: by method, and by words of a name or of data.
const chips = [...document.querySelectorAll(".chips button")];
const find = document.getElementById("find");

function filter() {
  const method = chips.find((chip) => chip.getAttribute("aria-pressed") === "true").dataset.method;
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of rows) {
    const text = `${nameOf(row)} ${row.querySelector(".data")?.textContent ?? ""}`.toLowerCase();
    row.hidden = (method !== "" && row.dataset.method !== method) || !words.every((word) => text.includes(word));
    shown += row.hidden ? 0 : 1;
  }
  document.getElementById("count").textContent = shown === rows.length ? "" : `${shown} of ${rows.length} shown`;
}

for (const chip of chips) {
  chip.addEventListener("click", () => {
    for (const other of chips) other.setAttribute("aria-pressed", String(other === chip));
    filter();
  });
}
find.addEventListener("input", filter);

// Comparing: a ticked run keeps its colour and dashes until it is unticked.
const slots = new Map();

function slotOf(box) {
  if (!slots.has(box)) {
    const taken = new Set(slots.values());
    let free = 0;
    while (taken.has(free)) free += 1;
    slots.set(box, free);
  }
  return slots.get(box);
}

function chosen() {
  return boxes
    .filter((box) => box.checked)
    .map((box) => ({ row: box.closest("tr"), slot: slotOf(box), curves: curves[Number(box.dataset.run)] }))
    .sort((one, other) => one.slot - other.slot);
}

const look = (slot) => ({ class: `curve slot-${slot % COLOURS}`, "stroke-dasharray": DASHES[slot % DASHES.length] });

function ticks(low, high, most) {
  const rough = (high - low) / most || 1;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * [1, 2, 5, 10].find((factor) => factor * unit >= rough);
  const found = [];
  for (let index = Math.ceil(low / step - 1e-9); index * step <= high + step * 1e-9; index += 1) found.push(index * step + 0);
  return found;
}

function logTicks(low, high) {
  const parts = high / low < 200 ? [1, 2, 3, 5] : [1];
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
    for (const part of parts) found.push(part * 10 ** power);
  }
  return found.filter((value) => value >= low && value <= high);
}

function draw(figure, runs) {
  const svg = figure.querySelector("svg");
  const title = figure.dataset.curve;
  const lines = runs.filter((run) => run.curves[title][0].length > 0);
  const [width, height] = [svg.clientWidth, svg.clientHeight];
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const note = figure.querySelector("small");
  note.textContent = "";
  if (lines.length === 0) {
    element(svg, "text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, "nothing logged");
    return;
  }
  const values = lines.flatMap((run) => run.curves[title][1]);
  const steps = lines.flatMap((run) => run.curves[title][0]);
  let [low, high] = [Math.min(...values), Math.max(...values)];
  const last = Math.max(...steps, 1);
  const isLog = low > 0 && high / low > LOG_RATIO;
  note.textContent = isLog ? "(log scale)" : "";
  if (!isLog) {
    const margin = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
    [low, high] = [low - margin, high + margin];
  }
  const scale = isLog ? Math.log : (value) => value;
  const x = (step) => EDGES.left + (step / last) * (width - EDGES.left - EDGES.right);
  const bottom = height - EDGES.bottom;
  const y = (value) => bottom - ((scale(value) - scale(low)) / (scale(high) - scale(low))) * (bottom - EDGES.top);
  for (const value of isLog ? logTicks(low, high) : ticks(low, high, 4)) {
    element(svg, "line", { class: "grid", x1: EDGES.left, x2: width - EDGES.right, y1: y(value), y2: y(value) });
    element(svg, "text", { x: EDGES.left - 6, y: y(value) + 4, "text-anchor": "end" }, plain(value));
  }
  for (const step of ticks(0, last, 4).filter(Number.isInteger)) {
    const anchor = x(step) > width - 30 ? "end" : "middle";
    element(svg, "text", { x: x(step), y: height - 8, "text-anchor": anchor }, step.toLocaleString("en-US"));
  }
  element(svg, "line", { class: "axis", x1: EDGES.left, x2: width - EDGES.right, y1: bottom, y2: bottom });
  for (const run of lines) {
    const [at, of] = run.curves[title];
    const path = at.map((step, index) => `${index ? "L" : "M"}${x(step).toFixed(1)} ${y(of[index]).toFixed(1)}`).join("");
    element(svg, "path", { ...look(run.slot), d: path });
    if (at.length > (title === "training loss" ? 2 : 24)) continue;
    for (const [index, step] of at.entries()) {
      element(svg, "circle", { class: `point slot-${run.slot % COLOURS}`, cx: x(step), cy: y(of[index]), r: 2.6 });
    }
  }
  const cursor = element(svg, "line", { class: "cursor", y1: EDGES.top, y2: bottom, visibility: "hidden" });
  svg.onpointermove = (event) => {
    const place = (event.clientX - svg.getBoundingClientRect().left - EDGES.left) / (width - EDGES.left - EDGES.right);
    read(figure, lines, Math.max(0, Math.min(1, place)) * last, cursor, x);
  };
  svg.onpointerleave = () => {
    cursor.setAttribute("visibility", "hidden");
    figure.querySelector("output").className = "";
  };
}

// What the curves say at a step: of each run its nearest point.
function read(figure, lines, step, cursor, x) {
  const output = figure.querySelector("output");
  output.replaceChildren();
  for (const run of lines) {
    const [at, of] = run.curves[figure.dataset.curve];
    const nearest = at.reduce((best, other, index) => (Math.abs(other - step) < Math.abs(at[best] - step) ? index : best), 0);
    const line = document.createElement("div");
    line.textContent = `${nameOf(run.row)}: ${plain(of[nearest])} at step ${at[nearest].toLocaleString("en-US")}`;
    output.append(line);
  }
  output.className = "shown";
  cursor.setAttribute("x1", x(step));
  cursor.setAttribute("x2", x(step));
  cursor.setAttribute("visibility", "visible");
}

function compare() {
  for (const box of boxes) if (!box.checked) slots.delete(box);
  const runs = chosen();
  const methods = new Set(runs.map((run) => run.row.dataset.method));
  const legend = document.getElementById("legend");
  legend.replaceChildren();
  for (const row of rows) row.classList.remove("ticked");
  for (const run of runs) {
    run.row.classList.add("ticked");
    const item = document.createElement("li");
    const svg = figures[0].querySelector("svg").cloneNode(false);
    svg.removeAttribute("aria-label");
    svg.setAttribute("viewBox", "0 0 28 10");
    element(svg, "path", { ...look(run.slot), d: "M0 5H28" });
    item.append(svg, nameOf(run.row));
    legend.append(item);
  }
  document.getElementById("hint").textContent =
    runs.length === 0
      ? "Tick runs in the table to see their curves."
      : methods.size > 1
        ? "Losses of different methods have different units: only their shapes can be compared."
        : "";
  for (const figure of figures) {
    figure.parentElement.hidden = runs.length === 0;
    draw(figure, runs);
  }
}

for (const box of boxes) {
  box.hidden = false;
  box.addEventListener("change", compare);
}
document.querySelector(".filters").hidden = false;
document.querySelector(".compare").hidden = boxes.length === 0;
const first = boxes[0]?.closest("tr").dataset.method;
for (const box of boxes.filter((other) => other.closest("tr").dataset.method === first).slice(0, 4)) box.checked = true;
compare();
new ResizeObserver(compare).observe(document.querySelector("main"));
