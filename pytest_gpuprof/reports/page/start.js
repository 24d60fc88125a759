// Everything is put together here.

const find = document.getElementById("find");
const theme = document.getElementById("theme");

const THEMES = [["", "as the system"], ["dark", "dark"], ["light", "light"]];

const dress = () => {
  if (state.theme) document.documentElement.dataset.theme = state.theme;
  else delete document.documentElement.dataset.theme;
  theme.textContent = `Theme: ${THEMES.find(([name]) => name === state.theme)[1]}`;
};

const apply = () => {
  readState();
  find.value = state.find;
  dress();
  const wanted = new Set(state.open);
  data.workloads.forEach((workload, n) => setOpen(n, wanted.has(workload.key)));
  state.open = new Set([...wanted].filter((key) => data.workloads.some((workload) => workload.key === key)));
  arrange();
  redraw();
};

const changed = () => {
  arrange();
  redraw();
  writeState();
};

find.addEventListener("input", () => {
  state.find = find.value;
  changed();
});

document.querySelector(".show").addEventListener("click", (event) => {
  const name = event.target.closest("[data-show]")?.dataset.show;
  if (!name) return;
  if (!state.show.delete(name)) state.show.add(name);
  changed();
});

heads.forEach((head, place) => head.querySelector("button").addEventListener("click", () => {
  const figures = head.classList.contains("n");
  if (state.sort !== place) [state.sort, state.down] = [place, figures]; // of a figure the greatest is asked for first
  else if (state.down === figures) state.down = !figures;
  else [state.sort, state.down] = [null, false];
  changed();
}));

body.addEventListener("click", (event) => {
  const row = event.target.closest("tr[data-n]");
  if (!row || String(getSelection())) return;
  const n = Number(row.dataset.n);
  setOpen(n, !details.has(n));
  writeState();
});

theme.addEventListener("click", () => {
  const place = THEMES.findIndex(([name]) => name === state.theme);
  state.theme = THEMES[(place + 1) % THEMES.length][0];
  dress();
  writeState();
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.closest?.("input, textarea, select");
  const onRow = document.activeElement.matches?.("tr[data-n] .open"); // inside an opened workload arrows scroll
  if (event.key === "Escape") {
    const row = document.activeElement.closest?.("tr[data-n], tr.detail");
    const own = row?.classList.contains("detail") ? row.previousElementSibling : row;
    const n = own ? Number(own.dataset.n) : [...details.keys()].at(-1);
    if (typing && find.value) {
      find.value = state.find = "";
      changed();
    } else if (typing) find.blur();
    else if (details.has(n)) closeAt(n);
    return;
  }
  if (typing) return;
  const step = { j: 1, k: -1, ArrowDown: onRow && 1, ArrowUp: onRow && -1 }[event.key];
  if (step) move(step);
  else if (event.key === "/") find.focus();
  else return;
  event.preventDefault();
});

let waiting = 0;
addEventListener("resize", () => {
  cancelAnimationFrame(waiting);
  waiting = requestAnimationFrame(redraw);
});
addEventListener("hashchange", apply);

document.querySelector(".controls").hidden = false;
theme.hidden = false;
document.documentElement.classList.add("scripted");
[...heads, ...rowsOf].flatMap((each) => [...each.querySelectorAll("button")]).forEach((button) => (button.disabled = false));
apply();
const first = [...details.keys()][0];
if (first !== undefined) rowsOf[first].scrollIntoView();
