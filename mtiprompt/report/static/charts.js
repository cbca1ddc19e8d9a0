/** Names of series by their first coming: the same arm has the same colour in every chart. */
const NAMES = [];
/** Charts that are to be drawn: [where, the part]. */
const CHARTS = [];
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "star", "triangle-down", "x"];
const DARK = matchMedia("(prefers-color-scheme: dark)");

function makeChart(part) {
  const place = make("div", { class: "chart", role: "img", "aria-label": part.heading });
  CHARTS.push([place, part]);
  if (part.style !== "heat") NAMES.push(...part.series.map(({ name }) => name).filter((name) => !NAMES.includes(name)));
  const figures = part.series.flatMap(({ name, x, y, low, high }) =>
    y.map((value, i) => [name, figure(x[i]), figure(value), low.length ? `${figure(low[i])} to ${figure(high[i])}` : ""]),
  );
  const columns = ["", part.xTitle || "x", part.yTitle || "y", "interval"];
  const table = makeTable(`Figures of ${part.heading}`, columns, figures);
  return [place, make("details", {}, make("summary", {}, "Figures"), table)];
}

function figure(value) {
  if (typeof value !== "number") return value ?? "–";
  return value.toLocaleString("en", { maximumSignificantDigits: 4 });
}

/** One after the other, so that the page can be used meanwhile. */
function drawCharts() {
  if (!CHARTS.length) return;
  const library = document.getElementById("library");
  document.head.append(make("script", {}, library.textContent)); // runs it
  const next = (place) => {
    if (place === CHARTS.length) return;
    drawChart(...CHARTS[place]);
    setTimeout(next, 0, place + 1);
  };
  next(0);
  DARK.addEventListener("change", () => CHARTS.forEach((one) => drawChart(...one)));
}

function drawChart(place, part) {
  const css = getComputedStyle(document.documentElement);
  const colour = (name) => css.getPropertyValue(`--${name}`).trim();
  const config = { responsive: true, displayModeBar: false, displaylogo: false };
  const traces = part.style === "heat" ? [heat(part, colour)] : part.series.map((series) => {
    const look = NAMES.indexOf(series.name) % SYMBOLS.length;
    return trace(part, series, SYMBOLS[look], colour(`series${look + 1}`), colour("ink"));
  });
  Plotly.react(place, traces, layout(part, colour), config);
}

/** A text that plotly shows as it is; it reads a few tags of HTML. */
function shown(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

function axisValues(values) {
  return values.map((one) => (typeof one === "string" ? shown(one) : one));
}

function trace(part, series, symbol, colour, ink) {
  const bars = part.style === "bars" || part.style === "stacked";
  const { y, low, high } = series;
  const reach = (ends, sign) => ends.map((end, i) => Math.max(0, sign * (end - y[i])));
  return {
    type: bars ? "bar" : "scatter",
    mode: part.style === "lines" ? "lines+markers" : "markers",
    name: shown(series.name),
    x: axisValues(series.x),
    y,
    marker: bars ? { color: colour } : { color: colour, symbol, size: 11 },
    ...(bars ? {} : { line: { color: colour, width: 2 } }),
    ...(part.style !== "stacked" && { offsetgroup: series.name }),
    ...(low.length && {
      error_y: {
        type: "data",
        symmetric: false,
        array: reach(high, 1),
        arrayminus: reach(low, -1),
        width: 4,
        thickness: 1.5,
        color: bars ? ink : colour,
      },
    }),
  };
}

/** A row of cells for each series, from loss to gain around 0. */
function heat(part, colour) {
  const rows = part.series;
  const most = Math.max(0.01, ...rows.flatMap(({ y }) => y.map(Math.abs)));
  return {
    type: "heatmap",
    x: axisValues(rows[0].x),
    y: axisValues(rows.map(({ name }) => name)),
    z: rows.map(({ y }) => y),
    text: rows.map(({ text }) => text.map((one) => shown(one).replaceAll("\n", "<br>"))),
    texttemplate: "%{text}",
    hoverinfo: "none",
    zmin: -most,
    zmax: most,
    colorscale: [[0, colour("series2")], [0.5, colour("paper")], [1, colour("series1")]],
    xgap: 2,
    ygap: 2,
  };
}

function layout(part, colour) {
  const named = part.series.some(({ x }) => x.some((one) => typeof one === "string"));
  const isHeat = part.style === "heat";
  const axis = {
    automargin: true,
    fixedrange: true,
    gridcolor: colour("line"),
    linecolor: colour("line"),
    zerolinecolor: colour("soft"),
  };
  const titled = (title) => ({ title: { text: shown(title), standoff: 8 } });
  return {
    autosize: true,
    dragmode: false,
    font: { family: "system-ui, sans-serif", size: 13, color: colour("ink") },
    paper_bgcolor: colour("paper"),
    plot_bgcolor: colour("paper"),
    margin: { l: 48, r: 8, t: 8, b: 40 },
    barmode: part.style === "stacked" ? "stack" : "group",
    bargap: 0.4,
    scattermode: named && part.style === "points" ? "group" : "overlay",
    showlegend: part.series.length > 1,
    legend: { orientation: "h", x: 0, yanchor: "bottom", y: 1.02, traceorder: "normal" },
    hoverlabel: { bgcolor: colour("raised"), font: { color: colour("ink") }, bordercolor: colour("line") },
    xaxis: { ...axis, ...titled(part.xTitle), ...(named && { type: "category" }), ...(isHeat && { showgrid: false }) },
    yaxis: { ...axis, ...titled(part.yTitle), ...(isHeat && { type: "category", autorange: "reversed", showgrid: false }) },
  };
}
