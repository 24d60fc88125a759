// Drawing: every number comes from Python, here it only gets a place.

const COLOURS = { cpu: "var(--cpu)", gpu: "var(--gpu)", reference: "var(--reference)" };
const SYMBOLS = { CPU: "square", GPU: "circle", "GPU events": "diamond", reference: "triangle", upload: "plus", download: "times" };
const SLOW = "var(--inconclusive)";
const STYLE = { fontFamily: "inherit", fontSize: "11.5px", fontVariantNumeric: "tabular-nums", color: "var(--ink)" };

// Samples are told as whole steps from the figure that they belong to.
const at = (of, part) => of.value * (1 + part * of.step);

const drawn = (alt, width, options) => {
  const chart = Plot.plot({ width, style: STYLE, marginLeft: 12, marginRight: 16, ...options });
  chart.setAttribute("role", "img");
  chart.setAttribute("aria-label", alt); // the chart is told as a whole, and its parts are not
  chart.querySelectorAll("g[aria-label]").forEach((part) => part.removeAttribute("aria-label"));
  return chart;
};

// Text keeps its distance from the lines that it crosses.
const HALO = { stroke: "var(--panel)", strokeWidth: 5, fill: "currentColor" };

// What is said of a chart to those who do not see it.
const told = (rows) => rows.map((row) => `${row.name} ${row.text}${also(row.words)}`).join("; ");

const also = (words) => (words ? `, ${words}` : "");

// Which rounds the clock was low in, in words; nothing where nobody knows.
const lowIn = (slow) => (slow?.length ? `; low clock in round${slow.length > 1 ? "s" : ""} ${slow.map((place) => place + 1).join(", ")}` : "");

const GRID = { stroke: "currentColor", strokeOpacity: 0.1 };

const spread = (place, count) => (count > 1 ? place / (count - 1) - 0.5 : 0);

const label = (text, at, more = {}) =>
  Plot.text([text], { text: (each) => each, frameAnchor: "left", textAnchor: "start", y: () => at, fontWeight: 600, ...HALO, ...more });

const extent = (values, log, zero = false) => {
  const known = values.filter((each) => Number.isFinite(each) && (!log || each > 0));
  let low = Math.min(...known);
  let high = Math.max(...known);
  if (log) return [low / 1.15, high * 1.15];
  if (zero) low = Math.min(0, low);
  const room = (high - low || Math.abs(high) || 1) * 0.06;
  return [zero && low === 0 ? 0 : low - room, high + room];
};

const axisX = (log, width) => [
  Plot.gridX({ ...GRID, ticks: Math.max(3, width / 90) }),
  Plot.axisX({ label: null, tickSize: 0, ticks: Math.max(3, width / 90), ...(log ? { tickFormat: "~g" } : {}) }),
];

// -- time per call: every lane's samples, first round on top, with median and quartiles below --

const times = (chart, width) => {
  const lanes = chart.lanes;
  const dots = lanes.flatMap((lane, place) =>
    lane.rounds.flatMap((samples, round) =>
      samples.map((part) => ({ x: at(lane, part), y: place + spread(round, lane.rounds.length) * 0.34, lane, round: (lane.at?.[round] ?? round) + 1 }))));
  const limits = (chart.limits ?? []).map((each) => ({ ...each, y: lanes.findIndex((lane) => lane.name === each.lane) }));
  const values = [...dots.map((each) => each.x), ...limits.map((each) => each.value)];
  return drawn(`time per call: ${told(lanes)}`, width, {
    height: 40 + lanes.length * (limits.length ? 86 : 66),
    x: { type: chart.log ? "log" : "linear", domain: extent(values, chart.log) },
    y: { axis: null, domain: [-0.55, lanes.length - 0.55], reverse: true },
    marks: [
      ...axisX(chart.log, width),
      Plot.dot(dots, { x: "x", y: "y", r: 2.4, symbol: (each) => SYMBOLS[each.lane.name], fill: (each) => COLOURS[each.lane.leg], stroke: null, fillOpacity: 0.45, title: (each) => `${each.lane.name}, round ${each.round}: ${number(each.x)} ${chart.unit}` }),
      Plot.link(lanes, { x1: (lane) => at(lane, lane.box[1]), x2: (lane) => at(lane, lane.box[3]), y1: (_, i) => i + 0.27, y2: (_, i) => i + 0.27, stroke: (lane) => COLOURS[lane.leg], strokeWidth: 5 }),
      Plot.link(lanes, { x1: (lane) => at(lane, lane.box[0]), x2: (lane) => at(lane, lane.box[4]), y1: (_, i) => i + 0.27, y2: (_, i) => i + 0.27, stroke: (lane) => COLOURS[lane.leg], strokeWidth: 1 }),
      Plot.dot(lanes, { x: (lane) => at(lane, lane.box[2]), y: (_, i) => i + 0.27, r: 3.5, fill: "var(--panel)", stroke: (lane) => COLOURS[lane.leg], strokeWidth: 2 }),
      limits.map((each) => Plot.link([each], { x1: "value", x2: "value", y1: each.y - 0.25, y2: each.y + 0.37, stroke: "currentColor", strokeWidth: 1.5 })),
      limits.map((each) => Plot.text([each], { x: "value", y: each.y + 0.37, text: "text", fontSize: 10.5, ...HALO, ...beside(each.value, extent(values, chart.log), chart.log) })),
      lanes.map((lane, place) => label(`${lane.name}   ${lane.text}${lane.words ? `   ${lane.words}` : ""}`, place - 0.38)),
    ],
  });
};

// -- over rounds: how far each sample lies from its own leg's median --

const percent = (part) => `${part > 0 ? "+" : part < 0 ? "−" : ""}${Plot.format(".3~g")(Math.abs(part))}%`;

const rounds = (chart, width) => {
  const shown = chart.lanes.filter((lane) => lane.rounds.length > 1);
  const slow = chart.clock?.slow ?? [];
  const of = (lane, place) => (lane.at?.[place] ?? place) + 1;
  const dots = shown.filter((lane) => lane.name !== "GPU events").flatMap((lane) => lane.rounds.flatMap((samples, place) => samples.map((part) => ({ x: of(lane, place), y: part * lane.step * 100, lane }))));
  const lines = shown.flatMap((lane) => lane.medians.map((part, place) => ({ x: of(lane, place), y: part * lane.step * 100, lane })));
  const last = Math.max(...lines.map((each) => each.x));
  const bands = slow.map((place) => ({ x1: place + 0.5, x2: place + 1.5 }));
  const reach = shown.map((lane) => [lane, ...[Math.min, Math.max].map((end) => percent(end(...lane.rounds.flat()) * lane.step * 100))]);
  return drawn(`time over rounds, as the difference from each leg's median: ${reach.map(([lane, low, high]) => `${lane.name} ${low} to ${high}${also(lane.words)}`).join("; ")}${lowIn(slow)}`, width, {
    height: 200,
    marginLeft: 44,
    x: { domain: [0.5, last + 0.5] },
    y: { domain: extent([...dots.map((each) => each.y), 2, -2], false) },
    marks: [
      Plot.rect(bands, { x1: "x1", x2: "x2", fill: SLOW, fillOpacity: 0.2 }),
      Plot.text(bands.slice(0, 1), { x: (each) => (each.x1 + each.x2) / 2, frameAnchor: "top", text: () => "low clock", fill: SLOW, fontWeight: 600, dy: -6, textAnchor: "middle" }),
      Plot.gridY({ ...GRID, ticks: 5 }),
      Plot.axisY({ label: null, tickSize: 0, ticks: 5, tickFormat: percent }),
      Plot.axisX({ label: null, tickSize: 0, ticks: Math.min(last, 8), tickFormat: (each) => (Number.isInteger(each) ? String(each) : "") }),
      Plot.ruleY([0], { strokeOpacity: 0.35 }),
      Plot.dot(dots, { x: "x", y: "y", r: 1.8, symbol: (each) => SYMBOLS[each.lane.name], fill: (each) => COLOURS[each.lane.leg], fillOpacity: 0.4 }),
      shown.map((lane) => Plot.lineY(lines.filter((each) => each.lane === lane), { x: "x", y: "y", stroke: COLOURS[lane.leg], strokeWidth: 1.5, strokeDasharray: lane.name === "GPU events" ? "2 3" : null })),
    ],
  });
};

const clock = (chart, width) => {
  const points = chart.values.map((y, place) => ({ x: (chart.at?.[place] ?? place) + 1, y, slow: (chart.slow ?? []).includes(chart.at?.[place] ?? place) }));
  return drawn(`clock over rounds: ${Math.min(...chart.values)} to ${Math.max(...chart.values)} ${chart.unit}${also(chart.words)}${lowIn(chart.slow)}`, width, {
    height: 78,
    marginLeft: 44,
    marginTop: 8,
    x: { domain: [0.5, Math.max(...points.map((each) => each.x)) + 0.5], axis: null },
    y: { domain: extent(chart.values, false) },
    marks: [
      Plot.gridY({ ...GRID, ticks: 2 }),
      Plot.axisY({ label: null, tickSize: 0, ticks: 2 }),
      Plot.lineY(points, { x: "x", y: "y", curve: "step", stroke: "var(--gpu)" }),
      Plot.dot(points, { x: "x", y: "y", r: 2.5, fill: (each) => (each.slow ? SLOW : "var(--gpu)"), title: (each) => `round ${each.x}: ${each.y} ${chart.unit}${each.slow ? ", low" : ""}` }),
    ],
  });
};

// -- rows with intervals: speedups, memory, energy --

// A limit's text stands beside its line where there is room, or below it, and stays inside the chart.
const beside = (value, [low, high], log, bars) => {
  const part = log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
  if (bars) return part > 0.6 ? { textAnchor: "end", dx: -6 } : { textAnchor: "start", dx: 6 };
  return { dy: 7, textAnchor: part > 0.75 ? "end" : part < 0.25 ? "start" : "middle" };
};

const rows = (chart, width, { bars, colour, log = false, one = false }) => {
  const names = chart.rows.map((row) => row.name);
  const limits = (chart.limits ?? []).map((each) => ({ ...each, y: names.indexOf(each.row) }));
  const ends = chart.rows.filter((row) => row.interval);
  const dots = chart.rows.flatMap((row, place) => (row.rounds ?? []).map((part, round) => ({ x: at(row, part), y: place + spread(round, row.rounds.length) * 0.26 })));
  const values = [...chart.rows.map((row) => row.value), ...ends.flatMap((row) => row.interval), ...dots.map((each) => each.x), ...limits.map((each) => each.value), ...(one ? [1] : [])];
  const domain = extent(values.filter((each) => each !== null), log, bars);
  const of = (row) => COLOURS[row.leg] ?? colour;
  const inside = (each, fallback) => (each === null ? fallback : each);
  return drawn(told(chart.rows), width, {
    height: 30 + names.length * (bars ? 46 : limits.length ? 82 : 58),
    marginTop: 12,
    x: { type: log ? "log" : "linear", domain },
    y: { axis: null, domain: [-0.62, names.length - 0.45], reverse: true },
    marks: [
      ...axisX(log, width),
      one ? Plot.ruleX([1], { strokeOpacity: 0.5, strokeDasharray: "3 3" }) : null,
      bars ? Plot.ruleX([0], { strokeOpacity: 0.35 }) : null, // net of idling, an energy may be below nothing
      bars ? Plot.rect(chart.rows, { x1: 0, x2: "value", y1: (_, i) => i - 0.07, y2: (_, i) => i + 0.2, fill: of, fillOpacity: 0.3 }) : null,
      Plot.dot(dots, { x: "x", y: "y", r: 2.2, fill: colour, fillOpacity: 0.4 }),
      Plot.link(ends, { x1: (row) => inside(row.interval[0], domain[0]), x2: (row) => inside(row.interval[1], domain[1]), y1: (row) => names.indexOf(row.name) + (bars ? 0.065 : 0.24), y2: (row) => names.indexOf(row.name) + (bars ? 0.065 : 0.24), stroke: of, strokeWidth: 2 }),
      Plot.dot(bars ? ends : chart.rows, { x: "value", y: (row) => names.indexOf(row.name) + (bars ? 0.065 : 0.24), r: 4, fill: of }),
      limits.map((each) => Plot.link([each], { x1: "value", x2: "value", y1: each.y - 0.22, y2: each.y + 0.36, stroke: "currentColor", strokeWidth: 1.5 })),
      limits.map((each) => Plot.text([each], { x: "value", y: each.y + (bars ? 0.065 : 0.34), text: "text", fontSize: 10.5, ...HALO, ...beside(each.value, domain, log, bars) })),
      chart.rows.map((row, place) => label(`${row.name}   ${row.text}${row.words ? `   ${row.words}` : ""}`, place - 0.4)),
    ].filter(Boolean),
  });
};

// -- roofline --

const si = Plot.format("~s");
const number = Plot.format(".4~g");
const tens = (format) => (value) => (Math.abs(Math.log10(value) % 1) < 1e-9 ? format(value) : "");

const roofline = (chart, width) => {
  const [x, y] = chart.point;
  const [[left, low], ridge, [right, top]] = chart.roof;
  const floor = Math.min(low, y) / 2;
  return drawn(chart.alt, width, {
    height: 250,
    marginLeft: 48,
    marginBottom: 42,
    x: { type: "log", domain: [left, right] },
    y: { type: "log", domain: [floor, top * 4] },
    marks: [
      Plot.gridX({ ...GRID, ticks: 5 }),
      Plot.gridY({ ...GRID, ticks: 5 }),
      Plot.axisX({ label: "FLOP/B", labelAnchor: "right", labelArrow: "none", labelOffset: 38, tickSize: 0, ticks: 5, tickFormat: tens(Plot.format("~g")) }),
      Plot.axisY({ label: "FLOP/s", labelAnchor: "top", labelArrow: "none", tickSize: 0, ticks: 5, tickFormat: tens(si) }),
      Plot.line(chart.roof, { stroke: "currentColor", strokeWidth: 1.75 }),
      Plot.link([chart], { x1: x, x2: x, y1: y, y2: "ceiling", stroke: "var(--gpu)", strokeDasharray: "3 3" }),
      Plot.dot([chart.point], { r: 5, fill: "var(--gpu)" }),
      Plot.text([chart.labels[1]], { x: () => right, y: () => top, text: (each) => each, textAnchor: "end", dy: -9, ...HALO }),
      Plot.text([chart.labels[0]], { x: () => Math.sqrt(left * ridge[0]), y: () => Math.sqrt(low * top), text: (each) => each, textAnchor: "start", dx: 10, dy: 10, ...HALO }),
    ],
  });
};

// -- sweep --

const crossing = (chart) => [
  chart.band ? Plot.rectX([chart.band], { x1: (each) => each[0], x2: (each) => each[1], fill: SLOW, fillOpacity: 0.18 }) : null,
  chart.crossover ? Plot.ruleX([chart.crossover], { stroke: SLOW, strokeWidth: 1.5 }) : null,
];

const sized = (chart, points) => {
  const sizes = points.map((each) => each[0]).concat(chart.band ?? [], chart.crossover ?? []);
  return { type: "log", domain: extent(sizes, true) };
};

const sweepTimes = (chart, width) => {
  const legs = Object.entries(chart.legs);
  const points = legs.flatMap(([, each]) => each);
  const every = [...points.flatMap((each) => each.slice(1)), ...Object.values(chart.curves ?? {}).flatMap((each) => (each ?? []).map((point) => point[1]))];
  return drawn(`time over ${chart.parameter}; ${chart.told}${also(chart.words)}`, width, {
    height: 260,
    marginLeft: 48,
    marginBottom: 42,
    x: sized(chart, points),
    y: { type: "log", domain: extent(every.filter((each) => each !== null), true) },
    marks: [
      ...crossing(chart),
      Plot.gridX({ ...GRID, ticks: 5 }),
      Plot.gridY({ ...GRID, ticks: 5 }),
      Plot.axisX({ label: chart.parameter, labelAnchor: "right", labelArrow: "none", labelOffset: 38, tickSize: 0, ticks: Math.max(3, width / 110), tickFormat: "~s" }),
      Plot.axisY({ label: null, tickSize: 0, ticks: 5, tickFormat: tens(si) }),
      legs.map(([leg]) => (chart.curves?.[leg] ? Plot.line(chart.curves[leg], { stroke: COLOURS[leg], strokeWidth: 1.5 }) : null)),
      legs.map(([leg, each]) => Plot.ruleX(each.filter((point) => point[2] !== null), { x: "0", y1: "2", y2: "3", stroke: COLOURS[leg], strokeWidth: 2 })),
      legs.map(([leg, each]) => Plot.dot(each, { x: "0", y: "1", r: 3.5, fill: COLOURS[leg], symbol: leg === "cpu" ? "square" : "circle", title: (point) => `${leg.toUpperCase()}, ${chart.parameter} = ${point[0]}: ${point[1]} ${chart.unit}` })),
      legs.map(([leg, each]) => Plot.text(each.slice(-1), { x: "0", y: "1", text: () => leg.toUpperCase(), fontWeight: 600, textAnchor: "end", dx: -8, dy: leg === "cpu" ? -10 : 15, ...HALO, fill: COLOURS[leg] })),
    ].flat().filter(Boolean),
  });
};

const sweepSpeedup = (chart, width) =>
  drawn(`speedup over ${chart.parameter}; ${chart.told}${also(chart.speedup_words)}`, width, {
    height: 260,
    marginLeft: 48,
    marginBottom: 42,
    x: sized(chart, chart.speedups),
    y: { type: "log", domain: extent([...chart.speedups.flatMap((each) => each.slice(1)).filter((each) => each !== null), 1], true) },
    marks: [
      ...crossing(chart),
      Plot.gridX({ ...GRID, ticks: 5 }),
      Plot.gridY({ ...GRID, ticks: 5 }),
      Plot.axisX({ label: chart.parameter, labelAnchor: "right", labelArrow: "none", labelOffset: 38, tickSize: 0, ticks: Math.max(3, width / 110), tickFormat: "~s" }),
      Plot.axisY({ label: null, tickSize: 0, ticks: 5, tickFormat: (each) => `${Plot.format("~g")(each)}×` }),
      Plot.ruleY([1], { strokeDasharray: "3 3", strokeOpacity: 0.6 }),
      Plot.ruleX(chart.speedups.filter((point) => point[2] !== null), { x: "0", y1: "2", y2: "3", stroke: "var(--gpu)", strokeWidth: 2 }),
      Plot.line(chart.speedups, { x: "0", y: "1", stroke: "var(--gpu)", strokeOpacity: 0.5 }),
      Plot.dot(chart.speedups, { x: "0", y: "1", r: 3.5, fill: "var(--gpu)", title: (point) => `${chart.parameter} = ${point[0]}: ${point[1]}×` }),
    ].filter(Boolean),
  });

// -- history --

const past = (chart, width, runs) => {
  const every = chart.values.map((part, place) => ({ x: chart.at?.[place] ?? (chart.first ?? 0) + place, y: at(chart, part) }));
  const foreign = new Map((chart.others ?? []).map((x, place) => [x, chart.on?.[place] ?? ""]));
  const points = every.filter((each) => !foreign.has(each.x));
  const others = every.filter((each) => foreign.has(each.x));
  const named = (x) => `${runs[x][0]}, ${runs[x][1]}${runs[x][2] ? `, ${runs[x][2]}` : ""}`;
  const last = runs.length - 1;
  const first = every[0].x;
  const steps = Math.max(1, Math.round(width / 150));
  const ticks = [...new Set(Array.from({ length: steps + 1 }, (_, i) => Math.round(first + ((last - first) * i) / steps)))];
  return drawn(chart.alt, width, { // the axis reaches 10 % to either side at least, so that noise is no mountain
    height: 190,
    marginLeft: 48,
    marginRight: 24,
    x: { domain: [first - 0.5, last + 0.5] },
    y: { domain: extent([...every.map((each) => each.y), chart.value * 1.1, chart.value / 1.1], false) },
    marks: [
      Plot.gridY({ ...GRID, ticks: 4 }),
      Plot.axisY({ label: null, tickSize: 0, ticks: 4 }),
      Plot.axisX({ label: null, tickSize: 0, ticks, tickFormat: (x) => runs[x][0].split(",")[0] }),
      (chart.levels ?? []).map(([x1, x2, y]) => Plot.link([0], { x1: x1 - 0.5, x2: x2 + 0.5, y1: y, y2: y, stroke: "currentColor", strokeOpacity: 0.35, strokeWidth: 5 })),
      (chart.changes ?? []).map(([x, text]) => [
        Plot.ruleX([x - 0.5], { stroke: SLOW, strokeDasharray: "3 3" }),
        Plot.text([text.split(" (")[0]], { x: () => x - 0.5, frameAnchor: "top", text: (each) => each, fill: SLOW, fontWeight: 600, dy: -7, textAnchor: x > last / 2 ? "end" : "start" }),
      ]),
      Plot.line(points, { x: "x", y: "y", stroke: "var(--gpu)", strokeOpacity: 0.5 }),
      Plot.dot(points, { x: "x", y: "y", r: (each) => (each.x === last ? 5 : 3), fill: "var(--gpu)", title: (each) => `${named(each.x)}: ${number(each.y)} ${chart.unit}` }),
      Plot.dot(others, { x: "x", y: "y", r: 3, stroke: "var(--unavailable)", title: (each) => `${named(each.x)}: ${number(each.y)} ${chart.unit}; under other conditions${foreign.get(each.x) ? `: ${foreign.get(each.x)}` : ""}` }),
    ].flat(2),
  });
};
