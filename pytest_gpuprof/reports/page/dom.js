// Elements: their text is text, whatever is in it.

const el = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((each) => each !== null && each !== undefined && each !== "" && each !== false));
  return made;
};

const SVG = "http://www.w3.org/2000/svg";

const svg = (name, attributes = {}, ...children) => {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};

const sign = (outcome) =>
  svg("svg", { class: "sign", "aria-hidden": "true" }, svg("use", { href: `#${outcome.replaceAll(" ", "-")}` }));

// Text that occurs several times is stored once; "~7" is the text number 7.
const data = (() => {
  const { texts, value } = JSON.parse(document.getElementById("data").textContent);
  const whole = (each) => {
    if (typeof each === "string") return each[0] === "~" ? texts[Number(each.slice(1))] : each;
    if (each === null || typeof each !== "object") return each;
    for (const key of Object.keys(each)) each[key] = whole(each[key]);
    return each;
  };
  return whole(value);
})();

// What a workload is called in an address.
for (const each of data.workloads) each.key = [each.test, each.name].filter(Boolean).join(" ");
