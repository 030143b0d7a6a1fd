// The log of a deploy: follows it, searches it, links to its lines, folds its steps.

import { LogLines } from "./log-lines.js";
import { copyLines, hashOf, linesIn } from "./log-links.js";
import { headOf, timeOf } from "./log-rows.js";
import { Search, rangesIn } from "./log-search.js";
import { View, coloured } from "./log-view.js";

const root = document.getElementById("log");
const part = (name) => root.querySelector(`[data-part="${name}"]`);
const lines = new LogLines(root.dataset.address);
const view = new View(part("pane"), lines, rowOf);
const search = new Search(lines);
const closed = new Set(); // the places of the steps that are folded, in `lines.steps`
const controls = Object.fromEntries(
  ["tools", "query", "count", "earlier", "later", "follow", "times", "fold", "start", "end", "new", "copy", "said"].map((name) => [name, part(name)]),
);

let following = false;
let times = "clock";
let marked = null; // [first, last]
let current = -1; // in search.found
let seen = 0; // how many lines there were when the reader left the end

// What stands in a line

function rowOf(line) {
  const step = stepOf(line);
  const text = lines.text(line);
  const mark = marked !== null && line >= marked[0] && line <= marked[1];
  const hit = current >= 0 && search.found[current] === line;
  const folded = step && closed.has(lines.steps.indexOf(step));
  const state = step ? `${step.status} ${step.finished_at} ${folded ? lastOf(step) : ""}` : "";
  const key = [text === null ? "" : text.length, times, mark, hit, folded, state].join("|");
  return { key, fill: (row) => fill(row, { line, step, text, mark, hit, folded }) };
}

function stepOf(line) {
  return lines.steps.find((step) => step.first_line === line + 1);
}

function fill(row, { line, step, text, mark, hit, folded }) {
  row.classList.toggle("marked", mark);
  row.classList.toggle("hit", hit);
  const number = document.createElement("a");
  number.className = "no";
  number.href = `#L${line + 1}`;
  number.tabIndex = -1;
  number.textContent = line + 1;
  row.append(number);
  if (times !== "off") row.append(timeOf(lines.time(line), times === "begin" ? (lines.times[0]?.[1] ?? null) : null));
  if (text === null) {
    row.append("…");
  } else if (step) {
    row.classList.add("step");
    row.append(...headOf(step, lines.steps.indexOf(step), folded, lastOf(step) - step.first_line));
  } else {
    row.append(coloured(text));
  }
}

// Folding

function fold() {
  const ranges = [...closed]
    .map((place) => lines.steps[place])
    .filter((step) => step?.first_line && lastOf(step) > step.first_line)
    .map((step) => [step.first_line, lastOf(step) - 1])
    .sort((one, other) => one[0] - other[0]);
  view.hidden = [];
  for (const [first, last] of ranges) {
    const former = view.hidden.at(-1);
    if (former && first <= former[1] + 1) former[1] = Math.max(former[1], last);
    else view.hidden.push([first, last]);
  }
  const all = lines.steps.length > 0 && lines.steps.every((_, place) => closed.has(place));
  controls.fold.textContent = all ? "Open all steps" : "Fold all steps";
  view.changed();
}

// The last line of a step, from 1.
function lastOf(step) {
  return step.status === "running" ? lines.count : step.last_line;
}

function unfoldAround(line) {
  lines.steps.forEach((step, place) => {
    if (step.first_line && line >= step.first_line && line < lastOf(step)) closed.delete(place);
  });
  fold();
}

function toggle(place) {
  if (!closed.delete(place)) closed.add(place);
  fold();
}

// Links to lines

function mark(range) {
  marked = range;
  controls.copy.hidden = range === null;
  view.changed();
}

async function goToHash() {
  mark(linesIn(location.hash));
  if (marked === null || lines.count === 0) return;
  const line = Math.min(marked[0], lines.count - 1);
  unfoldAround(line);
  view.show(line);
  root.scrollIntoView();
}

function clicked(event) {
  const button = event.target.closest("button.fold");
  if (button) {
    toggle(Number(button.dataset.step));
    return;
  }
  const number = event.target.closest("a.no");
  if (!number || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const line = Number(number.textContent) - 1;
  const range = event.shiftKey && marked ? [Math.min(marked[0], line), Math.max(marked[0], line)] : [line, line];
  history.replaceState(null, "", hashOf(range));
  mark(range);
}

async function copy() {
  const count = await copyLines(lines, marked);
  say(`Copied ${count} ${count === 1 ? "line" : "lines"}.`);
}

// Search

async function look() {
  current = -1;
  await search.begin(controls.query.value, showCount);
}

function showCount() {
  const all = `${search.found.length.toLocaleString("en")}${search.more ? "+" : ""}`;
  if (current < 0 && search.found.length > 0) choose(nearest());
  if (!search.pattern) controls.count.textContent = "";
  else if (search.found.length === 0) controls.count.textContent = search.done ? "not found" : "searching…";
  else controls.count.textContent = `${(current + 1).toLocaleString("en")} of ${all}${search.done ? "" : "…"}`;
  controls.earlier.disabled = controls.later.disabled = search.found.length === 0;
  view.changed();
}

// The first place from what is seen on.
function nearest() {
  const top = view.line(Math.floor(view.first()));
  const place = search.found.findIndex((line) => line >= top);
  return place < 0 ? 0 : place;
}

function choose(place) {
  current = (place + search.found.length) % search.found.length;
  const line = search.found[current];
  if (view.isHidden(line)) unfoldAround(line);
  view.show(line);
}

function step(by) {
  if (search.query !== controls.query.value) {
    look();
  } else if (search.found.length > 0) {
    choose(current + by);
    showCount();
  }
}

// All places in what is drawn, without a change to it.
function highlight() {
  if (!CSS.highlights) return;
  const ranges = [];
  if (search.pattern) {
    for (const text of view.window.querySelectorAll(".text")) ranges.push(...rangesIn(text, search.pattern));
  }
  CSS.highlights.set("found", new Highlight(...ranges));
}

// Following

function follow(on) {
  following = on;
  controls.follow.setAttribute("aria-pressed", String(on));
  if (on) view.showEnd();
  tellNew();
}

function tellNew() {
  const more = lines.count - seen;
  if (!view.away) seen = lines.count;
  controls.new.hidden = !following || !view.away;
  controls.new.textContent = more > 0 ? `↓ ${more.toLocaleString("en")} new lines` : "↓ To the end";
}

async function came(told) {
  if (!lines.append(told)) await lines.open();
  if (lines.steps.some((step, place) => step.status === "running" && closed.has(place))) fold();
  view.changed({ follow: following });
  if (search.pattern && !search.done) search.go(showCount);
}

let asked = null;

// A step has begun or ended.
function changed(told) {
  if (told.name && told.status !== "running") say(`${told.name}: ${told.status}`);
  asked ??= setTimeout(async () => {
    asked = null;
    await lines.index(lines.size);
    fold();
  }, 300);
}

// Do it for the events of this deploy, one after the other, once the log is open.
let before = Promise.resolve();

function listen(kind, does) {
  document.getElementById("events").addEventListener(kind, (event) => {
    const told = JSON.parse(event.detail.data);
    if (kind === "reset" || `${told.app}/${told.number}` === root.dataset.deploy) {
      before = before.then(() => does(told)).catch(() => say("The log cannot be read now; reload the page."));
    }
  });
}

function say(text) {
  controls.said.textContent = text;
}

// At the beginning

function foldWhatIsDone() {
  const failed = lines.steps.some((step) => step.status === "failed");
  if (linesIn(location.hash) || (lines.ended && !failed)) return;
  lines.steps.forEach((step, place) => {
    if (step.status === "done") closed.add(place);
  });
}

async function begin() {
  await lines.open();
  part("last").remove();
  controls.tools.hidden = false;
  part("pane").hidden = false;
  view.pane.classList.toggle("ended", lines.ended); // while it grows, its end stays where it is in the window
  foldWhatIsDone();
  fold();
  view.onDraw = () => {
    highlight();
    tellNew();
  };
  if (linesIn(location.hash)) await goToHash();
  else if (!lines.ended) follow(true);
  else if (lines.steps.some((step) => step.status === "failed")) view.showEnd();
  seen = lines.count;
  root.dataset.ready = "";
}

async function openAgain() {
  await lines.open();
  fold();
}

controls.query.addEventListener("input", () => {
  clearTimeout(look.timer);
  look.timer = setTimeout(look, 200);
});
controls.query.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  step(event.shiftKey ? -1 : 1);
});
controls.earlier.addEventListener("click", () => step(-1));
controls.later.addEventListener("click", () => step(1));
controls.follow.addEventListener("click", () => follow(!following));
controls.new.addEventListener("click", () => view.showEnd());
controls.start.addEventListener("click", () => {
  view.pane.scrollTop = 0;
});
controls.end.addEventListener("click", () => view.showEnd());
controls.copy.addEventListener("click", copy);
controls.times.addEventListener("change", () => {
  times = controls.times.value;
  view.changed();
});
controls.fold.addEventListener("click", () => {
  const all = lines.steps.every((_, place) => closed.has(place));
  closed.clear();
  if (!all) lines.steps.forEach((_, place) => closed.add(place));
  fold();
});
view.pane.addEventListener("click", clicked);
// The browser's own search sees only the lines that are drawn. Pressed once more, it comes all the same.
root.addEventListener("keydown", (event) => {
  if (event.key !== "f" || !(event.ctrlKey || event.metaKey) || document.activeElement === controls.query) return;
  event.preventDefault();
  controls.query.select();
});
window.addEventListener("hashchange", goToHash);
listen("log", came);
listen("step", changed);
listen("deploy.status", changed);
listen("reset", openAgain);
before = begin().catch(() => say("The log cannot be read now; reload the page."));
