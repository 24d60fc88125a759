// What a person chose, kept in the address, so that a link shows the same.

const state = { find: "", show: new Set(), sort: null, down: false, open: new Set(), theme: "" };

const readState = () => {
  const given = new URLSearchParams(location.hash.slice(1));
  state.find = given.get("find") ?? "";
  state.show = new Set((given.get("show") ?? "").split(",").filter((word) => standings.includes(word))); // a link may be of another run
  const sort = Number.parseInt(given.get("sort") ?? "", 10);
  state.sort = sort >= 0 && sort < data.keys.length ? sort : null;
  state.down = given.get("order") === "down";
  state.theme = ["dark", "light"].includes(given.get("theme")) ? given.get("theme") : "";
  state.open = new Set(given.getAll("workload"));
};

const writeState = () => {
  const kept = new URLSearchParams();
  if (state.find) kept.set("find", state.find);
  if (state.show.size) kept.set("show", [...state.show].join(","));
  if (state.sort !== null) {
    kept.set("sort", state.sort);
    if (state.down) kept.set("order", "down");
  }
  if (state.theme) kept.set("theme", state.theme);
  for (const key of state.open) kept.append("workload", key);
  const hash = `#${kept}`;
  if (hash !== location.hash && !(hash === "#" && !location.hash)) {
    try {
      history.replaceState(null, "", hash);
    } catch {
      // a viewer without an address of its own: the page works, and only the link does not follow
    }
  }
};
