// What the page uses of Observable Plot and D3; esbuild leaves everything else out.
export { axisX, axisY, dot, gridX, gridY, line, lineY, link, plot, rect, rectX, ruleX, ruleY, text } from "@observablehq/plot";
export { format } from "d3-format";
