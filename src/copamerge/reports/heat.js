"use strict";
// Maps of numbers by layer: each <div class="heat"> is filled from the JSON of the same name.
for (const place of document.querySelectorAll("div.heat")) {
  const data = JSON.parse(document.getElementById(place.id + "-numbers").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const make = (name, attributes, parent) => {
    const made = document.createElementNS(SVG, name);
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    if (parent) parent.append(made);
    return made;
  };
  const html = (name, kind, text, parent) => {
    const made = document.createElement(name);
    if (kind) made.className = kind;
    if (text !== undefined) made.textContent = text;
    if (parent) parent.append(made);
    return made;
  };

  // Where cells lie: blocks by modules, then layers of no block, each as wide as the map.
  const { rows, columns, outside, measures, panels, reasons } = data;
  const w = Math.max(11, Math.min(30, 120 / Math.max(1, columns.length)));
  const h = Math.max(8, Math.min(20, 300 / Math.max(1, rows.length)));
  const bar = 12, letter = 5.6;
  const longest = (names) => Math.max(0, ...names.map(([, short]) => short.length)) * letter;
  const left = Math.ceil(Math.max(longest(rows), longest(outside))) + 6;
  const top = Math.ceil(longest(columns)) + 4;
  const inner = columns.length ? w * columns.length : 120;
  const below = top + h * rows.length + (rows.length && outside.length ? 4 : 0);
  const width = Math.ceil(left + inner + 2);
  const height = Math.ceil(below + bar * outside.length + 2);
  const blocks = rows.length * columns.length;
  const count = blocks + outside.length;
  const box = (i) => i < blocks
    ? [left + w * (i % columns.length), top + h * Math.floor(i / columns.length), w, h]
    : [left, below + bar * (i - blocks), inner, bar];
  const name = (i) => i < blocks
    ? rows[Math.floor(i / columns.length)][0] + "." + columns[i % columns.length][0]
    : outside[i - blocks][0];

  // Colours and numbers of the measure that is shown.
  let measure = measures[0];
  const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  const share = (value) => {
    const to = measure.log ? (x) => Math.log(Math.max(x, measure.low)) : (x) => x;
    const low = to(measure.low), high = to(measure.high);
    return high > low ? Math.min(1, Math.max(0, (to(value) - low) / (high - low))) : 0.5;
  };
  const colour = (value) => {
    const stops = measure.colours, at = share(value) * (stops.length - 1);
    const i = Math.min(Math.floor(at), stops.length - 2);
    const one = rgb(stops[i]), other = rgb(stops[i + 1]);
    return "rgb(" + one.map((x, k) => Math.round(x + (other[k] - x) * (at - i))).join() + ")";
  };
  const shown = (value) => {
    const number = measure.unit === "%" ? 100 * value : value;
    const size = Math.abs(number);
    const text = size !== 0 && (size < 1e-3 || size >= 1e5)
      ? number.toExponential(3) : String(parseFloat(number.toPrecision(4)));
    return text.replace("-", "\u2212") + (measure.unit === "%" ? " %" : measure.unit);
  };
  const said = (value) => value === null || value === undefined ? "there is no such layer"
    : typeof value === "string" ? "no value: " + reasons[value] : shown(value);

  // What stands around the maps.
  place.replaceChildren();
  const bars = html("div", "heat-bar", undefined, place);
  const label = html("label", "", "Measure ", bars);
  const select = html("select", "", undefined, label);
  measures.forEach((each, i) => { html("option", "", each.title, select).value = i; });
  if (measures.length < 2) {
    label.remove();
    html("strong", "", measures[0].title, bars);
  }
  const legend = html("span", "heat-legend", undefined, bars);
  const explains = html("p", "heat-explains", "", place);
  const tip = html("div", "heat-tip", undefined, document.body);
  tip.setAttribute("role", "status");
  tip.hidden = true;
  const hatch = place.id + "-hatch";
  const store = make("svg", { width: 0, height: 0, "aria-hidden": "true" }, place);
  store.style.position = "absolute";
  const pattern = make("pattern", { id: hatch, width: 4, height: 4, patternUnits: "userSpaceOnUse",
    patternTransform: "rotate(45)" }, make("defs", {}, store));
  make("rect", { width: 4, height: 4, class: "heat-none" }, pattern);
  make("rect", { width: 1.3, height: 4, class: "heat-line" }, pattern);

  const drawLegend = () => {
    legend.replaceChildren();
    html("span", "", shown(measure.low), legend);
    const scale = make("svg", { width: 160, height: 12, "aria-hidden": "true" }, legend);
    const fade = make("linearGradient", { id: place.id + "-fade" }, scale);
    measure.colours.forEach((stop, i, all) => make("stop", {
      offset: i / (all.length - 1), "stop-color": stop }, fade));
    make("rect", { width: 160, height: 12, fill: `url(#${place.id}-fade)` }, scale);
    html("span", "", shown(measure.high), legend);
    const words = [];
    if (measure.log) words.push("by powers of ten");
    if (measure.diverging) words.push("a dash: below " + shown(measure.middle));
    if (words.length) html("span", "heat-words", "(" + words.join("; ") + ")", legend);
    make("rect", { width: 14, height: 12, fill: `url(#${hatch})` },
      make("svg", { width: 14, height: 12, "aria-hidden": "true" }, legend));
    html("span", "", "no value", legend);
  };

  // One drawing a panel; another measure only changes colours.
  const drawn = [];
  let group = null, shelf = null;
  for (const panel of panels) {
    if (shelf === null || panel.group !== group) {
      group = panel.group;
      const whole = html("div", "heat-group", undefined, place);
      if (group) html("h4", "", group, whole);
      shelf = html("div", "heat-shelf", undefined, whole);
    }
    const figure = html("figure", "heat-panel", undefined, shelf);
    html("figcaption", "", panel.title, figure).title = panel.title;
    const svg = make("svg", { width, height, viewBox: `0 0 ${width} ${height}`, tabindex: 0,
      role: "img", "aria-label": panel.title + ": arrow keys go from layer to layer" },
      html("div", "heat-scroll", undefined, figure));
    columns.forEach(([, short], i) => {
      const x = left + w * (i + 0.5) + 3, y = top - 4;
      make("text", { transform: `translate(${x},${y}) rotate(-90)` }, svg).textContent = short;
    });
    const step = Math.ceil(10 / h);
    rows.forEach(([, short], i) => {
      if (i % step) return;
      const y = top + h * (i + 0.5) + 3;
      make("text", { x: left - 4, y, "text-anchor": "end" }, svg).textContent = short;
    });
    outside.forEach(([, short], i) => {
      const y = below + bar * (i + 0.5) + 3;
      make("text", { x: left - 4, y, "text-anchor": "end" }, svg).textContent = short;
    });
    const cells = [];
    const some = Object.values(panel.values)[0] || [];
    for (let i = 0; i < count; i++) {
      if (some[i] === null || some[i] === undefined) continue;
      const [x, y, wide, high] = box(i);
      cells[i] = make("rect", { x, y, width: wide - 0.7, height: high - 0.7 }, svg);
      cells[i].dataset.i = i;
    }
    const dashes = make("path", { class: "heat-dash" }, svg);
    const at = make("rect", { class: "heat-at", visibility: "hidden" }, svg);
    drawn.push({ panel, figure, svg, cells, dashes, at });
  }

  const paint = () => {
    explains.textContent = measure.explains;
    drawLegend();
    for (const { panel, figure, cells, dashes } of drawn) {
      const values = panel.values[measure.key];
      figure.hidden = values === undefined;
      if (figure.hidden) continue;
      let path = "";
      cells.forEach((cell, i) => {
        const value = values[i];
        cell.setAttribute("fill", typeof value === "number" ? colour(value) : `url(#${hatch})`);
        if (measure.diverging && typeof value === "number" && value < measure.middle) {
          const [x, y, wide, high] = box(i);
          path += `M${x + wide / 2 - 2.5} ${y + high / 2 - 0.3}h5`;
        }
      });
      dashes.setAttribute("d", path);
    }
    for (const whole of place.querySelectorAll(".heat-group")) {
      whole.hidden = [...whole.querySelectorAll("figure")].every((figure) => figure.hidden);
    }
  };
  select.addEventListener("change", () => {
    measure = measures[select.value];
    hide();
    paint();
  });

  // The same layer is marked in every panel; the number is said of the one pointed at.
  let on = null;
  const hide = () => {
    tip.hidden = true;
    on = null;
    for (const { at } of drawn) at.setAttribute("visibility", "hidden");
  };
  const point = (one, i) => {
    on = { one, i };
    const [x, y, wide, high] = box(i);
    for (const { at, cells } of drawn) {
      const there = { x: x - 0.6, y: y - 0.6, width: wide + 0.5, height: high + 0.5,
        visibility: cells[i] ? "visible" : "hidden" };
      for (const key in there) at.setAttribute(key, there[key]);
    }
    tip.replaceChildren();
    html("b", "", said(one.panel.values[measure.key][i]), tip);
    html("span", "", measure.title, tip);
    html("span", "heat-layer", name(i), tip);
    html("span", "", (one.panel.group ? one.panel.group + ", " : "") + one.panel.title, tip);
    tip.hidden = false;
    const cell = one.cells[i].getBoundingClientRect();
    const wideness = tip.offsetWidth, over = document.documentElement.clientWidth;
    const x0 = Math.max(4, Math.min(cell.left, over - wideness - 4));
    const under = cell.bottom + 6 + tip.offsetHeight > innerHeight && cell.top > tip.offsetHeight;
    tip.style.left = x0 + scrollX + "px";
    tip.style.top = (under ? cell.top - tip.offsetHeight - 6 : cell.bottom + 6) + scrollY + "px";
  };
  const of = (event) => {
    const one = drawn.find(({ svg }) => svg === event.target.ownerSVGElement);
    const i = event.target.dataset && event.target.dataset.i;
    return one && i !== undefined ? [one, Number(i)] : null;
  };
  place.addEventListener("pointermove", (event) => {
    const found = event.pointerType === "touch" ? null : of(event);
    if (found) point(...found);
  });
  place.addEventListener("pointerleave", (event) => {
    if (event.pointerType !== "touch") hide();
  });
  document.addEventListener("click", (event) => {
    const found = place.contains(event.target) ? of(event) : null;
    if (found) point(...found);
    else if (on) hide();
  });
  for (const one of drawn) {
    one.svg.addEventListener("blur", hide);
    one.svg.addEventListener("focus", () => {
      const first = one.cells.findIndex((cell) => cell);
      if (first >= 0 && one.svg.matches(":focus-visible")) point(one, first);
    });
    one.svg.addEventListener("keydown", (event) => {
      if (event.key === "Escape") return hide();
      const across = columns.length || 1, i = on && on.one === one ? on.i : -1;
      const turn = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: i < blocks ? across : 1,
        ArrowUp: i < blocks ? -across : -1 }[event.key];
      if (turn === undefined) return;
      event.preventDefault();
      // Over places where there is no layer, to the next one in that direction.
      let next = i < 0 ? 0 : i + turn;
      if (i < blocks && next >= blocks && turn > 1) next = blocks;
      while (next >= 0 && next < count && !one.cells[next]) next += i < 0 ? 1 : turn;
      if (next >= 0 && next < count) point(one, next);
    });
  }
  paint();
}
