// The connection to the server: the session, live updates, and polling where they do not get through.

// The page key, by origin: unlike the cookie, no other port of this host gets it.
const KEY = "gdispy-page-key";
const POLL = 2000, SILENCE = 15000, RETRY = 2000;

export class LoggedOut extends Error {}

export class Link {
  // `onState` gets the sections that have changed; `onLink` gets "live", "poll", "lost", "end" or "login".
  constructor(onState, onLink) {
    this.onState = onState;
    this.onLink = onLink;
    this.streamFailures = 0;
    this.heard = 0;
  }

  async start() {
    const token = new URLSearchParams(location.hash.slice(1)).get("token");
    if (token) {
      history.replaceState(null, "", location.pathname + location.search);
      await this.logIn(token);
    } else {
      await this.get("api/session");
    }
    this.listen();
  }

  async logIn(token) {
    const headers = { "Content-Type": "application/json" };
    const answer = await this.read("api/login", { method: "POST", headers, body: JSON.stringify({ token }) });
    localStorage.setItem(KEY, answer.page_key);
  }

  async read(path, options = {}) {
    const answer = await fetch(path, { cache: "no-store", ...options });
    const found = await answer.json().catch(() => ({}));
    if (answer.status === 401) throw new LoggedOut(found.error);
    if (!answer.ok) throw new Error(found.error || `the server answered ${answer.status}`);
    return found;
  }

  // From the store each time: another tab may have logged in again.
  key() { return localStorage.getItem(KEY) || ""; }

  get(path) { return this.read(path, { headers: { "X-Gdispy-Page": this.key() } }); }

  act(order) {
    const headers = { "Content-Type": "application/json", "X-Gdispy-Page": this.key() };
    return this.read("api/act", { method: "POST", headers, body: JSON.stringify(order) });
  }

  listen() {
    clearTimeout(this.timer);
    if (this.stream) this.stream.close();
    const stream = this.stream = new EventSource(`api/events?key=${encodeURIComponent(this.key())}`);
    let lived = false;
    const hear = () => {
      lived = true;
      this.heard = Date.now();
      this.streamFailures = 0;
      this.onLink("live");
    };
    stream.addEventListener("state", (event) => { hear(); this.onState(JSON.parse(event.data)); });
    stream.addEventListener("alive", hear);
    stream.addEventListener("end", () => { stream.close(); this.onLink("end"); this.again(); });
    stream.addEventListener("error", () => {
      stream.close();
      if (!lived) this.streamFailures += 1;
      this.poll();
    });
    const watch = () => {
      if (this.stream !== stream || stream.readyState === EventSource.CLOSED) return;
      if (Date.now() - this.heard > SILENCE) { stream.close(); this.streamFailures += 1; this.poll(); return; }
      setTimeout(watch, 1000);
    };
    this.heard = Date.now();
    setTimeout(watch, 1000);
  }

  // One question; then the stream again, or, where it has failed thrice, the next question.
  async poll() {
    try {
      const state = await this.get("api/state");
      this.onLink("poll");
      this.onState(state);
      this.timer = setTimeout(() => this.streamFailures < 3 ? this.listen() : this.poll(), this.streamFailures < 3 ? 0 : POLL);
    } catch (error) {
      if (error instanceof LoggedOut) this.onLink("login", error.message);
      else { this.onLink("lost"); this.again(); }
    }
  }

  again() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.poll(), RETRY);
  }
}
