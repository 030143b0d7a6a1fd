// What stands in a line of a log beside its text: its time, and the head of a step.

// `at` in seconds since the epoch, or null where nobody knows; by the clock, or since `begin`.
export function timeOf(at, begin) {
  const element = document.createElement("span");
  element.className = "at";
  if (at === null) return element;
  const moment = new Date(at * 1000);
  element.title = moment.toISOString();
  element.textContent = begin === null ? moment.toLocaleTimeString("en-GB") : `+${(at - begin).toFixed(1)} s`;
  return element;
}

const SHAPES = { running: ["run", "▸"], done: ["ok", "✓"], failed: ["bad", "✗"], cancelled: ["idle", "○"] };

// The button that folds the step at `place`, its state, and how long it took; folded, also how many lines it has.
export function headOf(step, place, folded, count) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "fold";
  button.setAttribute("aria-expanded", String(!folded));
  button.dataset.step = place;
  button.textContent = `${folded ? "▸" : "▾"} ${step.name}`;
  const [tone, shape] = SHAPES[step.status];
  const state = document.createElement("span");
  state.className = `state ${tone}`;
  state.textContent = `${shape} ${step.status}`;
  const more = document.createElement("span");
  more.className = "faint";
  const hidden = `${count.toLocaleString("en")} ${count === 1 ? "line" : "lines"}`;
  more.textContent = [lasted(step), folded ? hidden : ""].filter(Boolean).join(", ");
  return [button, " ", state, " ", more];
}

function lasted(step) {
  if (!step.finished_at) return "";
  const seconds = (new Date(step.finished_at) - new Date(step.started_at)) / 1000;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 2 : 0)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
}
