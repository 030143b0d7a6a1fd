// The lines of one log: how many there are and where, known from the daemon's index; their bytes are fetched when they are asked
// for, and kept. Lines count from 0 here.

const BLOCK = 64 * 1024;
const FETCHED_AT_ONCE = 16; // blocks
const LONGEST = 10_000; // bytes of a line that are shown
const NEWLINE = 10;

const decoder = new TextDecoder();
const encoder = new TextEncoder();

export class LogLines {
  constructor(address) {
    this.address = address;
    this.blocks = []; // { start, length, before, ends, bytes, places }: `before` line ends lie before it, `ends` in it
    this.size = 0;
    this.ends = 0;
    this.complete = true; // the last line has its end
    this.times = []; // [byte, seconds since the epoch]
    this.steps = [];
    this.ended = false;
  }

  get count() {
    return this.ends + (this.complete ? 0 : 1);
  }

  // Ask the daemon where everything is. Throws a Response that is not a good one.
  async open() {
    const index = await this.index(0);
    this.blocks = [];
    this.ends = 0;
    index.ends.forEach((ends, place) => {
      const start = place * index.block;
      const length = Math.min(index.block, index.size - start);
      this.blocks.push({ start, length, before: this.ends, ends, bytes: null, places: null });
      this.ends += ends;
    });
    this.size = index.size;
    this.complete = index.lines === this.ends;
    this.times = index.times;
  }

  // The steps as they are now; times from byte `from` on.
  async index(from) {
    const answer = await fetch(`${this.address}/index?from=${from}`);
    if (!answer.ok) throw answer;
    const index = await answer.json();
    this.steps = index.steps;
    this.ended = index.ended;
    return index;
  }

  // What was written since; false when something between is missing, and the log must be opened again.
  append({ from, to, text, times }) {
    if (to <= this.size) return true;
    let bytes = encoder.encode(text);
    if (from > this.size || bytes.length !== to - from) return false;
    bytes = bytes.subarray(this.size - from);
    for (const time of times) if (time[0] >= this.size) this.times.push(time);
    const last = this.blocks.at(-1);
    if (last?.bytes && last.length + bytes.length <= BLOCK) {
      const joined = new Uint8Array(last.length + bytes.length);
      joined.set(last.bytes);
      joined.set(bytes, last.length);
      this.ends -= last.ends;
      Object.assign(last, found(joined), { length: joined.length });
      this.ends += last.ends;
    } else {
      const added = found(bytes);
      this.blocks.push({ start: this.size, length: bytes.length, before: this.ends, ...added });
      this.ends += added.ends;
    }
    this.size = to;
    this.complete = bytes.at(-1) === NEWLINE;
    return true;
  }

  // Fetch what the lines from `first` to `last` need; true when something came.
  async load(first, last) {
    const from = first <= 0 ? 0 : this.blockOfEnd(first - 1);
    const to = this.blockOfEnd(last);
    const asked = [];
    for (let place = from; place <= to; place++) {
      const block = this.blocks[place];
      if (block && !block.bytes) asked.push((block.loading ??= this.fetch(place, to)));
    }
    await Promise.all(asked);
    return asked.length > 0;
  }

  async fetch(place, last) {
    const some = [];
    for (let at = place; at <= last && some.length < FETCHED_AT_ONCE; at++) {
      const block = this.blocks[at];
      if (block.bytes || (at > place && block.loading)) break;
      some.push(block);
    }
    const start = some[0].start;
    const end = some.at(-1).start + some.at(-1).length;
    const loading = (async () => {
      try {
        const answer = await fetch(`${this.address}?from=${start}&to=${end}&colours=1`);
        if (!answer.ok) throw answer;
        const bytes = new Uint8Array(await answer.arrayBuffer());
        for (const block of some) {
          if (block.bytes) continue;
          const part = bytes.subarray(block.start - start, block.start - start + block.length);
          if (part.length === block.length) Object.assign(block, found(part));
        }
      } finally {
        for (const block of some) block.loading = null;
      }
    })();
    for (const block of some) block.loading = loading;
    return loading;
  }

  // A line with its colours; null when it is not there yet.
  text(line) {
    const start = this.start(line);
    const end = line < this.ends ? this.start(line + 1) : this.size + 1;
    if (start === null || end === null) return null;
    const length = Math.max(0, end - 1 - start);
    const bytes = this.bytes(start, start + Math.min(length, LONGEST));
    if (bytes === null) return null;
    if (length <= LONGEST) return decoder.decode(bytes);
    const shown = decoder.decode(bytes).replace(/\x1b[^m]*$/, "");
    return `${shown}\x1b[0m … ${(length - LONGEST).toLocaleString("en")} more bytes in the raw log`;
  }

  // When a line was written, in seconds since the epoch; null when nobody knows.
  time(line) {
    const start = this.start(line);
    if (start === null) return null;
    const place = lastWhere(this.times.length, (at) => this.times[at][0] <= start);
    return place < 0 ? null : this.times[place][1];
  }

  start(line) {
    if (line <= 0) return 0;
    const block = this.blocks[this.blockOfEnd(line - 1)];
    return block?.bytes ? block.start + block.places[line - 1 - block.before] + 1 : null;
  }

  bytes(start, end) {
    let place = lastWhere(this.blocks.length, (at) => this.blocks[at].start <= start);
    const first = this.blocks[place];
    if (!first) return new Uint8Array();
    if (!first.bytes) return null;
    if (end <= first.start + first.length) return first.bytes.subarray(start - first.start, end - first.start);
    const all = new Uint8Array(end - start);
    for (let at = start; at < end; place++) {
      const block = this.blocks[place];
      if (!block?.bytes) return null;
      const part = block.bytes.subarray(at - block.start, end - block.start);
      all.set(part, at - start);
      at += part.length;
    }
    return all;
  }

  // The block in which the line `line` ends.
  blockOfEnd(line) {
    return Math.max(0, lastWhere(this.blocks.length, (at) => this.blocks[at].before <= line));
  }
}

function found(bytes) {
  const places = new Uint32Array(bytes.length);
  let ends = 0;
  for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) places[ends++] = at;
  return { bytes, ends, places: places.slice(0, ends) };
}

// The last place below `count` of which `holds` is true; it is for all before that one.
export function lastWhere(count, holds) {
  let low = -1;
  let high = count;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (holds(middle)) low = middle;
    else high = middle;
  }
  return low;
}
