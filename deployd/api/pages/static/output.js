// What the live release of an app prints: its last lines, and what comes. Follows while the reader is at the end.

import { View, coloured } from "./log-view.js";

const MOST = 5000;

const root = document.getElementById("output");
const part = (name) => root.querySelector(`[data-part="${name}"]`);

// Lines that are all there, and of which the oldest go.
const lines = {
  all: [],
  open: "", // the last line, which has no end yet
  get count() {
    return this.all.length + (this.open ? 1 : 0);
  },
  text(line) {
    return this.all[line] ?? this.open;
  },
  async load() {
    return false;
  },
  add(text) {
    const more = (this.open + text).split("\n");
    this.open = more.pop();
    this.all.push(...more);
    this.gone += Math.max(0, this.all.length - MOST);
    this.all.splice(0, this.all.length - MOST);
  },
  gone: 0,
};

const view = new View(part("pane"), lines, (line) => {
  const text = lines.text(line);
  return { key: `${line + lines.gone} ${text.length}`, fill: (row) => row.append(coloured(text)) };
});

let following = true;

function tell() {
  part("follow").setAttribute("aria-pressed", String(following));
  part("new").hidden = !following || !view.away;
}

document.getElementById("events").addEventListener("output", (event) => {
  const told = JSON.parse(event.detail.data);
  if (told.app !== root.dataset.app) return;
  if (told.begin) Object.assign(lines, { all: [], open: "", gone: 0 });
  lines.add(told.text);
  part("nothing").hidden = lines.count > 0;
  view.changed({ follow: following });
});
part("follow").addEventListener("click", () => {
  following = !following;
  if (following) view.showEnd();
  tell();
});
part("new").addEventListener("click", () => view.showEnd());
part("tools").hidden = false;
part("pane").hidden = false;
view.onDraw = tell;
tell();
