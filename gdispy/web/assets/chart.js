// The chart of the rate (uPlot), from samples of the counts.
import { byId } from "./tools.js";

export class RateChart {
  constructor() { this.samples = []; this.plot = null; }

  replace(samples) { this.samples = samples.map((each) => [each[0], each[1]]); }

  add(time, ended) {
    const last = this.samples[this.samples.length - 1];
    if (last && time - last[0] < 0.9) return;
    this.samples.push([time, ended]);
    if (this.samples.length > 3000) this.samples.splice(0, 1000);
  }

  draw() {
    const where = byId("chart");
    if (!where.parentElement.offsetParent) return;
    const times = [], rates = [];
    for (let at = 1; at < this.samples.length; at += 1) {
      const [before, then] = this.samples[at - 1], [time, now] = this.samples[at];
      times.push(time);
      rates.push(Math.max(0, (now - then) / (time - before)));
    }
    const empty = times.length < 2 || !this.samples[this.samples.length - 1][1];
    byId("chart-empty").hidden = !empty;
    if (empty) return;
    const width = Math.max(200, where.parentElement.clientWidth - 34), style = getComputedStyle(document.documentElement);
    const look = `${style.getPropertyValue("--accent")}${style.getPropertyValue("--dim")}`;
    if (this.plot && this.look !== look) { this.plot.destroy(); this.plot = null; }
    if (!this.plot) {
      this.look = look;
      const color = (name) => style.getPropertyValue(name).trim();
      const axis = { stroke: color("--dim"), grid: { stroke: color("--line"), width: 1 }, ticks: { stroke: color("--line"), width: 1 } };
      this.plot = new uPlot({
        width, height: 180, cursor: { y: false }, legend: { show: false },
        scales: { y: { range: (plot, low, high) => [0, Math.max(1, high * 1.1)] } },
        series: [{}, { stroke: color("--accent"), fill: `${color("--accent")}22`, width: 1.5, points: { show: false } }],
        axes: [axis, { ...axis, size: 55 }],
      }, [times, rates], where);
    } else {
      if (this.plot.width !== width) this.plot.setSize({ width, height: 180 });
      this.plot.setData([times, rates]);
    }
  }
}
