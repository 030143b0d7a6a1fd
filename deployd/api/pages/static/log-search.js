// Finds a text in a whole log, piece by piece, so that the page stays smooth; what is not there yet is fetched.

const PIECE_LINES = 20_000;
const MOST = 100_000;
const decoder = new TextDecoder();

const COLOURS = /\x1b\[[0-9;]*m/g;

export class Search {
  constructor(lines) {
    this.lines = lines;
    this.query = "";
    this.pattern = null;
    this.found = []; // the line of each place where it is
    this.next = 0; // the first line that was not looked at
    this.more = false; // there are more than are kept
    this.running = null;
  }

  // Look for another text. `tell` is called whenever more is known.
  begin(query, tell) {
    this.query = query;
    this.pattern = query ? new RegExp(query.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "giu") : null;
    this.found = [];
    this.next = 0;
    this.more = false;
    return this.go(tell);
  }

  get done() {
    return !this.pattern || this.more || this.next >= this.lines.ends;
  }

  // Look at what was not looked at yet, such as what has come since.
  async go(tell) {
    if (this.running) return this.running;
    this.running = this.look(tell).finally(() => {
      this.running = null;
    });
    return this.running;
  }

  async look(tell) {
    let shownAt = 0;
    while (!this.done) {
      const pattern = this.pattern;
      const first = this.next;
      const last = this.lastOfPiece(first);
      await this.lines.load(first, last);
      if (pattern !== this.pattern) continue; // another text is looked for by now
      const bytes = this.lines.bytes(this.lines.start(first), this.lines.start(last + 1));
      this.next = last + 1;
      this.lookIn(decoder.decode(bytes).replace(COLOURS, ""), first);
      if (performance.now() - shownAt > 100 || this.done) {
        shownAt = performance.now();
        tell();
        await new Promise((resolve) => setTimeout(resolve));
      }
    }
    tell();
  }

  // Some lines, but of not much more than a few blocks.
  lastOfPiece(first) {
    const block = this.lines.blockOfEnd(first) + 15;
    const end = block < this.lines.blocks.length - 1 ? this.lines.blocks[block].before - 1 : this.lines.ends - 1;
    return Math.max(first, Math.min(first + PIECE_LINES - 1, end, this.lines.ends - 1));
  }

  lookIn(text, first) {
    let line = first;
    let at = 0;
    this.pattern.lastIndex = 0;
    for (const match of text.matchAll(this.pattern)) {
      for (let end = text.indexOf("\n", at); end >= 0 && end < match.index; end = text.indexOf("\n", at)) {
        line++;
        at = end + 1;
      }
      if (this.found.length === MOST) {
        this.more = true;
        return;
      }
      this.found.push(line);
    }
  }
}

// Where `pattern` is in the text of an element, whatever elements that is made of.
export function rangesIn(element, pattern) {
  const nodes = [];
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  let length = 0;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    nodes.push([length, node]);
    length += node.data.length;
  }
  const place = (at) => nodes.findLast(([start]) => start <= at) ?? nodes[0];
  return [...element.textContent.matchAll(pattern)].map((match) => {
    const range = new Range();
    const end = match.index + match[0].length;
    const [start, first] = place(match.index);
    const [lastStart, last] = place(end - 1);
    range.setStart(first, match.index - start);
    range.setEnd(last, end - lastStart);
    return range;
  });
}
