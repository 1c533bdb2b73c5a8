// Elements, numbers and tables. Text of jobs and nodes is hostile: it only ever becomes textContent.

export const byId = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value; else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

export function setText(where, text) {
  if (where.textContent !== text) where.textContent = text;
}

const whole = new Intl.NumberFormat("en");
export const count = (value) => whole.format(value);

export function amount(bytes) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let at = 0;
  while (bytes >= 1000 && at < units.length - 1) { bytes /= 1000; at += 1; }
  return `${at ? bytes.toFixed(1) : bytes} ${units[at]}`;
}

export function duration(seconds) {
  if (seconds == null) return "–";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const left = Math.round(seconds);
  if (left < 120) return `${left} s`;
  const days = Math.floor(left / 86400), hours = Math.floor(left % 86400 / 3600), minutes = Math.floor(left % 3600 / 60);
  if (days) return `${days} d ${hours} h`;
  return hours ? `${hours} h ${minutes} min` : `${minutes} min ${left % 60} s`;
}

export const clock = (seconds) => seconds ? new Date(seconds * 1000).toLocaleTimeString() : "–";
// With the day, if that is not clear.
export const since = (seconds) => seconds && Date.now() / 1000 - seconds > 43200 ? new Date(seconds * 1000).toLocaleString([], { dateStyle: "short", timeStyle: "short" }) : clock(seconds);

// A table that changes only what has changed. A column is {title, cell, num, wide, fixed}: `cell` returns a text, or
// {sign, build}, whose element is built anew when `sign` differs.
export class Table {
  constructor(table) {
    this.head = table.tHead;
    this.body = table.tBodies[0];
    this.table = table;
    this.rows = new Map();
    this.columns = [];
  }

  show(columns, items, key) {
    const titles = columns.map((each) => each.title).join("|");
    if (titles !== this.titles) {
      this.titles = titles;
      const cells = columns.map((each) => element("th", { scope: "col", className: each.num ? "num" : "" }, each.title));
      this.head.replaceChildren(element("tr", {}, ...cells));
      this.body.replaceChildren();
      this.rows.clear();
    }
    this.table.hidden = !items.length;
    const gone = new Set(this.rows.keys());
    let before = null;
    for (const item of items) {
      const name = key(item);
      let row = this.rows.get(name);
      if (!row || !gone.delete(name)) {
        const cells = columns.map((each) => {
          const cell = element("td", { className: `${each.num ? "num" : ""}${each.wide ? " wide" : ""}${each.fixed ? " fixed" : ""}` });
          cell.dataset.label = each.title;
          return cell;
        });
        row = { line: element("tr", {}, ...cells), cells, signs: [] };
        this.rows.set(name, row);
      }
      columns.forEach((each, at) => {
        const value = each.cell(item);
        const sign = typeof value === "string" ? value : value.sign;
        if (row.signs[at] === sign) return;
        row.signs[at] = sign;
        if (typeof value === "string") row.cells[at].textContent = value;
        else row.cells[at].replaceChildren(...inOne([value.build()].flat()));
      });
      const wanted = before ? before.nextSibling : this.body.firstChild;
      if (wanted !== row.line) this.body.insertBefore(row.line, wanted);
      before = row.line;
    }
    for (const name of gone) { this.rows.get(name).line.remove(); this.rows.delete(name); }
  }
}

// One element: narrow screens put the title beside it.
function inOne(parts) { return parts.length > 1 ? [element("div", {}, ...parts)] : parts; }

export function button(text, label, press, strong = false) {
  return element("button", { type: "button", className: strong ? "small strong" : "small", ariaLabel: label, onclick: press }, text);
}

// Asks before an action: resolves to false, or to true if `value` is null, else to a number or a text as `value` is.
export function ask(text, yes, value = null, unit = "CPUs") {
  const dialog = byId("ask"), field = byId("ask-number"), label = byId("ask-label");
  byId("ask-text").textContent = text;
  byId("ask-yes").textContent = yes;
  const isText = typeof value === "string";
  label.hidden = value === null;
  field.type = isText ? "text" : "number";
  field.required = value !== null && !isText;
  field.value = value ?? "";
  label.firstElementChild.textContent = unit;
  field.step = ["CPUs", "Clients"].includes(unit) ? "1" : "any";
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => {
    if (dialog.returnValue !== "yes") resolve(false);
    else if (value === null) resolve(true);
    else resolve(isText ? field.value : field.valueAsNumber);
  }, { once: true }));
}
