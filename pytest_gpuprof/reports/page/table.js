// The rows: sorting, filtering, opening, and moving between them by keyboard.

const body = document.querySelector("#workloads > tbody");
const heads = [...document.querySelectorAll("#workloads > thead th")];
const rowsOf = [...body.querySelectorAll("tr[data-n]")];
const details = new Map();
const nothing = el("tr", { class: "nothing" }, el("td", { colspan: heads.length }, rowsOf.length ? "No workload is meant: loosen the filter." : "This run has no record of a workload."));

const texts = rowsOf.map((row, n) => {
  const { key, on } = data.workloads[n];
  return `${key} ${on ?? ""}`.toLowerCase();
});
const standings = rowsOf.map((row) => row.querySelector(".v span").textContent);

const isShown = (n) =>
  (!state.show.size || state.show.has(standings[n])) &&
  state.find.toLowerCase().split(/\s+/).every((part) => texts[n].includes(part));

const order = () => {
  const every = rowsOf.map((_, n) => n);
  if (state.sort === null) return every;
  const keys = data.keys[state.sort];
  const turn = state.down ? -1 : 1;
  return every.sort((a, b) => {
    const [x, y] = [keys[a], keys[b]];
    if (x === y) return a - b;
    if (x === null) return 1;
    if (y === null) return -1;
    return (typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y) * turn;
  });
};

const arrange = () => {
  const focused = document.activeElement;
  const shown = order().filter(isShown);
  const placed = shown.flatMap((n) => (details.has(n) ? [rowsOf[n], details.get(n)] : [rowsOf[n]]));
  body.replaceChildren(...(placed.length ? placed : [nothing]));
  if (body.contains(focused)) focused.focus({ preventScroll: true });
  heads.forEach((head, place) => {
    if (place === state.sort) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  });
  document.querySelectorAll("[data-show]").forEach((button) => button.setAttribute("aria-pressed", String(state.show.has(button.dataset.show))));
  document.getElementById("shown").textContent =
    shown.length === rowsOf.length ? `${rowsOf.length} workloads` : `${shown.length} of ${rowsOf.length} workloads`;
};

const setOpen = (n, open) => {
  const button = rowsOf[n].querySelector(".open");
  if (open === details.has(n)) return;
  button.setAttribute("aria-expanded", String(open));
  rowsOf[n].classList.toggle("row-open", open);
  const { key } = data.workloads[n];
  if (!open) {
    details.get(n).remove();
    details.delete(n);
    state.open.delete(key);
    return;
  }
  const shown = article(data.workloads[n], () => closeAt(n));
  const row = el("tr", { class: "detail" }, el("td", { colspan: heads.length }, shown));
  row.draw = shown.draw;
  details.set(n, row);
  state.open.add(key);
  rowsOf[n].after(row);
  if (row.isConnected) shown.draw();
};

const closeAt = (n) => {
  setOpen(n, false);
  writeState();
  rowsOf[n].querySelector(".open").focus();
};

const redraw = () => details.forEach((row) => row.isConnected && row.draw());

const move = (step) => {
  const shown = [...body.querySelectorAll("tr[data-n]")];
  const here = document.activeElement.closest?.("tr[data-n], tr.detail");
  const row = here?.classList.contains("detail") ? here.previousElementSibling : here;
  const place = row ? shown.indexOf(row) + step : step > 0 ? 0 : shown.length - 1;
  const next = shown[Math.min(Math.max(place, 0), shown.length - 1)];
  next?.querySelector(".open").focus();
  next?.scrollIntoView({ block: "nearest" });
};
