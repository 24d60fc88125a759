// What opens below a row: sentences first, then charts, drawn when they are needed, then everything else.

const figure = (title, told, draw, words = "", after = null) => {
  const place = el("div", { class: "chart" });
  const made = el("figure", {}, el("figcaption", {}, el("b", {}, title), told ? [" ", el("span", {}, told)] : null, words ? [" ", el("em", {}, words)] : null), place, after);
  made.room = () => Math.floor(place.clientWidth);
  made.draw = (width) => {
    if (!width || width === made.width) return;
    made.width = width;
    try {
      place.replaceChildren(...[draw(width)].flat());
    } catch (error) {
      place.replaceChildren(el("p", {}, `This chart could not be drawn: ${error.message}`));
      queueMicrotask(() => { throw error; }); // it is told, and the other charts are drawn all the same
    }
  };
  return made;
};

const KEY_PATHS = { square: "M1 1h10v10H1z", circle: "M6 .5a5.5 5.5 0 100 11a5.5 5.5 0 100-11z", diamond: "M6 0l5 6-5 6-5-6z", triangle: "M6 1l6 10H0z", plus: "M4.5 0h3v4.5H12v3H7.5V12h-3V7.5H0v-3h4.5z", times: "M2 0l4 4 4-4 2 2-4 4 4 4-2 2-4-4-4 4-2-2 4-4-4-4z" };

const legend = (lanes) =>
  el("p", {}, ...lanes.map((lane) =>
    el("span", { class: "key" }, svg("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" }, svg("path", { d: KEY_PATHS[SYMBOLS[lane.name]], fill: COLOURS[lane.leg] })), lane.name)));

const figuresOf = (workload) => {
  const charts = workload.charts ?? {};
  const made = [];
  if (charts.times) {
    const lanes = charts.times.lanes;
    const reduced = lanes.filter((lane) => lane.of).map((lane) => `of ${lane.name} the extremes and the median of ${lane.of} samples a round`);
    const note = el("p", {}, "Dots are samples, the first round on top; below them median, quartiles and range", reduced.length ? `; ${reduced.join(", ")}` : "", ".");
    made.push(figure(`Time per call, ${charts.times.unit}`, charts.times.log ? "logarithmic" : "", (width) => times(charts.times, width), "", note));
    const clocks = charts.times.clock;
    if (lanes.some((lane) => lane.rounds.length > 1)) {
      const untold = clocks?.doubt && !clocks.slow ? `${clocks.doubt}. Which rounds is not known.` : clocks?.doubt ?? "";
      made.push(figure("Over rounds, %", "against each leg’s own median", (width) => [rounds(charts.times, width), ...(clocks?.values ? [el("p", {}, `Clock, ${clocks.unit}${clocks.words ? `, ${clocks.words}` : ""}`), clock(clocks, width)] : [])], "", [legend(lanes), untold ? el("p", {}, untold) : null]));
    }
  }
  if (charts.ratios) made.push(figure("Speedup, ×", `${charts.ratios.rows.some((row) => row.rounds) ? "each round, and " : ""}the 95% interval`, (width) => rows(charts.ratios, width, { colour: "var(--gpu)", log: charts.ratios.log, one: true })));
  if (charts.memory) made.push(figure(`Memory, ${charts.memory.unit}`, "", (width) => rows(charts.memory, width, { bars: true, colour: "var(--gpu)" })));
  if (charts.energy) made.push(figure(`Energy per call, ${charts.energy.unit}`, "with the 95% interval", (width) => rows(charts.energy, width, { bars: true, colour: "var(--gpu)" }), "", charts.energy.power ? el("p", {}, `Mean power of the board: ${charts.energy.power}`) : null));
  if (charts.roofline && !charts.roofline.unavailable) made.push(figure("Roofline", `${charts.roofline.text}; ${charts.roofline.bound}`, (width) => roofline(charts.roofline, width), charts.roofline.words, charts.roofline.sources ? el("p", {}, `Peaks: ${charts.roofline.sources}`) : null));
  if (charts.sweep) {
    const swept = charts.sweep;
    made.push(figure(`Time over ${swept.parameter}, ${swept.unit}`, swept.told, (width) => sweepTimes(swept, width), swept.words, swept.lacking ? el("p", {}, `${swept.lacking.join("; ")}.`) : null));
    if (swept.speedups) made.push(figure(`Speedup over ${swept.parameter}, ×`, "", (width) => sweepSpeedup(swept, width), swept.speedup_words));
  }
  for (const chart of workload.history ?? []) {
    made.push(figure(`${chart.title[0].toUpperCase()}${chart.title.slice(1)} over runs, ${chart.unit}`, (chart.changes ?? []).map((each) => `${each[1]} since ${data.runs[each[0]][0]}`).join("; "), (width) => past(chart, width, data.runs), chart.words, el("p", {}, [chart.others ? `Open circles were measured under other conditions${chart.elsewhere ? `: ${chart.elsewhere}` : ""}. ` : "", chart.problem ? `${chart.problem}.` : ""].join("").trim())));
  }
  return made;
};

const folded = (title, ...content) => el("details", {}, el("summary", {}, title), ...content);

const table = (pairs) => el("table", { class: "figures" }, el("tbody", {}, ...pairs.map(([name, value]) => el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, value)))));

const allFigures = (figures) =>
  el("div", { class: "scrolls", role: "group", "aria-label": "All figures", tabindex: "0" }, el("table", { class: "figures" },
    el("thead", {}, el("tr", {}, ...["figure", "leg", "value", "95% interval", "rounds", "words"].map((head) => el("th", { scope: "col", class: head === "value" || head === "rounds" ? "q" : null }, head)))),
    el("tbody", {}, ...figures.map(([title, leg, value, interval, count, words]) =>
      el("tr", {}, el("th", { scope: "row" }, title), el("td", {}, leg), el("td", { class: "q" }, value), el("td", {}, interval), el("td", { class: "q" }, count), el("td", {}, words ? el("em", {}, words) : ""))))));

const article = (workload, close) => {
  const charts = figuresOf(workload);
  const missing = [...(workload.missing ?? [])];
  if (workload.charts?.roofline?.unavailable) missing.push(["Roofline", workload.charts.roofline.unavailable.replace("no roofline: ", "")]);
  if (data.lacking) missing.push(["History", data.lacking]);
  const made = el("article", { "aria-label": workload.key },
    el("header", {}, el("code", {}, workload.key), el("span", {}, workload.place ?? ""), el("span", {}, workload.on ?? ""), workload.outcome ? el("span", {}, `test ${workload.outcome}`) : null, el("button", { type: "button", onclick: close }, "Close")),
    workload.verdicts ? el("ul", { class: "sentences" }, ...workload.verdicts.map((each) =>
      el("li", { class: each.outcome.replaceAll(" ", "-") }, sign(each.outcome), el("span", {}, el("b", {}, `${each.outcome}${each.watched ? ", not enforced" : ""}: `), each.sentence, each.headroom ? el("small", {}, ` headroom ${each.headroom}`) : null)))) : null,
    workload.cautions ? el("ul", { class: "cautions" }, ...workload.cautions.map(([code, message, remedy, spoils]) =>
      el("li", {}, el("b", {}, `Caution, ${code}: `), `${message}. `, el("b", {}, "What to do: "), `${remedy}.`, spoils ? el("small", {}, ` Spoils ${spoils}.`) : el("small", {}, " Spoils no verdict.")))) : null,
    charts.length ? el("div", { class: "charts" }, ...charts) : null,
    el("div", { class: "more" },
      workload.figures ? folded(`All figures (${workload.figures.length})`, allFigures(workload.figures)) : null,
      missing.length ? folded(`Unavailable (${missing.length})`, el("ul", { class: "reasons" }, ...missing.map(([what, why]) => el("li", {}, el("b", {}, what), `: unavailable, because ${why}`)))) : null,
      workload.params ? folded("Parameters", table(workload.params)) : null,
      workload.identity || workload.state ? folded("Environment of this workload", workload.identity ? [el("h3", {}, "Identity, where it differs between workloads"), table(workload.identity)] : null, workload.state ? [el("h3", {}, "State"), table(workload.state)] : null) : null),
    workload.stopped ? el("small", {}, `Measuring ended: ${workload.stopped}.`) : null);
  made.draw = () => {
    const widths = charts.map((each) => each.room()); // all are asked first: each answer after a change lays the page out anew
    charts.forEach((each, place) => each.draw(widths[place]));
  };
  return made;
};
