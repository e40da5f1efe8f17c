// Maps and series of a report: unpacks the layers, and gives Bokeh what it draws.
// Texts of files are only ever written as textContent.
"use strict";

window.sgdsmReport = (() => {
  const element = (id) => document.getElementById(id);
  const DAY = 86400000; // milliseconds

  let data, plots, models, pixels, cells, times, step;
  const state = { day: 0, cell: 0, layer: "filled", timer: null };

  // ---- layers -------------------------------------------------------------------------------------------------

  async function inflated(text) {
    const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  // numbers of several bytes are packed as all lowest bytes, then all next ones
  async function unpacked(text, bytes, signed) {
    const planes = await inflated(text);
    if (bytes === 1) return planes;
    const count = planes.length / bytes;
    const numbers = signed ? new Int32Array(count) : new Uint16Array(count);
    for (let k = 0; k < bytes; k++) {
      for (let i = 0; i < count; i++) numbers[i] |= planes[k * count + i] << (8 * k);
    }
    return numbers;
  }

  // value of a layer on a day at a cell, NaN where there is none
  function valueOf(layer, day, cell) {
    if (layer === null || layer === undefined) return NaN;
    const code = data.layers[layer].codes[day * cells.length + cell];
    return code ? data.layers[layer].offset + data.layers[layer].step * (code - 1) : NaN;
  }

  const observed = (question, day, cell) => valueOf(question.observed, day, cell);
  const truth = (question, day, cell) => valueOf(question.truth, day, cell);

  // observed values are packed once, filled ones where they differ from them
  function filled(product, day, cell) {
    const own = valueOf(product.layers.filled, day, cell);
    return Number.isNaN(own) ? observed(data.questions[product.question], day, cell) : own;
  }

  // every value that a map can show, by the name of its layer
  const VALUES = {
    filled,
    observed: (product, day, cell) => observed(data.questions[product.question], day, cell),
    std: (product, day, cell) => valueOf(product.layers.std, day, cell),
    age: (product, day, cell) => valueOf(product.layers.age, day, cell),
    flag: (product, day, cell) => valueOf(product.layers.flag, day, cell),
    source: (product, day, cell) => {
      if (!Number.isNaN(observed(data.questions[product.question], day, cell))) return 1;
      return Number.isNaN(valueOf(product.layers.filled, day, cell)) ? NaN : 2;
    },
    error: (product, day, cell) =>
      filled(product, day, cell) - truth(data.questions[product.question], day, cell),
    rmse: (product, day, cell) => product.scores?.rmse[cell] ?? NaN,
    bias: (product, day, cell) => product.scores?.bias[cell] ?? NaN,
  };

  // ---- maps ---------------------------------------------------------------------------------------------------

  // a picture of Bokeh: rows from the south to the north
  function picture(like, valueAt) {
    const [height, width] = data.grid.pixel_shape;
    const values = new Float32Array(height * width);
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        const cell = pixels[row * width + column];
        values[(height - 1 - row) * width + column] = cell < 0 ? NaN : valueAt(cell);
      }
    }
    return new like.constructor(values, [height, width]);
  }

  function draw(number, view, valueAt) {
    const source = models(`values-${number}`);
    const mapper = models(`mapper-values-${number}`);
    mapper.setv({ palette: view.palette, low: view.low, high: view.high });
    models(`bar-${number}`).visible = !view.classes;
    source.data = { image: [picture(source.data.image[0], valueAt)] };
  }

  const shown = (k) => element(`show-${k}`).checked;

  function drawMaps() {
    const view = data.views[state.layer];
    const question = data.questions[data.products[0].question];
    draw(0, data.views.observed, (cell) => observed(question, state.day, cell));
    data.products.forEach((product, k) => {
      element(`panel-${k + 1}`).hidden = !shown(k);
      if (shown(k)) draw(k + 1, view, (cell) => VALUES[state.layer](product, state.day, cell));
    });
    const date = data.days[state.day];
    element("day").value = state.day;
    element("day").setAttribute("aria-valuetext", date);
    element("date").value = date;
    element("date-shown").textContent = date;
    models("today").location = times[state.day];
    element("layer-note").textContent = view.note;
    key(view);
  }

  // meaning of the colours of a layer of classes
  function key(view) {
    const list = element("layer-key");
    list.replaceChildren();
    for (const [k, name] of (view.classes || []).entries()) {
      const item = document.createElement("li");
      const colour = document.createElement("span");
      colour.className = "swatch";
      colour.style.background = view.palette[k];
      item.append(colour, name);
      list.append(item);
    }
  }

  // ---- series of a cell ---------------------------------------------------------------------------------------

  // days in a row where a condition holds, as begin and end of each stretch
  function stretches(holds) {
    const found = { x0: [], x1: [] };
    times.forEach((time, day) => {
      if (!holds(day)) return;
      if (day > 0 && holds(day - 1)) found.x1[found.x1.length - 1] = time + step / 2;
      else {
        found.x0.push(time - step / 2);
        found.x1.push(time + step / 2);
      }
    });
    return found;
  }

  function points(valueAt) {
    const found = { x: [], y: [] };
    times.forEach((time, day) => {
      const value = valueAt(day);
      if (Number.isNaN(value)) return;
      found.x.push(time);
      found.y.push(value);
    });
    return found;
  }

  // a line is broken where there is no value
  const line = (valueAt) => ({ x: Array.from(times), y: Array.from(times, (_, day) => valueAt(day)) });

  function interval(product, cell) {
    const found = { x: [], top: [], bottom: [], xw: [] };
    times.forEach((time, day) => {
      const middle = filled(product, day, cell);
      const below = valueOf(product.layers.below, day, cell);
      const above = valueOf(product.layers.above, day, cell);
      if (Number.isNaN(middle + below + above)) return;
      found.x.push(time);
      found.bottom.push(middle - below);
      found.top.push(middle + above);
      found.xw.push(step);
    });
    return found;
  }

  // value of a member: members are packed as differences from the filled values
  const memberAt = (product, layer, day, cell) => filled(product, day, cell) + valueOf(layer, day, cell);

  function members(product, cell) {
    const lines = product.members.map((layer) => line((day) => memberAt(product, layer, day, cell)));
    return { xs: lines.map((one) => one.x), ys: lines.map((one) => one.y) };
  }

  function drawSeries() {
    const cell = state.cell;
    const first = Math.max(0, data.products.findIndex((_, k) => shown(k)));
    const product = data.products[first];
    const question = data.questions[product.question];
    const band = interval(product, cell);
    models("gaps").data = stretches((day) => Number.isNaN(observed(question, day, cell)));
    models("interval").data = band;
    const drawn = members(product, cell);
    if (models("members")) models("members").data = drawn;
    models("observed").data = points((day) => observed(question, day, cell));
    const tested = data.questions.find((one) => one.truth !== null);
    models("truth").data = points((day) => (tested ? truth(tested, day, cell) : NaN));
    const all = [...models("observed").data.y, ...models("truth").data.y, ...band.top, ...band.bottom];
    for (const one of drawn.ys) all.push(...one.filter((value) => !Number.isNaN(value)));
    data.products.forEach((one, k) => {
      const values = line((day) => filled(one, day, cell));
      models(`filled-${k}`).data = values;
      models(`line-${k}`).visible = models(`dots-${k}`).visible = shown(k);
      if (shown(k)) all.push(...values.y.filter((value) => !Number.isNaN(value)));
    });
    let low = Infinity;
    let high = -Infinity;
    for (const value of all) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
    if (low > high) [low, high] = [0, 1];
    const edge = 0.05 * (high - low) || 0.01;
    models("value").setv({ start: low - edge, end: high + edge });
    element("interval-name").textContent = product.name;
    element("interval-key").hidden = !band.x.length;
    if (models("members")) element("members-key").hidden = !drawn.xs.length;
    describeCell();
  }

  function placeOf(cell) {
    const [, width] = data.grid.shape;
    return [data.grid.y[Math.floor(cells[cell] / width)], data.grid.x[cells[cell] % width]];
  }

  function describeCell() {
    const [y, x] = placeOf(state.cell);
    const [row, column] = data.grid.dims;
    const units = row === "lat" ? "°" : " m";
    element("place").textContent = `${row} ${round(y)}${units}, ${column} ${round(x)}${units}`;
    element("row").value = round(y);
    element("column").value = round(x);
    for (let k = 0; k <= data.products.length; k++) models(`cell-${k}`).data = { x: [x], y: [y] };
    const body = element("cell-scores");
    if (!body) return; // there are no runs
    body.replaceChildren();
    for (const product of data.products.filter((one) => one.scores)) {
      const scores = product.scores;
      const line = document.createElement("tr");
      const name = document.createElement("th");
      name.scope = "row";
      name.textContent = product.name;
      line.append(name);
      for (const key of ["n", "rmse", "bias", "r"]) {
        const value = document.createElement("td");
        value.textContent = text(scores[key][state.cell]);
        line.append(value);
      }
      body.append(line);
    }
  }

  // three digits say all that a score of few values can
  const text = (value) => (value === null ? "-" : Number.isInteger(value) ? value : value.toPrecision(3));

  const round = (value) => Number(value.toFixed(data.grid.dims[0] === "lat" ? 4 : 0));

  // the shown cell nearest to a place
  function nearest(y, x) {
    let best = 0;
    let least = Infinity;
    for (let cell = 0; cell < cells.length; cell++) {
      const [row, column] = placeOf(cell);
      let across = Math.abs(column - x);
      if (data.grid.dims[0] === "lat") across = Math.min(across, Math.abs(360 - across));
      const distance = (row - y) ** 2 + across ** 2;
      if (distance < least) [least, best] = [distance, cell];
    }
    return best;
  }

  // the next cell with land in a direction
  function neighbour(down, right) {
    const [height, width] = data.grid.shape;
    let row = Math.floor(cells[state.cell] / width) + down;
    let column = (cells[state.cell] % width) + right;
    for (; row >= 0 && row < height && column >= 0 && column < width; row += down, column += right) {
      const found = cells.indexOf(row * width + column);
      if (found >= 0) return found;
    }
    return state.cell;
  }

  function csv() {
    const [y, x] = placeOf(state.cell);
    const quoted = (text) => `"${String(text).replaceAll('"', '""')}"`;
    const number = (value) => (Number.isNaN(value) ? "" : Number(value.toPrecision(7)));
    const units = (layer) => `[${data.layers[layer].units}]`;
    const columns = [["date", (day) => data.days[day]]];
    data.questions.forEach((question, k) => {
      const first = data.products.find((one) => one.question === k);
      const of = data.questions.length > 1 ? ` (${first.name})` : "";
      const value = (day) => number(observed(question, day, state.cell));
      columns.push([`observed${of} ${units(question.observed)}`, value]);
      if (question.truth === null) return;
      columns.push([`hidden truth ${units(question.truth)}`, (day) => number(truth(question, day, state.cell))]);
    });
    for (const product of data.products) {
      const { below, above, std } = product.layers;
      const of = units(product.layers.filled);
      const at = (layer, day) => valueOf(layer, day, state.cell);
      const middle = (day) => filled(product, day, state.cell);
      columns.push([`${product.name} filled ${of}`, (day) => number(middle(day))]);
      if (std !== undefined) columns.push([`${product.name} std ${of}`, (day) => number(at(std, day))]);
      product.members.forEach((layer, k) => {
        columns.push([`${product.name} member ${k} ${of}`, (day) => number(memberAt(product, layer, day, state.cell))]);
      });
      if (below === undefined) continue;
      columns.push([`${product.name} lower ${of}`, (day) => number(middle(day) - at(below, day))]);
      columns.push([`${product.name} upper ${of}`, (day) => number(middle(day) + at(above, day))]);
    }
    const place = data.grid.dims.map((name, k) => `${name} ${round(k ? x : y)}`).join(", ");
    const lines = [columns.map(([name]) => quoted(name)).join(",")];
    data.days.forEach((_, day) => lines.push(columns.map(([, text]) => text(day)).join(",")));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([`${lines.join("\n")}\n`], { type: "text/csv" }));
    link.download = `series ${place}.csv`.replaceAll(/[ ,]+/g, "_");
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  // ---- what a person does -------------------------------------------------------------------------------------

  function goToDay(day) {
    state.day = Math.min(Math.max(day, 0), data.days.length - 1);
    drawMaps();
  }

  function goToCell(cell) {
    state.cell = cell;
    drawSeries();
  }

  function tap(x, y) {
    goToCell(nearest(y, x));
  }

  function play() {
    const button = element("play");
    if (state.timer) {
      clearInterval(state.timer);
      state.timer = null;
    } else {
      state.timer = setInterval(() => goToDay((state.day + 1) % data.days.length), 300);
    }
    button.textContent = state.timer ? "Pause" : "Play";
  }

  function listen() {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    element("day").addEventListener("input", (event) => goToDay(Number(event.target.value)));
    element("date").addEventListener("change", (event) => {
      const wanted = Date.parse(event.target.value);
      if (Number.isNaN(wanted)) return;
      let best = 0;
      times.forEach((time, day) => {
        if (Math.abs(time - wanted) < Math.abs(times[best] - wanted)) best = day;
      });
      goToDay(best);
    });
    element("play").addEventListener("click", play);
    element("layer").addEventListener("change", (event) => {
      state.layer = event.target.value;
      drawMaps();
    });
    data.products.forEach((_, k) => {
      element(`show-${k}`).addEventListener("change", () => {
        drawMaps();
        drawSeries();
      });
    });
    element("maps").addEventListener("keydown", (event) => {
      if (!(event.key in moves)) return;
      event.preventDefault();
      goToCell(neighbour(...moves[event.key]));
    });
    element("go-to").addEventListener("submit", (event) => {
      event.preventDefault();
      goToCell(nearest(Number(element("row").value), Number(element("column").value)));
    });
    element("csv").addEventListener("click", csv);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  }

  // colours of text and lines follow the page, which follows the system
  function paint() {
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--ink").trim();
    const sea = style.getPropertyValue("--sea").trim();
    const page = style.getPropertyValue("--page").trim();
    const rule = style.getPropertyValue("--rule").trim();
    for (const plot of plots) {
      plot.setv({
        border_fill_color: page,
        background_fill_color: plot.name === "series" ? page : sea,
        outline_line_color: ink,
        border_line_color: null,
      });
      for (const one of plot.center) if (one.type === "Grid") one.setv({ grid_line_color: rule });
      for (const axis of [...plot.below, ...plot.left]) {
        if (axis.type === "ColorBar") {
          axis.setv({ major_label_text_color: ink, background_fill_color: page, bar_line_color: ink });
          axis.setv({ major_tick_line_color: ink });
        } else {
          axis.setv({ major_label_text_color: ink, axis_label_text_color: ink, axis_line_color: ink });
          axis.setv({ major_tick_line_color: ink, minor_tick_line_color: null, axis_label_text_font_style: "normal" });
        }
      }
    }
    models("today").line_color = ink;
    models("diamonds").glyph.line_color = { value: ink };
    for (let k = 0; k <= data.products.length; k++) {
      models(`mapper-land-${k}`).palette = [style.getPropertyValue("--gap").trim()];
    }
  }

  async function begin() {
    data = JSON.parse(element("report-data").textContent);
    const figures = JSON.parse(element("report-figures").textContent);
    for (const layer of data.layers) {
      layer.codes = await unpacked(layer.data, layer.bytes, false);
      layer.data = null; // the text is not needed any more
    }
    pixels = await unpacked(data.grid.pixels, 4, true);
    cells = await unpacked(data.grid.cells, 4, true);
    times = data.days.map((day) => Date.parse(day));
    step = data.step_days * DAY;
    [state.day, state.cell] = [data.first_day, data.first_cell];
    const item = { docid: "report", roots: figures.roots, root_ids: Object.keys(figures.roots) };
    await Bokeh.embed.embed_items({ report: figures.document }, [item]);
    const bokeh = Bokeh.documents[0];
    models = (name) => bokeh.get_model_by_name(name);
    plots = bokeh.roots();
    for (let k = 0; k <= data.products.length; k++) {
      const source = models(`land-${k}`);
      source.data = { image: [picture(source.data.image[0], () => 0.5)] };
    }
    paint();
    listen();
    drawMaps();
    drawSeries();
    element("status").textContent = "";
    element("interactive").classList.add("ready");
  }

  document.addEventListener("DOMContentLoaded", () => {
    begin().catch((error) => {
      element("status").textContent = `The maps cannot be shown in this browser: ${error.message}`;
    });
  });

  return { state, tap };
})();
