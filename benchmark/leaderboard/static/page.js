"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const metrics = new Map(data.metrics.map((metric) => [metric.key, metric]));
  const PAGE = 150, SERIES = 6;
  const state = { protocol: "", test: "", level: "", train: "", kind: "", metric: "auc", query: "", only: false, sort: "best", down: true };
  let shown = PAGE;
  let opened = ""; // the row of the detail view, for links to it
  let picked = null; // row numbers drawn in the charts; null = the first measured rows of the view

  const byId = (id) => document.getElementById(id);
  function make(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (key === "class") node.className = value;
      else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else node.setAttribute(key, value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }
  function draw(tag, attributes = {}, text = null) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== null) node.textContent = text;
    return node;
  }
  const format = (value, metric) => (metric.percent ? (100 * value).toFixed(2) : value.toFixed(4));
  const millions = (count) => (count >= 1e6 ? `${(count / 1e6).toFixed(1)} M` : count >= 1e3 ? `${(count / 1e3).toFixed(1)} k` : `${count}`);
  const valueOf = (row) => row.values[state.metric];

  const columns = [
    { key: "rank", label: "#", cls: "rank" },
    { key: "detector", label: "Detector", sort: (row) => row.detector.toLowerCase(), cls: "lead" },
    { key: "train", label: "Trained on", sort: (row) => row.train.toLowerCase(), cls: "words" },
    { key: "test", label: "Test set", sort: (row) => `${row.test} ${row.fold}`.toLowerCase(), cls: "words" },
    { key: "level", label: "Level", sort: (row) => row.level },
    { key: "measured", label: "Measured", sort: (row) => (row.kind === "measured" ? valueOf(row)?.[0] : undefined), cls: "number", score: true },
    { key: "published", label: "Published", sort: (row) => (row.kind === "published" ? valueOf(row)?.[0] : undefined), cls: "number", score: true },
    { key: "scale", label: "Interval", cls: "" },
    { key: "parameters", label: "Parameters", sort: (row) => row.parameters ?? undefined, cls: "number", score: true },
    { key: "speed", label: "Images/s", sort: (row) => row.speed ?? undefined, cls: "number", score: true },
    { key: "marks", label: "Comparable", sort: (row) => row.marks.length, cls: "" },
  ];
  const orders = { best: (row) => valueOf(row)?.[0] };
  for (const column of columns) if (column.sort) orders[column.key] = column.sort;

  // ---------------------------------------------------------------------------------------------- filters
  const filters = {
    protocol: (row) => row.protocol, test: (row) => row.test, level: (row) => row.level, train: (row) => row.train, kind: (row) => row.kind,
  };
  const allLabels = { protocol: "all protocols", test: "all test sets", level: "frame and video", train: "any", kind: "measured and published" };

  function matches(row, except) {
    for (const key in filters) if (key !== except && state[key] && filters[key](row) !== state[key]) return false;
    if (!valueOf(row)) return false;
    if (state.only && row.marks.length) return false;
    const query = state.query.trim().toLowerCase();
    return !query || `${row.detector} ${row.about}`.toLowerCase().includes(query);
  }
  function fill(select, values, current, first) {
    select.replaceChildren(...(first === null ? [] : [make("option", { value: "" }, first)]));
    for (const [value, label] of values) select.append(make("option", { value }, label));
    select.value = current;
  }
  function fillFilters() {
    for (const key in filters) {
      const counts = new Map();
      for (const row of data.rows) if (matches(row, key)) counts.set(filters[key](row), (counts.get(filters[key](row)) || 0) + 1);
      if (state[key] && !counts.has(state[key])) counts.set(state[key], 0);
      const values = [...counts].filter(([value]) => value !== "").sort((a, b) => a[0].localeCompare(b[0]));
      fill(byId(key), values.map(([value, count]) => [value, `${value} (${count})`]), state[key], allLabels[key]);
    }
    fill(byId("metric"), data.metrics.map((metric) => [metric.key, metric.label]), state.metric, null);
    fill(byId("order"), [["best", "value"], ...columns.filter((column) => column.sort).map((column) => [column.key, column.label])], state.sort, null);
  }

  // ------------------------------------------------------------------------------------------------ table
  // Whether values fall from the first row on: "down" means the best first, which is the lowest for error rates.
  function falls() {
    const lower = metrics.get(state.metric).lower && ["best", "measured", "published"].includes(state.sort);
    return state.down !== lower;
  }
  function view() {
    const rows = data.rows.filter((row) => matches(row, null));
    const order = orders[state.sort];
    const sign = falls() ? -1 : 1;
    return rows.map((row) => [order(row), row]).sort(([a, x], [b, y]) => {
      if (a === undefined || b === undefined) return (a === undefined) - (b === undefined) || x.number - y.number;
      return (a < b ? -1 : a > b ? 1 : 0) * sign || x.number - y.number;
    }).map(([, row]) => row);
  }
  function head() {
    byId("head").replaceChildren(...columns.map((column) => {
      const attributes = { scope: "col", class: column.cls || "" };
      if (!column.sort) return make("th", attributes, make("span", {}, column.label));
      const active = state.sort === column.key || (state.sort === "best" && column.key === "measured");
      if (active) attributes["aria-sort"] = falls() ? "descending" : "ascending";
      const arrow = active ? (falls() ? " \u2193" : " \u2191") : "";
      return make("th", attributes, make("button", { type: "button", onclick: () => sortBy(column) }, column.label + arrow));
    }));
  }
  function sortBy(column) {
    state.down = state.sort === column.key ? !state.down : Boolean(column.score);
    state.sort = column.key;
    update();
  }
  function cell(column, row, rank, range) {
    const td = make("td", { class: column.cls || "", "data-label": column.label });
    const content = contents[column.key](row, rank, range);
    if (content === null) td.classList.add("empty");
    else td.append(...[content].flat());
    return td;
  }
  const contents = {
    rank: (row, rank) => (rank === null ? null : String(rank)),
    detector: (row) => {
      const button = make("button", { type: "button", class: "name", onclick: () => open(row) }, row.detector);
      const box = row.detail && data.details[row.detail]?.roc
        ? make("label", { class: "small" }, make("input", { type: "checkbox", "aria-label": `Draw ${row.detector}, ${row.test}, ${row.level}`, onchange: (event) => pick(row, event.target.checked), ...(drawn().includes(row) ? { checked: "" } : {}) }), ` measured \u00b7 ${row.about}`)
        : make("span", { class: "small" }, `${row.kind} \u00b7 ${row.about}`);
      return [button, box];
    },
    train: (row) => make("span", {}, row.train),
    test: (row) => make("span", {}, row.test, row.fold ? make("span", { class: "small" }, row.fold) : null),
    level: (row) => make("span", {}, row.level),
    measured: (row) => (row.kind === "measured" ? number(row) : null),
    published: (row) => (row.kind === "published" ? number(row) : null),
    scale: (row, rank, range) => scale(row, range),
    parameters: (row) => (row.parameters === null ? null : make("span", {}, millions(row.parameters))),
    speed: (row) => (row.speed === null ? null : make("span", {}, row.speed.toFixed(row.speed < 10 ? 1 : 0))),
    marks: (row) => (row.marks.length ? make("span", {}, ...row.marks.map(chip)) : make("span", { class: "fine" }, "yes")),
  };
  function chip(mark) {
    return make("span", { class: mark.differs ? "chip" : "chip maybe", title: mark.why }, mark.text);
  }
  function number(row) {
    const metric = metrics.get(state.metric), [value, low, high, spread] = valueOf(row);
    const extra = low !== null ? `${format(low, metric)} \u2013 ${format(high, metric)}` : spread !== null ? `\u00b1 ${format(spread, metric)}` : null;
    return make("span", {}, make("b", {}, format(value, metric)), extra ? make("span", { class: "small" }, extra) : null);
  }
  function scale(row, [from, to]) {
    const [value, low, high] = valueOf(row);
    const at = (number) => `${Math.max(0, Math.min(100, (100 * (number - from)) / (to - from)))}%`;
    const node = make("div", { class: "scale", "aria-hidden": "true" }, make("i", { class: "track" }));
    if (low !== null) {
      const band = make("i", { class: "band" });
      band.style.left = at(low);
      band.style.right = `calc(100% - ${at(high)})`;
      node.append(band);
    }
    const dot = make("i", { class: row.kind === "measured" ? "dot" : "dot print" });
    dot.style.left = at(value);
    node.append(dot);
    return node;
  }
  function extent(rows) {
    let from = Infinity, to = -Infinity;
    for (const row of rows) {
      const [value, low, high] = valueOf(row);
      from = Math.min(from, low ?? value);
      to = Math.max(to, high ?? value);
    }
    return to > from ? [from, to] : [from - 0.01, to + 0.01];
  }
  function body(rows) {
    const range = extent(rows);
    const ranked = state.test && state.level && ["best", "measured", "published"].includes(state.sort);
    byId("body").replaceChildren(...rows.slice(0, shown).map((row, index) =>
      make("tr", { class: row.marks.length ? "marked" : "" }, ...columns.map((column) => cell(column, row, ranked ? index + 1 : null, range)))));
    const rest = rows.length - shown;
    byId("more").hidden = rest <= 0;
    byId("more").textContent = `Show ${rest} more rows`;
    const marked = rows.filter((row) => row.marks.length).length;
    const metric = metrics.get(state.metric);
    byId("status").textContent = `${rows.length} rows, ${marked} with a comparability mark. ${metric.label}: ${metric.lower ? "lower" : "higher"} is better.`;
  }

  // ----------------------------------------------------------------------------------------------- charts
  let current = [];
  function drawn() {
    const withCurves = current.filter((row) => row.kind === "measured" && data.details[row.detail]?.roc?.[row.level]);
    return picked === null ? withCurves.slice(0, 3) : withCurves.filter((row) => picked.has(row.number)).slice(0, SERIES);
  }
  function pick(row, on) {
    if (picked === null) picked = new Set(drawn().map((item) => item.number));
    if (on) picked.add(row.number);
    else picked.delete(row.number);
    charts();
  }
  const nameOf = (row) => `${row.detector}, ${row.test}, ${row.level}`;
  function charts() {
    const rows = drawn();
    byId("charts").replaceChildren();
    byId("chart-box").hidden = !rows.length;
    if (!rows.length) return;
    byId("charts").append(rocFigure(rows));
    const withBars = rows.filter((row) => Object.keys(data.details[row.detail].manipulations || {}).length && row.level === "video");
    if (withBars.length) byId("charts").append(barFigure(withBars));
  }
  function legend(rows) {
    return make("ul", { class: "key" }, ...rows.map((row, index) => make("li", {}, make("i", { class: `f${index % SERIES}` }), nameOf(row))));
  }
  function rocFigure(rows) {
    const W = 340, H = 250, L = 34, T = 8, w = W - L - 10, h = H - T - 34;
    const svg = draw("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `ROC curves: ${rows.map(nameOf).join("; ")}` });
    for (const tick of [0, 0.25, 0.5, 0.75, 1]) {
      const x = L + tick * w, y = T + (1 - tick) * h;
      svg.append(draw("line", { class: "axis", x1: L, x2: L + w, y1: y, y2: y }), draw("line", { class: "axis", x1: x, x2: x, y1: T, y2: T + h }));
      svg.append(draw("text", { x: L - 5, y: y + 4, "text-anchor": "end" }, String(100 * tick)), draw("text", { x, y: T + h + 14, "text-anchor": "middle" }, String(100 * tick)));
    }
    svg.append(draw("text", { x: L + w / 2, y: H - 4, "text-anchor": "middle" }, "reals called fake, %"));
    rows.forEach((row, index) => {
      const curve = data.details[row.detail].roc[row.level];
      const points = curve.fpr.map((value, i) => `${(L + value * w).toFixed(1)},${(T + (1 - curve.tpr[i]) * h).toFixed(1)}`).join(" ");
      svg.append(draw("polyline", { class: `curve c${index % SERIES}`, points }));
    });
    return make("figure", {}, make("figcaption", {}, "ROC: fakes found, %"), svg, legend(rows));
  }
  function barFigure(rows) {
    const names = [...new Set(rows.flatMap((row) => Object.keys(data.details[row.detail].manipulations)))];
    const W = 340, L = 118, bar = 13, gap = 10, w = W - L - 40, H = names.length * (rows.length * bar + gap) + 22;
    const svg = draw("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": "Video AUC by manipulation" });
    const x = (value) => L + Math.max(0, (value - 0) * w);
    for (const tick of [0, 0.5, 1]) svg.append(draw("line", { class: "axis", x1: x(tick), x2: x(tick), y1: 0, y2: H - 18 }), draw("text", { x: x(tick), y: H - 5, "text-anchor": "middle" }, String(100 * tick)));
    names.forEach((name, place) => {
      const top = place * (rows.length * bar + gap) + 4;
      svg.append(draw("text", { x: L - 6, y: top + (rows.length * bar) / 2 + 4, "text-anchor": "end" }, name.length > 17 ? `${name.slice(0, 16)}\u2026` : name));
      rows.forEach((row, index) => {
        const item = data.details[row.detail].manipulations[name];
        if (!item) return;
        const y = top + index * bar;
        svg.append(draw("rect", { class: `f${index % SERIES}`, x: L, y, width: x(item.auc) - L, height: bar - 3, "fill-opacity": 0.75 }));
        if (item.interval) svg.append(draw("line", { class: `c${index % SERIES}`, x1: x(item.interval[0]), x2: x(item.interval[1]), y1: y + bar / 2 - 1.5, y2: y + bar / 2 - 1.5, "stroke-width": 1.5 }));
        svg.append(draw("text", { x: W - 2, y: y + bar - 3.5, "text-anchor": "end" }, (100 * item.auc).toFixed(1)));
      });
    });
    return make("figure", {}, make("figcaption", {}, "Video AUC by manipulation, against all reals, %"), svg, legend(rows));
  }

  // ----------------------------------------------------------------------------------------------- detail
  function facts(entries) {
    const rows = entries.filter(([, value]) => value !== null && value !== undefined && value !== "");
    return make("table", { class: "facts" }, make("tbody", {}, ...rows.map(([name, value]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, String(value))))));
  }
  function metricTable(row) {
    const lines = data.metrics.filter((metric) => row.values[metric.key]).map((metric) => {
      const [value, low, high, spread] = row.values[metric.key];
      const range = low !== null ? `${format(low, metric)} \u2013 ${format(high, metric)}` : spread !== null ? `\u00b1 ${format(spread, metric)} over seeds` : "";
      return make("tr", {}, make("th", { scope: "row" }, metric.label), make("td", { class: "number" }, format(value, metric)), make("td", { class: "range" }, range));
    });
    const titles = ["metric", row.kind, row.kind === "measured" ? "95 % interval" : ""].map((title) => make("th", { scope: "col" }, title));
    return make("table", {}, make("thead", {}, make("tr", {}, ...titles)), make("tbody", {}, ...lines));
  }
  const linkOf = (row) => [row.detail, row.detector, row.test, row.level].join("|");
  function open(row) {
    opened = linkOf(row);
    save();
    const detail = data.details[row.detail] || {};
    byId("detail-title").textContent = `${row.detector} on ${row.test}`;
    const parts = [make("p", { class: "fine" }, `${row.kind} \u00b7 ${row.about} \u00b7 ${row.level} level \u00b7 trained on ${row.train}`)];
    if (row.marks.length) parts.push(make("h3", {}, "Not comparable because"), make("ul", { class: "reasons" }, ...row.marks.map((mark) => make("li", {}, mark.why))));
    parts.push(make("h3", {}, "Numbers"), metricTable(row));
    if (detail.roc?.[row.level]) {
      const figures = [rocFigure([row])];
      if (Object.keys(detail.manipulations || {}).length) figures.push(barFigure([row]));
      parts.push(make("div", { class: "charts" }, ...figures));
    }
    parts.push(make("h3", {}, row.kind === "measured" ? "Provenance" : "Source"), facts(detail.facts || []));
    if (detail.config) parts.push(make("details", {}, make("summary", {}, "Configuration"), make("pre", {}, detail.config)));
    byId("detail-body").replaceChildren(...parts);
    byId("detail").showModal();
    byId("detail").scrollTop = 0;
  }

  // ------------------------------------------------------------------------------------------------ wiring
  function update() {
    fillFilters();
    current = view();
    head();
    body(current);
    charts();
    save();
  }
  function save() {
    const words = new URLSearchParams();
    for (const key of ["protocol", "test", "level", "train", "kind", "metric"]) if (state[key]) words.set(key, state[key]);
    if (opened) words.set("open", opened);
    history.replaceState(null, "", `#${words}`);
  }
  function load() {
    const words = new URLSearchParams(location.hash.slice(1));
    if (![...words].length) return false;
    for (const key of ["protocol", "test", "level", "train", "kind"]) state[key] = words.get(key) || "";
    if (metrics.has(words.get("metric"))) state.metric = words.get("metric");
    opened = words.get("open") || "";
    return true;
  }
  function setTheme(dark) {
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    byId("theme").textContent = dark ? "Light" : "Dark";
    byId("theme").setAttribute("aria-pressed", String(dark));
  }
  data.rows.forEach((row, index) => { row.number = index; });
  for (const key of [...Object.keys(filters), "metric"]) {
    byId(key).addEventListener("change", (event) => {
      state[key] = event.target.value;
      if (key === "protocol") state.test = "";
      shown = PAGE;
      picked = null;
      update();
    });
  }
  byId("order").addEventListener("change", (event) => { state.sort = event.target.value; state.down = ["best", "measured", "published", "parameters", "speed"].includes(state.sort); update(); });
  byId("query").addEventListener("input", (event) => { state.query = event.target.value; shown = PAGE; update(); });
  byId("only").addEventListener("change", (event) => { state.only = event.target.checked; shown = PAGE; update(); });
  byId("more").addEventListener("click", () => { shown = Infinity; update(); });
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("close").addEventListener("click", () => byId("detail").close());
  byId("detail").addEventListener("close", () => { opened = ""; save(); });
  byId("detail").addEventListener("click", (event) => { if (event.target === byId("detail")) byId("detail").close(); });
  byId("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme !== "dark"));
  const prefers = window.matchMedia("(prefers-color-scheme: dark)");
  prefers.addEventListener("change", (event) => setTheme(event.matches));
  window.addEventListener("hashchange", () => { if (load()) update(); });
  setTheme(prefers.matches);
  byId("about").textContent = data.about;
  if (!load()) Object.assign(state, data.start);
  byId("chart-box").open = window.matchMedia("(min-width: 821px)").matches;
  update();
  const linked = opened && data.rows.find((row) => linkOf(row) === opened);
  if (linked) open(linked);
})();
