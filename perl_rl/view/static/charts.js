"use strict";
// The values under the pointer, or under a cursor that the arrow keys move; a click or Enter opens the step.
// One set of listeners on the document serves charts that a live page replaces.
{
  const SVG = "http://www.w3.org/2000/svg";
  const read = new WeakMap();

  const dataOf = (drawing) => {
    if (!read.has(drawing)) read.set(drawing, JSON.parse(drawing.dataset.chart));
    return read.get(drawing);
  };

  const nearest = (xs, x) => {
    let best = 0;
    for (let at = 1; at < xs.length; at++) if (Math.abs(xs[at] - x) < Math.abs(xs[best] - x)) best = at;
    return best;
  };

  const made = (name, attributes) => {
    const one = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, value);
    return one;
  };

  const hide = (drawing) => {
    for (const one of drawing.querySelectorAll(".cursor, .dot, .tip")) one.remove();
    delete drawing.dataset.at;
  };

  const show = (drawing, at) => {
    hide(drawing);
    const data = dataOf(drawing);
    const svg = drawing.querySelector("svg");
    const box = svg.viewBox.baseVal;
    drawing.dataset.at = at;
    svg.append(made("line", { class: "cursor", x1: data.xs[at], x2: data.xs[at], y1: 8, y2: box.height - 22 }));
    const tip = document.createElement("div");
    tip.className = "tip";
    tip.setAttribute("role", "status");
    tip.append(`step ${data.steps[at]}${data.over > 1 ? `, mean over ${data.over}` : ""}`);
    for (const line of data.lines) {
      if (line.values[at] === null) continue;
      if (svg.querySelector(".line")) {
        svg.append(made("circle", { class: `dot c${line.colour}`, cx: data.xs[at], cy: line.ys[at], r: 3.6 }));
      }
      const row = document.createElement("div");
      const swatch = document.createElement("span");
      swatch.className = `swatch c${line.colour}`;
      const value = document.createElement("b");
      value.textContent = line.values[at];
      row.append(swatch, `${line.label} `, value);
      tip.append(row);
    }
    drawing.append(tip);
    const share = data.xs[at] / box.width;
    const room = drawing.clientWidth - tip.offsetWidth;
    const beside = share < 0.5 ? share * drawing.clientWidth + 12 : share * drawing.clientWidth - tip.offsetWidth - 12;
    tip.style.left = `${Math.max(0, Math.min(room, beside))}px`;
  };

  const under = (event) => {
    const drawing = event.target.closest?.("[data-chart]");
    if (!drawing || !drawing.dataset.chart) return null;
    const svg = drawing.querySelector("svg");
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    return [drawing, nearest(dataOf(drawing).xs, x)];
  };

  const open = (drawing) => {
    if (!drawing.dataset.step || drawing.dataset.at === undefined) return;
    const step = dataOf(drawing).steps[drawing.dataset.at];
    if (drawing.dataset.steps !== undefined && !drawing.dataset.steps.split(" ").includes(String(step))) return;
    location.href = drawing.dataset.step.replace(/steps\/\d+/, `steps/${step}`);
  };

  let shown = null;
  document.addEventListener("pointermove", (event) => {
    const found = under(event);
    if (shown && (!found || found[0] !== shown)) hide(shown);
    shown = found && found[0];
    if (found) show(...found);
  });
  document.addEventListener("pointerleave", () => shown && hide(shown));
  document.addEventListener("click", (event) => {
    const found = under(event);
    if (!found) return;
    // The first tap of a finger shows the values, the second one on the same step opens it.
    const known = found[0].dataset.at === String(found[1]);
    show(...found);
    if (known || event.pointerType !== "touch") open(found[0]);
  });
  document.addEventListener("focusout", (event) => {
    const drawing = event.target.closest?.("[data-chart]");
    if (drawing) hide(drawing);
  });
  document.addEventListener("keydown", (event) => {
    const drawing = event.target.closest?.("[data-chart]");
    if (!drawing || event.ctrlKey || event.metaKey || event.altKey) return;
    const last = dataOf(drawing).xs.length - 1;
    const at = drawing.dataset.at === undefined ? last : Number(drawing.dataset.at);
    const to = { ArrowLeft: Math.max(0, at - 1), ArrowRight: Math.min(last, at + 1), Home: 0, End: last }[event.key];
    if (event.key === "Enter") open(drawing);
    else if (event.key === "Escape") hide(drawing);
    else if (to === undefined) return;
    else show(drawing, to);
    event.preventDefault();
    event.stopPropagation();
  }, true);
}
