// The timeline: who ran what when, drawn on a canvas. Rows are [place, lane, start, end, status, number].
import { byId, clock, duration, setText } from "./tools.js";

const FINISHED = 11, MOST = 20000, LEFT = 150, TOP = 22, LANE = 9, GAP = 7;

export class Timeline {
  constructor(link) {
    this.link = link;
    this.rows = [];
    this.places = [];
    this.next = 0;
    this.known = -1;
    this.canvas = byId("lanes");
    this.canvas.addEventListener("mousemove", (event) => this.point(event));
    byId("span").addEventListener("change", () => this.draw());
  }

  forget() { this.rows = []; this.next = 0; this.known = -1; }

  // `total` is the number of rows at the server.
  async update(total, now) {
    this.now = now;
    if (this.busy) return;
    this.busy = true;
    try {
      while (total !== this.known) {
        const found = await this.link.get(`api/timeline?since=${this.next}`);
        this.places = found.places;
        if (found.whole || found.first !== this.next) this.rows = [];
        this.rows.push(...found.rows);
        if (this.rows.length > MOST) this.rows = this.rows.slice(-MOST);
        this.next = found.next;
        if (found.whole || found.rows.length === 0 || found.next >= total) this.known = total;
      }
      this.draw();
    } finally { this.busy = false; }
  }

  draw() {
    const canvas = this.canvas;
    byId("lanes-empty").hidden = this.rows.length > 0;
    canvas.hidden = !this.rows.length;
    if (canvas.hidden || !canvas.offsetParent) return;
    const span = Number(byId("span").value);
    let end = 0, begin = Infinity;
    for (const row of this.rows) { if (row[3] > end) end = row[3]; if (row[2] < begin) begin = row[2]; }
    if (span) begin = end - span;
    const lanes = new Map();
    for (const row of this.rows) if (row[3] >= begin) lanes.set(row[0], Math.max(lanes.get(row[0]) ?? 0, row[1]));
    const order = [...lanes.keys()].sort((a, b) => this.places[a].localeCompare(this.places[b]));
    const tops = new Map();
    let height = TOP;
    for (const place of order) { tops.set(place, height); height += (lanes.get(place) + 1) * LANE + GAP; }
    this.paint(begin, Math.max(end, begin + 0.001), tops, order, height);
    canvas.setAttribute("aria-label", `Jobs of ${order.length} nodes from ${clock(begin)} to ${clock(end)}. The list of ended jobs has the same data.`);
  }

  paint(begin, end, tops, order, height) {
    const canvas = this.canvas, scale = window.devicePixelRatio || 1, width = canvas.parentElement.clientWidth - 34;
    const left = width < 500 ? 70 : LEFT;
    height = Math.min(height, 16000);
    canvas.width = width * scale; canvas.height = height * scale;
    canvas.style.height = `${height}px`;
    const style = getComputedStyle(document.documentElement), color = (name) => style.getPropertyValue(name).trim();
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    pen.font = "12px system-ui, sans-serif";
    const x = (time) => left + (time - begin) / (end - begin) * (width - left);
    pen.fillStyle = color("--dim");
    pen.strokeStyle = color("--line");
    const marks = width < 500 ? 3 : 6;
    for (let at = 0; at < marks; at += 1) {
      const place = left + at / marks * (width - left);
      pen.fillText(clock(begin + at / marks * (end - begin)), place + 3, 12);
      pen.beginPath(); pen.moveTo(place + .5, 0); pen.lineTo(place + .5, height); pen.stroke();
    }
    for (const place of order) pen.fillText(this.places[place].slice(0, left < LEFT ? 9 : 20), 0, tops.get(place) + LANE);
    this.boxes = [];
    for (const color_of of [["--run", true], ["--bad", false]]) {
      pen.fillStyle = color(color_of[0]);
      for (const row of this.rows) {
        if ((row[4] === FINISHED) !== color_of[1] || row[3] < begin || !tops.has(row[0])) continue;
        const from = Math.max(left, x(row[2])), to = Math.max(from + 1, x(row[3])), top = tops.get(row[0]) + row[1] * LANE;
        pen.fillRect(from, top, Math.max(1, to - from - .5), LANE - 2);
        this.boxes.push([from, to, top, row]);
      }
    }
  }

  point(event) {
    const x = event.offsetX, y = event.offsetY;
    const hit = (this.boxes ?? []).findLast((box) => x >= box[0] - 1 && x <= box[1] + 1 && y >= box[2] && y < box[2] + LANE);
    const row = hit?.[3];
    setText(byId("lanes-tip"), row ? `Job ${row[5]} on ${this.places[row[0]]}: ${clock(row[2])}, ${duration(row[3] - row[2])}, ${row[4] === FINISHED ? "finished" : "failed"}` : "");
  }
}
