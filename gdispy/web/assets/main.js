// The page: the views, and what its buttons do.
import { RateChart } from "./chart.js";
import { Link, LoggedOut } from "./link.js";
import { Timeline } from "./timeline.js";
import { amount, ask, button, byId, clock, count, duration, element, setText, since, Table } from "./tools.js";

const VIEWS = ["overview", "jobs", "nodes", "timeline"];
const state = {};
const tables = Object.fromEntries(["computations", "clients", "schedulers", "joblist", "nodelist"].map((id) => [id, new Table(byId(id))]));
const link = new Link(onState, onLink), chart = new RateChart(), timeline = new Timeline(link);
const jobs = { kind: "running", from: [0], next: null };
let view = "", lastHeard = null, failedShown = -1, jobsAsked = 0, historyAsked = false;

const lacks = (name) => Boolean(state.about?.without?.includes(name));
const may = (action) => state.about?.actions.includes(action);

// The connection

function onLink(kind, text) {
  const names = { live: "Live", poll: "Live (polling)", lost: "Disconnected", end: "Ended", login: "Logged out" };
  if (kind === "login") return showLogin(text);
  const place = byId("link"), gone = kind === "lost" || kind === "end";
  setText(place, names[kind]);
  place.dataset.state = gone ? "lost" : "live";
  document.body.classList.toggle("lost", gone);
  const banner = byId("banner");
  if (gone && banner.hidden) {
    setText(banner, `No answer since ${clock(lastHeard)}: the program has ended, or cannot be reached. What you see is its last state; the page continues when it answers again.`);
  }
  banner.hidden = !gone;
  if (!gone) {
    if (!historyAsked) askForHistory();
    lastHeard = Date.now() / 1000;
  } else historyAsked = false;
  return undefined;
}

async function askForHistory() {
  historyAsked = true;
  try { chart.replace((await link.get("api/history")).samples); } catch { historyAsked = false; }
}

function showLogin(text = "") {
  byId("app").hidden = byId("nav").hidden = true;
  byId("login").hidden = false;
  setText(byId("link"), "Logged out");
  byId("link").dataset.state = "wait";
  setText(byId("login-error"), text);
  byId("token").focus();
}

function showApp() {
  byId("login").hidden = true;
  byId("app").hidden = byId("nav").hidden = false;
  route();
}

byId("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const given = byId("token").value.trim();
  try {
    await link.logIn(given.split("token=").pop());
    byId("token").value = "";
    showApp();
    link.listen();
  } catch (error) { setText(byId("login-error"), error.message); }
});

// Actions

let saidTimer;
function say(text) {
  setText(byId("said"), text);
  clearTimeout(saidTimer);
  saidTimer = setTimeout(() => setText(byId("said"), ""), 6000);
}

async function act(question, yes, order, number = null, unit = "cpus") {
  const answer = await ask(question, yes, number, { cpus: "CPUs", weight: "Weight", priority: "Priority", hours: "Hours", clients: "Clients" }[unit]);
  if (answer === false || Number.isNaN(answer)) return;
  if (number !== null) order = { ...order, [unit]: answer };
  try {
    say((await link.act(order)).done);
    if (view === "jobs") askForJobs();
  } catch (error) {
    if (error instanceof LoggedOut) showLogin(error.message);
    else say(`Not done: ${error.message}`);
  }
}

// Live sections

function onState(changed) {
  Object.assign(state, changed);
  if (changed.about) {
    setText(byId("title"), state.about.title);
    document.title = `${state.about.title} – gdispy`;
    for (const each of document.querySelectorAll("nav a")) each.hidden = lacks(each.hash.slice(1));
  }
  showCounts();
  if (view === "overview") showOverview();
  if (view === "nodes" && (changed.nodes || changed.about)) showNodes();
  if (view === "jobs") askForJobs();
  if (view === "timeline") timeline.update(state.rows ?? 0, state.now.time).catch(() => {});
}

function sum(name) { return (state.computations ?? []).reduce((total, each) => total + (each[name] ?? 0), 0); }

function showCounts() {
  const ended = state.now?.ended ?? sum("ended"), failed = state.now?.failed ?? sum("failed"), running = state.now?.running ?? sum("running"), waiting = (state.now?.waiting ?? sum("waiting")) + (state.now?.awaited ?? 0);
  setText(byId("n-done"), count(ended - failed));
  setText(byId("n-running"), count(running));
  setText(byId("n-waiting"), count(waiting));
  setText(byId("n-failed"), count(failed));
  setText(byId("n-cpus"), state.nodes?.length ? cpusOf(state.nodes) : "–");
  byId("n-failed").parentElement.hidden = lacks("failed");
  for (const name of ["n-done", "n-rate", "n-left"]) byId(name).parentElement.hidden = lacks("ended");
  byId("progress").hidden = byId("chart-card").hidden = lacks("ended");
  byId("n-failed").parentElement.toggleAttribute("data-some", failed > 0);
  const rate = state.now?.rate ?? 0;
  setText(byId("n-rate"), rate >= 100 ? count(Math.round(rate)) : rate.toFixed(rate < 10 ? 2 : 1));
  setText(byId("n-left"), running + waiting ? duration(state.now?.left) : "–");
  const made = ended + running + waiting;
  byId("progress").max = made || 1;
  byId("progress").value = ended;
  if (state.now) chart.add(state.now.time, ended);
}

// Nodes that are drained still run jobs, and do not count.
function cpusOf(nodes) {
  const ready = nodes.filter((each) => each.state === "ready"), add = (name) => ready.reduce((total, each) => total + each[name], 0);
  return `${count(Math.min(add("busy"), add("cpus")))} of ${count(add("cpus"))}`;
}

function showOverview() {
  if (!lacks("ended")) chart.draw();
  const problems = byId("problems");
  problems.hidden = !state.problems?.length;
  if (problems.dataset.sign !== String(state.problems)) {
    problems.dataset.sign = String(state.problems);
    problems.querySelector("ul").replaceChildren(...(state.problems ?? []).map((each) => element("li", {}, each)));
  }
  const found = state.computations ?? [];
  byId("computations-empty").hidden = found.length > 0;
  tables.computations.show(computationColumns(), found, (each) => each.id);
  byId("clients-card").hidden = !state.clients?.length;
  if (state.clients) tables.clients.show(clientColumns(), state.clients, (each) => each.id);
  byId("schedulers-card").hidden = !state.schedulers?.length;
  if (state.schedulers) tables.schedulers.show(SCHEDULERS, state.schedulers, (each) => each.id);
  showFailures();
}

const SCHEDULERS = [
  { title: "Scheduler", cell: (each) => each.id },
  { title: "State", cell: (each) => each.state },
  { title: "Since", fixed: true, cell: (each) => since(each.since) },
  { title: "Nodes", num: true, cell: (each) => count(each.nodes) },
  { title: "CPUs busy", num: true, cell: (each) => `${count(each.busy)} of ${count(each.cpus)}` },
  { title: "Clients", num: true, cell: (each) => count(each.clients) },
  { title: "Waiting", num: true, cell: (each) => count(each.waiting) },
];

// Of a page that does not count jobs that have ended.
const UNCOUNTED = [
  { title: "Computation", cell: (each) => each.name },
  { title: "Client", cell: (each) => each.client },
  { title: "Where", cell: (each) => each.state },
  { title: "Running", num: true, cell: (each) => count(each.running) },
  { title: "Waiting", num: true, cell: (each) => count(each.waiting) },
];

function computationColumns() {
  if (lacks("ended")) return UNCOUNTED;
  const columns = [
    { title: "Computation", cell: (each) => each.name },
    { title: "State", fixed: true, cell: (each) => each.state },
    { title: "Done", num: true, cell: (each) => count(each.ended - each.failed) },
    { title: "Running", num: true, cell: (each) => count(each.running) },
    { title: "Waiting", num: true, cell: (each) => count(each.waiting) },
    ...(lacks("failed") ? [] : [{ title: "Failed", num: true, cell: (each) => count(each.failed) }]),
    { title: "Progress", cell: (each) => ({ sign: `${each.ended}/${each.made}`, build: () => progressOf(each) }) },
    { title: "Since", fixed: true, cell: (each) => since(each.started) },
  ];
  if (state.computations?.some((each) => each.client)) columns.splice(1, 0, { title: "Client", cell: (each) => each.client });
  if (may("cancel_all")) {
    const isOn = (each) => (each.state === "open" || each.state === "away") && each.ended < each.made;
    columns.push({ title: "Actions", cell: (each) => ({ sign: `${each.state} ${isOn(each)}`, build: () => {
      const made = [];
      if (isOn(each)) made.push(button("Cancel jobs", `Cancel all jobs of ${each.name}`, () =>
        act(`Cancel all jobs of ${each.name} that have not ended?`, "Cancel the jobs", { do: "cancel_all", computation: each.id })));
      if (may("release") && each.state === "away") made.push(button("Release", `Release ${each.name}`, () =>
        act(`Release ${each.name}, whose client is away? Its results are lost.`, "Release it", { do: "release", computation: each.id })));
      return made;
    } }) });
  }
  return columns;
}

function progressOf(each) {
  const share = each.made ? Math.floor(100 * each.ended / each.made) : 0;
  return [element("span", { className: "dim" }, `${share} %`), element("progress", { max: each.made || 1, value: each.ended, ariaLabel: `${each.name}: ${share} %` })];
}

const CLIENTS = [
  { title: "Client", cell: (each) => each.name },
  { title: "Address", cell: (each) => each.address || "away" },
  { title: "Computations", num: true, cell: (each) => count(each.computations) },
  { title: "Running", num: true, cell: (each) => count(each.running) },
  { title: "Waiting", num: true, cell: (each) => count(each.waiting) },
  { title: "Share of the CPUs", num: true, cell: (each) => `${Math.round(100 * each.share)} %` },
  { title: "Weight", num: true, cell: (each) => String(each.weight) },
];

function clientColumns() {
  if (!may("weight")) return CLIENTS;
  return [...CLIENTS, { title: "Actions", cell: (each) => ({ sign: String(each.weight), build: () => button("Weight", `Weight of ${each.name}`, () =>
    act(`The share of ${each.name}, relative to other clients?`, "Set the weight", { do: "weight", client: each.id }, each.weight, "weight")) }) }];
}

async function showFailures() {
  const failed = state.now?.failed ?? sum("failed");
  byId("failures-card").hidden = lacks("jobs");
  if (lacks("jobs")) return;
  byId("failures-empty").hidden = failed > 0;
  if (failed === failedShown) return;
  failedShown = failed;
  try {
    const found = await link.get("api/jobs?kind=failed");
    byId("failures").replaceChildren(...found.jobs.slice(0, 5).map(failure));
  } catch { failedShown = -1; }
}

function failure(job) {
  const name = state.clients ? `${job.id} of ${job.computation} ` : `${job.id} `;
  const head = element("summary", {}, element("strong", {}, name), element("span", { className: "bad" }, job.error || job.status),
    element("span", { className: "dim" }, ` on ${job.node}, ${clock(job.end)}`));
  return element("details", {}, head, ...traces(job));
}

function traces(job) {
  const parts = [["arguments", job.arguments], ["error", job.trace], ["standard output, its end", job.stdout], ["standard error, its end", job.stderr]];
  return parts.filter((each) => each[1]).flatMap(([name, text]) => [element("div", { className: "dim" }, name), element("pre", { tabIndex: 0 }, text)]);
}

// Nodes

function showNodes() {
  const found = state.nodes ?? [], ready = found.filter((each) => each.state === "ready"), word = state.about?.ready;
  setText(byId("nodes-sum"), found.length ? `${count(ready.length)} of ${count(found.length)} nodes ${word ? "take jobs" : "in use"}, ${cpusOf(found)} CPUs busy` : "");
  byId("nodelist-empty").hidden = found.length > 0;
  const columns = [
    { title: "Node", cell: (each) => ({ sign: `${each.name}|${each.address}`, build: () => [each.name, element("br"), element("span", { className: "dim" }, each.address)] }) },
    { title: "State", fixed: true, cell: (each) => each.state === "ready" ? word ?? "in use" : each.state },
    { title: "CPUs busy", cell: (each) => ({ sign: `${each.busy}/${each.cpus}`, build: () => [`${Math.min(each.busy, each.cpus)} of ${each.cpus}`, element("progress", { max: each.cpus || 1, value: each.busy, ariaLabel: `${each.name}: CPUs busy` })] }) },
    { title: "CPU free", num: true, cell: (each) => each.free ? `${each.free[0].toFixed(0)} %` : "–" },
    { title: "Memory free", num: true, cell: (each) => each.free ? amount(each.free[1]) : "–" },
    { title: "Disk free", num: true, cell: (each) => each.free ? amount(each.free[2]) : "–" },
    ...(lacks("ended") ? [] : [{ title: "Jobs done", num: true, cell: (each) => count(each.done) }, { title: "Job time", num: true, cell: (each) => duration(each.seconds) }]),
    { title: "Runs", cell: (each) => each.runs.join(", ") },
  ];
  if (found.some((each) => each.since)) columns.splice(2, 0, { title: "Since", fixed: true, cell: (each) => since(each.since) });
  if (found.some((each) => each.versions)) columns.splice(2, 0, { title: "Versions", cell: (each) => each.versions ?? "" });
  if (found.some((each) => each.hours || each.clients_left)) columns.push({ title: "Limits", cell: limitsOf });
  if (["cpus", "close", "allocate", "drain", "resume", "hours", "serve"].some(may)) {
    columns.push({ title: "Actions", cell: (each) => ({ sign: `${each.state}|${each.cpus}|${each.hours}|${each.clients_left}`, build: () => nodeButtons(each) }) });
  }
  tables.nodelist.show(columns, found, (each) => each.id);
}

function limitsOf(each) {
  const [start, stop, end] = (each.hours ?? "").split(" ");
  const hours = start ? `${start} to ${stop}${end && end !== stop ? `, jobs end at ${end}` : ""}` : "";
  const clients = each.clients_left ? `ends after ${each.clients_left} more client${each.clients_left === "1" ? "" : "s"}` : "";
  return [hours, clients].filter(Boolean).join("; ");
}

function nodeButtons(each) {
  const made = [];
  const add = (word, text, question, value = null, unit = "cpus") => {
    if (may(word)) made.push(button(text, `${text}: ${each.name}`, () => act(question, text, { do: word, node: each.id }, value, unit)));
  };
  if (each.state === "ready") {
    add("cpus", "CPUs", `How many CPUs of ${each.name} may jobs use?`, each.cpus);
    add("drain", "Drain", `Give ${each.name} no more jobs?`);
    add("close", "Close", `Release ${each.name} when its jobs have ended?`);
  } else if (each.state !== "unreachable") {
    add("allocate", "Use again", `Use ${each.name} again?`);
    add("resume", "Resume", `Give ${each.name} jobs again?`);
  }
  if (each.state !== "unreachable") {
    add("hours", "Hours", `When does ${each.name} take jobs? START STOP as HH:MM each, or START STOP END: at END running jobs are ended. Empty: always.`, each.hours ?? "", "hours");
    add("serve", "Clients", `After how many more clients, those of now included, does ${each.name} end? 0: never.`, Number(each.clients_left || 0), "clients");
  }
  return made;
}

// Jobs

async function askForJobs() {
  const mine = jobsAsked += 1, sought = byId("search").value.trim(), from = jobs.from[jobs.from.length - 1];
  let found;
  try {
    found = await link.get(`api/jobs?kind=${jobs.kind}&from=${from}&q=${encodeURIComponent(sought)}`);
  } catch (error) {
    if (mine === jobsAsked && !(error instanceof TypeError)) setText(byId("joblist-empty"), error.message);
    return;
  }
  if (mine !== jobsAsked) return;
  jobs.next = found.next;
  const empty = byId("joblist-empty");
  empty.hidden = found.jobs.length > 0;
  setText(empty, sought ? (found.next ? "None among these: the next page may have some." : "No job fits.") : `No job is ${jobs.kind === "failed" || jobs.kind === "ended" ? `known that has ${jobs.kind}` : jobs.kind}.`);
  tables.joblist.show(jobColumns(), found.jobs, (each) => `${each.computation_id ?? each.computation} ${each.client ?? ""} ${each.number}`);
  byId("previous").disabled = jobs.from.length < 2;
  byId("next").disabled = found.next === null;
  setText(byId("page"), `Page ${jobs.from.length}`);
}

function jobColumns() {
  const shown = state.about?.arguments && jobs.kind !== "ended";
  const columns = [
    { title: "Job", cell: (each) => each.id },
    { title: "Computation", cell: (each) => each.computation },
  ];
  if (state.clients) columns.push({ title: "Client", cell: (each) => each.client ?? "" });
  if (shown && jobs.kind !== "failed") columns.push({ title: "Arguments", cell: (each) => each.arguments ?? "" });
  if (jobs.kind === "waiting") {
    columns.push({ title: "Status", cell: (each) => each.node ? `${each.status} to ${each.node}` : each.status });
    columns.push({ title: "Priority", num: true, cell: (each) => String(each.priority ?? "") });
    if (!state.clients) columns.push({ title: "Submitted", num: true, cell: (each) => since(each.submitted) });
  } else if (jobs.kind === "running") {
    columns.push({ title: "Status", cell: (each) => each.status }, { title: "Node", cell: (each) => each.node }, { title: "Since", num: true, cell: (each) => since(each.start) },
      { title: "For", num: true, cell: (each) => each.start && state.now ? duration(Math.max(0, Math.round(state.now.time - each.start))) : "–" });
  } else {
    columns.push({ title: "Status", cell: (each) => ({ sign: each.status, build: () => element("span", { className: each.status === "Finished" ? "good" : "bad" }, each.status) }) },
      { title: "Node", cell: (each) => each.node }, { title: "Ended", num: true, cell: (each) => clock(each.end) },
      { title: "Took", num: true, cell: (each) => each.start && each.end ? duration(each.end - each.start) : "–" });
  }
  if (jobs.kind === "failed") {
    columns.push({ title: "Error", wide: true, cell: (each) => ({ sign: `${each.number}${each.arguments ?? ""}`, build: () => element("details", {}, element("summary", { className: "bad" }, each.error || each.status), ...traces(each)) }) });
  }
  if (may("cancel") && (jobs.kind === "running" || jobs.kind === "waiting")) {
    columns.push({ title: "Actions", cell: (each) => ({ sign: `${each.status} ${each.priority}`, build: () => each.status === "Cancelled" ? [] : jobButtons(each) }) });
  }
  return columns;
}

function jobButtons(each) {
  const job = { job: each.number, ...(each.computation_id ? { computation: each.computation_id } : {}) };
  const made = [button("Cancel", `Cancel job ${each.id}`, () => act(`Cancel job ${each.id}?`, "Cancel the job", { do: "cancel", ...job }))];
  if (may("priority") && jobs.kind === "waiting" && each.status !== "Sent") {
    made.push(button("Priority", `Priority of job ${each.id}`, () =>
      act(`Which priority has job ${each.id}? Jobs with a higher one are first.`, "Set the priority", { do: "priority", ...job }, each.priority, "priority")));
  }
  return made;
}

function firstPage() { jobs.from = [0]; askForJobs(); }

for (const radio of document.querySelectorAll("input[name=kind]")) {
  radio.addEventListener("change", () => { jobs.kind = radio.value; firstPage(); });
}
let searchTimer;
byId("search").addEventListener("input", () => { clearTimeout(searchTimer); searchTimer = setTimeout(firstPage, 250); });
byId("next").addEventListener("click", () => { if (jobs.next !== null) { jobs.from.push(jobs.next); askForJobs(); } });
byId("previous").addEventListener("click", () => { if (jobs.from.length > 1) { jobs.from.pop(); askForJobs(); } });

// Views

function route(move = false) {
  const wanted = location.hash.slice(1);
  const before = view;
  view = VIEWS.includes(wanted) ? wanted : before || "overview";
  for (const each of VIEWS) byId(each).hidden = each !== view;
  for (const each of document.querySelectorAll("nav a")) {
    if (each.hash === `#${view}`) each.setAttribute("aria-current", "page"); else each.removeAttribute("aria-current");
  }
  if (move && view !== before) byId(view).focus({ preventScroll: true });
  if (state.about) onState({ about: state.about });
}

window.addEventListener("hashchange", () => route(true));
window.addEventListener("resize", () => { if (view === "overview") chart.draw(); if (view === "timeline") timeline.draw(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { chart.draw(); timeline.draw(); });

link.start().then(showApp, (error) => {
  if (error instanceof TypeError) { showApp(); onLink("lost"); link.again(); } else showLogin(error instanceof LoggedOut ? "" : error.message);
});
