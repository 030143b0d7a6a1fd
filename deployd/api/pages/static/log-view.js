// Draws the lines of a log that can be seen, and no others, in a pane that scrolls as if all were there.

import { AnsiUp } from "./ansi_up.js";

export const ROW = 20; // pixels, as in the stylesheet
const HIGHEST = 15_000_000; // pixels; browsers draw nothing beyond 17.9 million
const NEAR_THE_END = 4;

const ansi = new AnsiUp();
ansi.use_classes = true;
ansi.faintStyle = "font-weight:300"; // less opacity would be less contrast

// `row` tells what stands in a line: { key, fill(element) }. A line is drawn anew when its key has changed.
export class View {
  constructor(pane, lines, row) {
    this.pane = pane;
    this.lines = lines;
    this.row = row;
    this.hidden = []; // [first, last] of lines that are folded away, in order, apart from each other
    this.drawn = new Map(); // line -> element
    this.away = false; // the reader has left the end
    this.top = 0;
    this.asked = null;
    this.sizer = pane.appendChild(document.createElement("div"));
    this.sizer.className = "sizer";
    this.window = this.sizer.appendChild(document.createElement("div"));
    this.window.className = "window";
    this.onDraw = () => {};
    pane.addEventListener("scroll", () => this.scrolled(), { passive: true });
    new ResizeObserver(() => this.changed()).observe(pane);
  }

  get rows() {
    return this.lines.count - this.hidden.reduce((sum, [first, last]) => sum + last - first + 1, 0);
  }

  line(row) {
    let line = row;
    for (const [first, last] of this.hidden) {
      if (line < first) break;
      line += last - first + 1;
    }
    return line;
  }

  rowOf(line) {
    let row = line;
    for (const [first, last] of this.hidden) {
      if (line < first) break;
      row -= Math.min(line, last) - first + 1;
    }
    return row;
  }

  isHidden(line) {
    return this.hidden.some(([first, last]) => line >= first && line <= last);
  }

  // There are more lines, or others. What is read stays where it is, unless the end is followed.
  changed({ follow = false } = {}) {
    if (this.asked === null) this.asked = requestAnimationFrame(() => this.draw());
    this.follows ||= follow;
  }

  // Show a line in the middle.
  show(line) {
    this.draw();
    this.pane.scrollTop = this.place(this.rowOf(line) - (this.pane.clientHeight / ROW - 1) / 2);
    this.away = !this.atEnd();
    this.draw();
  }

  showEnd() {
    this.away = false;
    this.draw();
    this.pane.scrollTop = this.pane.scrollHeight;
    this.draw();
  }

  atEnd() {
    return this.pane.scrollTop + this.pane.clientHeight >= this.sizer.offsetHeight - NEAR_THE_END;
  }

  scrolled() {
    // Only who scrolls up leaves the end: that it has moved away from below is no reason.
    if (this.atEnd()) this.away = false;
    else if (this.pane.scrollTop < this.top) this.away = true;
    this.top = this.pane.scrollTop;
    this.changed();
  }

  get height() {
    return Math.max(1, Math.min(this.rows * ROW, HIGHEST));
  }

  // Where the pane has to be scrolled to for a row to be the first, and the other way round.
  place(row) {
    const all = this.rows * ROW;
    if (all <= HIGHEST) return row * ROW;
    return (row / (this.rows - this.pane.clientHeight / ROW)) * (HIGHEST - this.pane.clientHeight);
  }

  first() {
    const all = this.rows * ROW;
    if (all <= HIGHEST) return this.pane.scrollTop / ROW;
    return (this.pane.scrollTop / (HIGHEST - this.pane.clientHeight)) * (this.rows - this.pane.clientHeight / ROW);
  }

  draw() {
    if (this.asked !== null) cancelAnimationFrame(this.asked);
    this.asked = null;
    this.sizer.style.height = `${this.height}px`;
    if (this.follows && !this.away) this.pane.scrollTop = this.pane.scrollHeight;
    this.follows = false;
    this.top = this.pane.scrollTop;
    const screen = Math.ceil(this.pane.clientHeight / ROW);
    const top = this.first();
    const from = Math.max(0, Math.floor(top) - screen);
    const to = Math.min(this.rows, Math.ceil(top) + 2 * screen);
    const wanted = new Map();
    for (let row = from; row < to; row++) {
      const line = this.line(row);
      wanted.set(line, this.element(line));
    }
    this.put(wanted);
    this.window.style.transform = `translateY(${Math.round(this.pane.scrollTop - (top - from) * ROW)}px)`;
    if (to > from) this.fetch(this.line(from), this.line(to - 1));
    this.onDraw();
  }

  element(line) {
    const { key, fill } = this.row(line);
    let element = this.drawn.get(line);
    if (element?.key !== key) {
      element ??= document.createElement("div");
      const focused = element.contains(document.activeElement);
      element.key = key;
      element.className = "row";
      element.replaceChildren();
      fill(element);
      if (focused) element.querySelector("button")?.focus({ preventScroll: true });
    }
    return element;
  }

  // Elements that stay are not moved, so that they keep the focus.
  put(wanted) {
    for (const [line, element] of this.drawn) if (!wanted.has(line)) element.remove();
    let next = this.window.firstChild;
    for (const element of wanted.values()) {
      if (element === next) next = next.nextSibling;
      else this.window.insertBefore(element, next);
    }
    this.drawn = wanted;
  }

  async fetch(first, last) {
    try {
      if (await this.lines.load(first, last)) this.changed();
    } catch {
      setTimeout(() => this.changed(), 2000);
    }
  }
}

// The text of a line in its colours.
export function coloured(text) {
  const element = document.createElement("span");
  element.className = "text";
  if (!text.includes("\x1b")) {
    element.textContent = text;
    return element;
  }
  // The policy of the page allows no styles in markup, but those that a script sets.
  element.innerHTML = ansi.ansi_to_html(`${text}\x1b[0m`).replaceAll(' style="', ' data-style="');
  for (const part of element.querySelectorAll("[data-style]")) {
    part.style.cssText = part.dataset.style;
    const colour = part.style.color; // one of 256, or any other: brought near enough to that of the text to be read
    if (colour) part.style.color = `color-mix(in srgb, ${colour} 35%, var(--text))`;
    part.removeAttribute("data-style");
  }
  return element;
}
