// Draws each <plot-view> from the table in it. The drawing is in a shadow tree, which a new drawing of the page leaves alone; the
// table itself is folded away below it. Colours follow the theme.

const HEIGHT = 190;
const TONES = { ok: "live or was live", bad: "failed or reverted", run: "under way", wait: "waiting", idle: "superseded or cancelled" };
const LINES = ["--run", "--bad", "--wait", "--ok", "--idle", "--text"];
const DASHES = [[], [7, 4], [2, 3], [10, 3, 2, 3], [1, 5], [14, 5]];
const DRAWN_FROM = ["data-x", "data-y", "data-tone", "data-marks", "data-summary"];
const DARK = matchMedia("(prefers-color-scheme: dark)");

const style = new CSSStyleSheet();
style.replaceSync(`
  :host { display: block; }
  .title { margin: 0 0 0.25rem; font-weight: 600; }
  .picture { overflow: hidden; min-height: ${HEIGHT + 26}px; }
  .uplot, .u-legend { font: inherit; color: inherit; }
  .u-legend { font-size: 0.85rem; text-align: left; }
  .u-legend th { font-weight: 400; }
  summary { cursor: pointer; color: var(--link); padding: 0.25rem 0; }
  summary:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
`);

let loading = null;

function library(address) {
  loading ??= new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = address;
    script.onload = () => done(window.uPlot);
    script.onerror = failed;
    document.head.append(script);
  });
  return loading;
}

class PlotView extends HTMLElement {
  #plot = null;
  #due = false;
  #width = 0;

  connectedCallback() {
    if (this.shadowRoot) return;
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [style];
    const sheet = document.createElement("link");
    sheet.rel = "stylesheet";
    sheet.href = this.dataset.style;
    const title = document.createElement("p");
    title.className = "title";
    title.textContent = this.querySelector("caption").textContent;
    const picture = document.createElement("div");
    picture.className = "picture";
    picture.setAttribute("role", "img");
    const details = document.createElement("details");
    const summary = document.createElement("summary");
    summary.textContent = "As a table";
    details.append(summary, document.createElement("slot"));
    root.append(sheet, title, picture, details);
    new MutationObserver(() => this.#draw()).observe(this, { subtree: true, childList: true, characterData: true, attributeFilter: DRAWN_FROM });
    new ResizeObserver(() => this.#fit()).observe(picture);
    DARK.addEventListener("change", () => this.#draw());
    this.#draw();
  }

  // All changes of one moment are drawn at once.
  #draw() {
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(async () => {
      const uPlot = await library(this.dataset.script);
      this.#due = false;
      this.#plot?.destroy();
      const picture = this.shadowRoot.querySelector(".picture");
      picture.setAttribute("aria-label", this.dataset.summary);
      this.#width = picture.clientWidth;
      this.#plot = new uPlot(this.#options(uPlot), this.#data(), picture);
    });
  }

  #fit() {
    const width = this.shadowRoot.querySelector(".picture").clientWidth;
    if (this.#plot && width && width !== this.#width) {
      this.#width = width;
      this.#plot.setSize({ width, height: HEIGHT });
    }
  }

  get #rows() {
    return [...this.querySelectorAll("tbody tr")].reverse();
  }

  get #overTime() {
    return this.#rows.some((row) => row.dataset.x !== undefined);
  }

  get #tones() {
    const used = new Set(this.#rows.map((row) => row.dataset.tone));
    return Object.keys(TONES).filter((tone) => used.has(tone));
  }

  #data() {
    const rows = this.#rows;
    const x = rows.map((row, at) => (row.dataset.x === undefined ? at : Number(row.dataset.x)));
    const value = (row, column) => {
      const y = row.querySelectorAll("td")[column]?.dataset.y;
      return y === undefined ? null : Number(y);
    };
    if (this.dataset.kind === "bars") {
      return [x, ...this.#tones.map((tone) => rows.map((row) => (row.dataset.tone === tone ? value(row, 0) : null)))];
    }
    const columns = this.querySelectorAll("thead th").length - 1;
    return [x, ...Array.from({ length: columns }, (_, column) => rows.map((row) => value(row, column)))];
  }

  #options(uPlot) {
    const colours = getComputedStyle(this);
    const colour = (name) => colours.getPropertyValue(name).trim();
    const axis = { stroke: colour("--faint"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } };
    const font = `12px ${colours.fontFamily}`;
    const names = this.#rows.map((row) => row.querySelector("th").textContent.trim());
    const time = this.#overTime;
    const told = (value) => (value === null || value === undefined ? "–" : `${Number(value.toPrecision(3))} ${this.dataset.unit}`.trim());
    return {
      width: this.#width,
      height: HEIGHT,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      cursor: { y: false, drag: { x: false, y: false }, ...(time ? { sync: { key: "traffic" } } : {}) },
      scales: {
        x: { time, range: (_, least, most) => (time ? [least, most] : [-0.5, Math.max(names.length - 0.5, 0.5)]) },
        y: { range: (_, least, most) => this.#range(least, most) },
      },
      axes: [
        time ? { ...axis, font, size: 32, values: (_, splits) => splits.map((at) => this.#moment(at, splits)) } : { ...axis, font, size: 32, incrs: [1, 2, 5, 10, 20, 50], values: (_, splits) => splits.map((at) => names[at] ?? "") },
        { ...axis, font, size: 72, values: (_, splits) => splits.map((value) => `${Number(value.toPrecision(6))}${this.dataset.unit && ` ${this.dataset.unit}`}`) },
      ],
      series: [
        { label: time ? "UTC" : this.querySelector("thead th").textContent, value: time ? "{YYYY}-{MM}-{DD} {HH}:{mm}" : (_, at) => names[at] ?? "–" },
        ...(this.dataset.kind === "bars" ? this.#bars(uPlot, colour, told) : this.#lines(colour, told)),
      ],
      hooks: { draw: [(plot) => this.#mark(plot, colour, font)] },
    };
  }

  // UTC, as in the tables; over more than a day with the date.
  #moment(at, splits) {
    const told = new Date(at * 1000).toISOString();
    if (splits.at(-1) - splits[0] < 600) return told.slice(11, 19);
    return splits.at(-1) - splits[0] > 86_400 ? `${told.slice(8, 10)}. ${told.slice(11, 16)}` : told.slice(11, 16);
  }

  // A share is drawn on its own scale: 0.94 and 0.95 differ. What is counted begins at 0.
  #range(least, most) {
    if (least === null || most === null) return [0, 1];
    if (this.#overTime || this.dataset.kind === "bars") return [0, most > 0 ? most * 1.15 : 1];
    const room = Math.max((most - least) * 0.2, Math.abs(most) * 0.02, 1e-9);
    return [least - room, most + room];
  }

  #bars(uPlot, colour, told) {
    return this.#tones.map((tone) => ({
      label: TONES[tone],
      stroke: colour(`--${tone}`),
      fill: colour(`--${tone}`),
      paths: uPlot.paths.bars({ size: [0.7, 28] }),
      points: { show: false },
      value: (_, value) => told(value),
    }));
  }

  #lines(colour, told) {
    const columns = [...this.querySelectorAll("thead th")].slice(1);
    return columns.map((column, at) => ({
      label: column.textContent,
      stroke: colour(LINES[at % LINES.length]),
      width: 2,
      dash: DASHES[at % DASHES.length],
      points: { show: !this.#overTime || this.#rows.length < 30, size: 7, fill: colour(LINES[at % LINES.length]) },
      value: (_, value) => told(value),
    }));
  }

  // The switches: a line and the number of the release that took the traffic.
  #mark(plot, colour, font) {
    const { ctx } = plot;
    const { left, top, width, height } = plot.bbox;
    ctx.save();
    ctx.font = font.replace("12px", `${Math.round(12 * devicePixelRatio)}px`);
    ctx.textAlign = "left";
    ctx.strokeStyle = colour("--text");
    ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
    const marks = JSON.parse(this.dataset.marks || "[]")
      .map(([moment, name]) => [plot.valToPos(moment, "x", true), name])
      .filter(([x]) => x >= left && x <= left + width);
    for (const [x] of marks) {
      ctx.beginPath();
      ctx.moveTo(x, top);
      ctx.lineTo(x, top + height);
      ctx.stroke();
    }
    let free = left;
    for (const [x, name] of marks) {
      if (x < free) continue; // no room for its name beside the one before
      const wide = ctx.measureText(name).width + 6;
      const from = x + wide > left + width ? x - wide - 1 : x + 1;
      ctx.fillStyle = colour("--back"); // over the lines of the switches that follow
      ctx.fillRect(from, top, wide, 15 * devicePixelRatio);
      ctx.fillStyle = colour("--text");
      ctx.fillText(name, from + 3, top + 12 * devicePixelRatio);
      free = x + wide + 2;
    }
    ctx.restore();
  }
}

customElements.define("plot-view", PlotView);
