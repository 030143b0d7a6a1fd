// Lines in the address of a page: `#L10`, `#L10-L20`. There they count from 1, elsewhere from 0.

// The first and the last line that a hash names; null when it names none.
export function linesIn(hash) {
  const asked = /^#L([0-9]+)(?:-L?([0-9]+))?$/.exec(hash);
  if (!asked) return null;
  const lines = [asked[1], asked[2] ?? asked[1]].map((number) => Math.max(0, Number(number) - 1));
  return [Math.min(...lines), Math.max(...lines)];
}

export function hashOf([first, last]) {
  return first === last ? `#L${first + 1}` : `#L${first + 1}-L${last + 1}`;
}

// Put the text of lines into the clipboard, without colours; how many there are.
export async function copyLines(lines, [first, last]) {
  const end = Math.min(last, lines.count - 1);
  await lines.load(first, end);
  const texts = [];
  for (let line = first; line <= end; line++) texts.push(lines.text(line).replace(/\x1b\[[0-9;]*m/g, ""));
  await put(`${texts.join("\n")}\n`);
  return texts.length;
}

// Browsers have no clipboard on plain http, but on this machine.
async function put(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = document.body.appendChild(document.createElement("textarea"));
  area.value = text;
  area.select();
  document.execCommand("copy");
  area.remove();
}
