"use strict";
const report = JSON.parse(document.getElementById("profile-data").textContent);
const byId = (id) => document.getElementById(id);
const hasMachine = report.machine !== null;
let program = null; // the one that is shown

// ---- Numbers ---------------------------------------------------------------------------------------------------------------------
const rounded = (value, digits = 2) => String(Number(value.toFixed(digits)));
function withPrefix(value, unit) {
  for (const [step, prefix] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "K"]])
    if (value >= step) return rounded(value / step) + " " + prefix + unit;
  return rounded(value) + " " + unit;
}
const count = (value) => value >= 1e9 ? rounded(value / 1e9) + " B" : value >= 1e6 ? rounded(value / 1e6) + " M"
  : value >= 1e3 ? rounded(value / 1e3) + " K" : rounded(value);
const time = (ns) => ns >= 1e9 ? rounded(ns / 1e9) + " s" : ns >= 1e6 ? rounded(ns / 1e6) + " ms" : rounded(ns / 1e3) + " us";
const percent = (part) => rounded(100 * part, 1) + " %";

// ---- Elements --------------------------------------------------------------------------------------------------------------------
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}
function drawn(tag, attributes = {}, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}
function showTip(event, text) {
  const tip = byId("tip");
  tip.textContent = text;
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - box.width - 8)) + "px";
  tip.style.top = Math.max(4, Math.min(event.clientY + 14, innerHeight - box.height - 8)) + "px";
}
const hideTip = () => { byId("tip").hidden = true; };
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// One colour a family of kernels, apart in hue and readable on light and dark.
const familyHues = { gemm: 212, gemv: 190, attention: 284, row: 32, embed: 152, rope: 52, store_cache: 340, pool: 110 };
function colorOf(family) {
  let hue = familyHues[family];
  if (hue === undefined) {
    hue = 0;
    for (const letter of family) hue = (hue * 31 + letter.charCodeAt(0)) % 360;
  }
  return `hsl(${hue} 58% 52%)`;
}
const familyOf = (kernel) => (program.kernels.find((one) => one.name === kernel) || { family: "launch" }).family;

// ---- Summary ---------------------------------------------------------------------------------------------------------------------
function showSummary() {
  const totals = program.totals, ns = program.latency_ns.median;
  const perSecond = (value) => ns > 0 ? 1e9 * value / ns : 0;
  const tiles = [
    [time(ns), `latency, ${time(program.latency_ns.least)} to ${time(program.latency_ns.most)}, ${program.steps} steps`],
    [count(program.modules.parameters), "parameters read"],
    [withPrefix(totals.macs, "MACs"), "multiply-adds"],
    [withPrefix(perSecond(totals.flops), "FLOP/s"), withPrefix(totals.flops, "FLOPs") + ", " + report.counting],
    [withPrefix(perSecond(totals.bytes), "B/s"), withPrefix(totals.bytes, "B") + " read and written"],
    [String(program.launches.length), `launches, threads meet ${program.barriers} times`],
  ];
  if (hasMachine) tiles.push([percent(ns > 0 ? totals.roofline_ns / ns : 0), "of the roofline, at best " + time(totals.roofline_ns)]);
  byId("tiles").replaceChildren(...tiles.map(([value, name]) =>
    element("div", { class: "tile" }, element("b", {}, value), element("span", {}, name))));
  const parts = [["threads at work", program.busy_ns, "busy"], ["waiting for the slowest thread", program.idle_ns, "idle"],
    ["between launches (barriers)", program.barrier_ns, "barrier"], ["outside launches", program.outside_ns, "outside"]];
  const all = parts.reduce((sum, part) => sum + part[1], 0) || 1;
  byId("split").replaceChildren(
    element("div", { class: "split" }, ...parts.map(([name, value, color]) =>
      element("i", { style: `flex: ${value / all} 0 0; background: var(--${color})`, title: `${name}: ${time(value)}` }))),
    element("div", { class: "legend" }, ...parts.map(([name, value, color]) =>
      element("span", {}, element("i", { style: `background: var(--${color})` }), `${name} ${time(value)} (${percent(value / (ns || 1))})`))));
}

// ---- Timeline --------------------------------------------------------------------------------------------------------------------
const view = { from: 0, to: 1, laneHeight: 46, left: 78, top: 24 };
function fitTimeline() {
  view.from = 0;
  view.to = Math.max(1, ...program.timeline.map((span) => span[3]));
}
function drawTimeline() {
  const canvas = byId("spans"), scale = devicePixelRatio || 1, width = canvas.clientWidth;
  const height = view.top + program.threads * view.laneHeight + 8;
  canvas.style.height = height + "px";
  canvas.width = width * scale;
  canvas.height = height * scale;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.clearRect(0, 0, width, height);
  pen.font = "12px system-ui, 'DejaVu Sans', sans-serif";
  pen.textBaseline = "middle";
  const place = (ns) => view.left + (ns - view.from) / (view.to - view.from) * (width - view.left - 8);
  let step = 10 ** Math.floor(Math.log10((view.to - view.from) / 4));
  for (const factor of [5, 2]) if ((view.to - view.from) / (step * factor) >= 4) { step *= factor; break; }
  for (let ns = Math.ceil(view.from / step) * step; ns <= view.to; ns += step) {
    pen.fillStyle = style("--line");
    pen.fillRect(place(ns), view.top - 4, 1, height - view.top);
    pen.fillStyle = style("--soft");
    pen.fillText(rounded(ns / 1e3, 1) + " us", place(ns) + 3, 11);
  }
  for (let thread = 0; thread < program.threads; ++thread) {
    pen.fillStyle = style("--soft");
    pen.fillText("thread " + thread, 10, view.top + (thread + .5) * view.laneHeight);
  }
  pen.save();
  pen.beginPath();
  pen.rect(view.left, 0, width - view.left, height);
  pen.clip();
  for (const [thread, launch, begin, end] of program.timeline) {
    if (end < view.from || begin > view.to) continue;
    const x = place(begin), size = Math.max(.6, place(end) - x), y = view.top + thread * view.laneHeight + 4;
    const kernel = program.launches[launch].kernel;
    pen.fillStyle = colorOf(familyOf(kernel));
    pen.fillRect(x, y, Math.max(.6, size - (size > 4 ? 1 : 0)), view.laneHeight - 8);
    if (size > 40) {
      pen.save();
      pen.beginPath();
      pen.rect(x, y, size - 4, view.laneHeight);
      pen.clip();
      pen.fillStyle = "#ffffff";
      pen.fillText(kernel, x + 4, y + (view.laneHeight - 8) / 2);
      pen.restore();
    }
  }
  pen.restore();
}
function spanAt(event) {
  const canvas = byId("spans"), box = canvas.getBoundingClientRect();
  const ns = view.from + (event.clientX - box.left - view.left) / (box.width - view.left - 8) * (view.to - view.from);
  const thread = Math.floor((event.clientY - box.top - view.top) / view.laneHeight);
  return { ns, span: program.timeline.find((one) => one[0] === thread && one[2] <= ns && ns <= one[3]) };
}
function launchText(index) {
  const launch = program.launches[index];
  const lines = [`${index}: ${launch.kernel}`, launch.module, `${time(launch.latency_ns)} of the step, slowest thread ${time(launch.slowest_ns)}`,
    `${withPrefix(launch.flops_per_second, "FLOP/s")}, ${withPrefix(launch.bytes_per_second, "B/s")}`];
  if (hasMachine) lines.push(`${percent(launch.roofline_share)} of the roofline, ${launch.bound}-bound`);
  if (launch.ops.length > 1)
    lines.push(...launch.ops.map((op) => `  ${op.op} in ${op.module}: ${percent(op.share_of_launch)} (attributed)`));
  return lines.join("\n");
}
function watchTimeline() {
  const canvas = byId("spans");
  let dragged = null;
  canvas.addEventListener("wheel", (event) => {
    if (!program) return;
    event.preventDefault();
    const { ns } = spanAt(event), factor = event.deltaY > 0 ? 1.25 : .8;
    view.from = ns + (view.from - ns) * factor;
    view.to = Math.max(ns + (view.to - ns) * factor, view.from + 10);
    drawTimeline();
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => { dragged = event.clientX; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointerup", () => { dragged = null; });
  canvas.addEventListener("pointermove", (event) => {
    if (!program) return;
    if (dragged !== null) {
      const moved = (dragged - event.clientX) / canvas.clientWidth * (view.to - view.from);
      view.from += moved;
      view.to += moved;
      dragged = event.clientX;
      drawTimeline();
      return;
    }
    const { span } = spanAt(event);
    if (span) showTip(event, launchText(span[1]) + `\nthread ${span[0]}: ${time(span[3] - span[2])} from ${time(span[2])} on`);
    else hideTip();
  });
  canvas.addEventListener("pointerleave", hideTip);
  canvas.addEventListener("dblclick", () => { if (program) { fitTimeline(); drawTimeline(); } });
  addEventListener("resize", () => { if (program) drawTimeline(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (program) drawTimeline(); });
}
function showTimeline() {
  fitTimeline();
  drawTimeline();
  const families = [...new Set(program.kernels.map((kernel) => kernel.family))];
  byId("families").replaceChildren(...families.map((family) => {
    const ns = program.kernels.filter((kernel) => kernel.family === family).reduce((sum, kernel) => sum + kernel.latency_ns, 0);
    return element("span", {}, element("i", { style: `background: ${colorOf(family)}` }), `${family} ${time(ns)}`);
  }));
}

// ---- Roofline --------------------------------------------------------------------------------------------------------------------
function showRoofline() {
  const shown = program.kernels.filter((kernel) => kernel.flops > 0 && kernel.bytes > 0 && kernel.latency_ns > kernel.idle_ns);
  const limits = program.limits, width = 1000, height = 420, left = 74, right = 24, top = 18, bottom = 44;
  byId("roofline-hint").textContent = hasMachine
    ? "Kernels by what they compute for each byte and how fast they do it while threads work; the area of a point is its time."
    : "Kernels without the machine's limits: ds-bench --calibrate -o machine.json writes them, --profile-machine machine.json uses them (of a GPU: a100, h100, h200 or a file).";
  if (shown.length === 0) return byId("roof").replaceChildren("No kernel computes.");
  const points = shown.map((kernel) => ({ kernel, x: kernel.flops / kernel.bytes, y: 1e9 * kernel.flops / (kernel.latency_ns - kernel.idle_ns) }));
  const peaks = limits ? [limits.flops_f32, limits.flops_bf16, limits.flops_tensor].filter((peak) => peak > 0) : [];
  const slopes = limits ? [["memory", limits.memory_bytes], ["L3", limits.l3_bytes], ["L2", limits.l2_bytes]].filter((slope) => slope[1] > 0) : [];
  const lowX = 10 ** Math.floor(Math.log10(Math.min(.1, ...points.map((point) => point.x))));
  const highX = 10 ** Math.ceil(Math.log10(Math.max(100, ...points.map((point) => point.x))));
  const lowY = 10 ** Math.floor(Math.log10(Math.min(1e9, ...points.map((point) => point.y))));
  const highY = 2.2 * Math.max(...peaks, ...points.map((point) => point.y));
  const scale = (value, low, high, from, to) => from + Math.log(value / low) / Math.log(high / low) * (to - from);
  const placeX = (x) => scale(x, lowX, highX, left, width - right), placeY = (y) => scale(y, lowY, highY, height - bottom, top);
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "roofline plot" });
  for (let x = lowX; x <= highX * 1.01; x *= 10) {
    svg.append(drawn("line", { class: "grid", x1: placeX(x), x2: placeX(x), y1: top, y2: height - bottom }));
    svg.append(drawn("text", { x: placeX(x), y: height - bottom + 18, "text-anchor": "middle" }, rounded(x, 4)));
  }
  for (let y = lowY; y <= highY; y *= 10) {
    svg.append(drawn("line", { class: "grid", x1: left, x2: width - right, y1: placeY(y), y2: placeY(y) }));
    svg.append(drawn("text", { x: left - 8, y: placeY(y) + 4, "text-anchor": "end" }, withPrefix(y, "")));
  }
  svg.append(drawn("text", { x: (left + width) / 2, y: height - 8, "text-anchor": "middle" }, "FLOPs for each byte that is read or written"));
  svg.append(drawn("text", { x: 14, y: height / 2, transform: `rotate(-90 14 ${height / 2})`, "text-anchor": "middle" }, "FLOP/s"));
  const peak = Math.max(0, ...peaks), taken = [], drawnRates = [];
  for (const [name, rate] of slopes) {
    if (!(rate > 0) || !(peak > 0)) continue;
    const from = Math.max(lowX, lowY / rate), to = Math.min(highX, peak / rate);
    if (to <= from) continue;
    svg.append(drawn("line", { class: name === "memory" ? "roof" : "roof inner", x1: placeX(from), y1: placeY(from * rate), x2: placeX(to), y2: placeY(to * rate) }));
    // Lines that nearly fall together share the first one's name.
    if (drawnRates.some((other) => Math.abs(Math.log(other / rate)) < .5)) continue;
    drawnRates.push(rate);
    const at = name === "memory" ? .42 : name === "L3" ? .3 : .16;
    const x = from * (to / from) ** at;
    const angle = -Math.atan2(placeY(from * rate) - placeY(to * rate), placeX(to) - placeX(from)) * 180 / Math.PI;
    svg.append(drawn("text", { x: placeX(x), y: placeY(x * rate) - 6, transform: `rotate(${angle} ${placeX(x)} ${placeY(x * rate) - 6})` },
      `${name} ${withPrefix(rate, "B/s")}`));
  }
  for (const [name, rate] of [["f32", limits ? limits.flops_f32 : 0], ["bf16", limits ? limits.flops_bf16 : 0], ["tensor cores", limits ? limits.flops_tensor : 0]]) {
    if (!(rate > 0)) continue;
    const from = Math.max(lowX, rate / Math.max(...slopes.map((slope) => slope[1])));
    svg.append(drawn("line", { class: rate === peak ? "roof" : "roof inner", x1: placeX(from), y1: placeY(rate), x2: width - right, y2: placeY(rate) }));
    const label = `${name} ${withPrefix(rate, "FLOP/s")}`, size = label.length * 6.6;
    taken.push({ x: width - right - 4 - size, y: placeY(rate) - 6, size });
    svg.append(drawn("text", { x: width - right - 4, y: placeY(rate) - 6, "text-anchor": "end" }, label));
  }
  const longest = Math.max(...points.map((point) => point.kernel.latency_ns));
  points.sort((a, b) => b.kernel.latency_ns - a.kernel.latency_ns);
  for (const point of points) {
    const { kernel, x, y } = point, radius = point.radius = 3 + 13 * Math.sqrt(kernel.latency_ns / longest);
    const circle = drawn("circle", { cx: placeX(x), cy: placeY(y), r: radius, fill: colorOf(kernel.family) });
    circle.addEventListener("pointermove", (event) => showTip(event, `${kernel.name}\n${kernel.launches} launches, ${time(kernel.latency_ns)}\n` +
      `${rounded(x)} FLOPs a byte, ${withPrefix(y, "FLOP/s")}` + (hasMachine ? `\n${percent(kernel.roofline_share)} of the roofline` : "")));
    circle.addEventListener("pointerleave", hideTip);
    svg.append(circle);
    taken.push({ x: placeX(x) - radius, y: placeY(y), size: 2 * radius });
  }
  // Names of the long ones, beside, above or below the point, where nothing else is.
  for (const { kernel, x, y, radius } of points.slice(0, 12)) {
    const size = kernel.name.length * 7.2, middle = placeX(x) - size / 2;
    const text = [[placeX(x) + radius + 4, 4], [placeX(x) - radius - 4 - size, 4], [middle, -radius - 6], [middle, radius + 14]].map(
      ([from, down]) => ({ x: Math.min(from, width - right - size), y: placeY(y) + down, size })).find((place) =>
      !taken.some((other) => Math.abs(other.y - place.y) < 13 && place.x < other.x + other.size && other.x < place.x + size));
    if (!text) continue;
    taken.push(text);
    svg.append(drawn("text", { class: "name", x: text.x, y: text.y }, kernel.name));
  }
  byId("roof").replaceChildren(svg);
}

// ---- Tables ----------------------------------------------------------------------------------------------------------------------
function shareCell(part) {
  const cell = element("td", { class: "share" }, percent(part));
  cell.style.setProperty("--part", Math.min(100, 100 * part) + "%");
  return cell;
}
const wordColumns = new Set(["kernel", "module", "bound", "op"]);
const headerRow = (names) => element("thead", {}, element("tr", {}, ...names.map((name) =>
  element("th", wordColumns.has(name) ? { class: "words" } : {}, name))));
const machineNames = hasMachine ? ["roofline", "bound", "predicted"] : [];
function machineCells(of) {
  if (!hasMachine) return [];
  const off = of.measured_ns > 0 ? of.predicted_ns / of.measured_ns : 0;
  return [element("td", {}, percent(of.roofline_share)), element("td", { class: "words" }, of.bound),
    element("td", { title: `${time(of.predicted_ns)} against ${time(of.measured_ns)} of the slowest thread` }, percent(off))];
}

const openPaths = new Set();
function moduleRows(module, depth, rows) {
  const isOpen = openPaths.has(module.path), hasMore = module.children.length > 0;
  const toggle = element("button", { type: "button", class: "toggle", "aria-expanded": String(isOpen) }, hasMore ? (isOpen ? "▾" : "▸") : "");
  toggle.disabled = !hasMore;
  toggle.addEventListener("click", () => { if (!openPaths.delete(module.path)) openPaths.add(module.path); showModules(); });
  const name = element("td", { style: `padding-left: ${10 + depth * 18}px`, title: module.path }, toggle, module.name);
  if (module.ops.length) name.append(element("span", { class: "ops" }, module.ops.join(", ")));
  if (module.shared) name.append(element("span", { class: "mark" }, "shared"));
  rows.push(element("tr", {}, name, element("td", {}, count(module.parameters)), element("td", {}, withPrefix(module.macs, "")),
    element("td", {}, withPrefix(module.flops, "")), element("td", {}, withPrefix(module.bytes, "B")), element("td", {}, time(module.latency_ns)),
    shareCell(module.share_of_step), element("td", {}, withPrefix(module.flops_per_second, "")),
    element("td", {}, withPrefix(module.bytes_per_second, "")), ...machineCells(module)));
  if (isOpen) for (const child of module.children) moduleRows(child, depth + 1, rows);
}
function showModules() {
  const rows = [];
  moduleRows(program.modules, 0, rows);
  byId("tree").replaceChildren(
    headerRow(["module", "params", "MACs", "FLOPs", "bytes", "latency", "of step", "FLOP/s", "B/s", ...machineNames]), element("tbody", {}, ...rows));
}
function openModules(module, depth) {
  if (depth <= 0) return;
  openPaths.add(module.path);
  for (const child of module.children) openModules(child, depth - 1);
}
function showKernels() {
  const rows = program.kernels.map((kernel) => {
    const color = element("i", { style: `display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 7px; background: ${colorOf(kernel.family)}` });
    const name = element("td", { title: kernel.modules.join("\n") }, color, kernel.name);
    if (kernel.ops.length > 1) name.append(element("span", { class: "mark" }, kernel.ops.length + " ops"));
    return element("tr", {}, name, element("td", {}, String(kernel.launches)), element("td", {}, time(kernel.latency_ns)),
      shareCell(kernel.share_of_step), element("td", {}, time(kernel.latency_ns / kernel.launches)),
      element("td", {}, withPrefix(kernel.flops_per_second, "")), element("td", {}, withPrefix(kernel.bytes_per_second, "")),
      element("td", {}, percent(kernel.latency_ns > 0 ? kernel.idle_ns / kernel.latency_ns : 0)), ...machineCells(kernel));
  });
  byId("kernel-table").replaceChildren(
    headerRow(["kernel", "launches", "latency", "of step", "each", "FLOP/s", "B/s", "imbalance", ...machineNames]), element("tbody", {}, ...rows));
}
function showRegions() {
  const fused = program.kernels.filter((kernel) => kernel.ops.length > 1);
  if (fused.length === 0) return byId("region-list").replaceChildren("No launch of this program holds several ops.");
  byId("region-list").replaceChildren(...fused.map((kernel, index) => element("details", { class: "region", ...(index < 3 ? { open: "" } : {}) },
    element("summary", {}, `${kernel.name}: ${kernel.launches} launches, ${time(kernel.latency_ns)} (${percent(kernel.share_of_step)} of the step)`),
    element("table", {}, headerRow(["op", "FLOPs", "attributed time", "of the region"]), element("tbody", {}, ...kernel.ops.map((op) =>
      element("tr", {}, element("td", {}, op.op), element("td", {}, withPrefix(op.flops, "")), element("td", {}, time(op.latency_ns)),
        shareCell(kernel.latency_ns > 0 ? op.latency_ns / kernel.latency_ns : 0))))))));
}
function showPredictions() {
  const list = byId("prediction-list");
  if (!hasMachine) return list.replaceChildren("Predictions need a machine description.");
  const long = program.launches.map((launch, index) => ({ launch, index })).filter(({ launch }) => launch.measured_ns >= 20000 && launch.predicted_ns > 0);
  const off = long.filter(({ launch }) => Math.abs(launch.predicted_ns / launch.measured_ns - 1) > .25);
  if (off.length === 0) return list.replaceChildren(`${long.length} launches take over 20 us, each predicted within 25 %.`);
  list.replaceChildren(`${off.length} of ${long.length} launches over 20 us are predicted more than 25 % off:`, element("div", { class: "scroll part" }, element("table", {},
    headerRow(["launch", "kernel", "module", "measured", "predicted", "off by"]), element("tbody", {}, ...off.map(({ launch, index }) =>
      element("tr", {}, element("td", {}, String(index)), element("td", { class: "words" }, launch.kernel), element("td", { class: "words" }, launch.module),
        element("td", {}, time(launch.measured_ns)), element("td", {}, time(launch.predicted_ns)),
        element("td", {}, percent(launch.predicted_ns / launch.measured_ns - 1))))))));
}
function showFindings() {
  byId("finding-list").replaceChildren(...program.findings.map((finding) => element("li", {},
    element("span", { class: "cost" }, `${time(finding.ns)} (${percent(finding.share_of_step)})`), " " + finding.text,
    element("span", { class: "remedy" }, finding.remedy))));
  if (program.findings.length === 0) byId("finding-list").replaceChildren("Nothing costs 0.5 % of the step or more.");
}

// ---- The page --------------------------------------------------------------------------------------------------------------------
function show(index) {
  program = report.programs[index];
  for (const [i, button] of [...byId("programs").children].entries()) button.setAttribute("aria-pressed", String(i === index));
  openPaths.clear();
  openModules(program.modules, 3);
  for (const part of [showSummary, showTimeline, showRoofline, showModules, showKernels, showRegions, showPredictions, showFindings]) part();
}
function start() {
  const model = report.model;
  document.title = "Profile of " + model.name;
  byId("title").textContent = document.title;
  byId("about").textContent = `${model.family}, ${count(model.parameters)} parameters, ${model.weights} weights; ${report.processor}, code for ` +
    `${report.level}${report.fusion ? ", fusion " + report.fusion : ""}; limits: ${hasMachine ? report.machine.path : "none given"}`;
  byId("notes").replaceChildren(...report.notes.map((note) =>
    element("li", report.failure && note.includes(report.failure) ? { class: "failure" } : {}, note)));
  if (report.programs.length === 0) {
    for (const section of document.querySelectorAll("section")) section.hidden = true;
    return;
  }
  byId("programs").replaceChildren(...report.programs.map((one, index) => {
    const button = element("button", { type: "button" }, `${one.program}, ${one.batch} x ${one.tokens} tokens, ${one.threads} threads: ${time(one.latency_ns.median)}`);
    button.addEventListener("click", () => show(index));
    return button;
  }));
  byId("open-all").addEventListener("click", () => { openModules(program.modules, 1e9); showModules(); });
  byId("close-all").addEventListener("click", () => { openPaths.clear(); showModules(); });
  watchTimeline();
  show(0);
}
start();
