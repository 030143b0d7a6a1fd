// What every page does: follow the events, draw anew what has changed, say when the connection is lost, keep the times right.
// It runs before htmx, so that it hears of the first connection.

(() => {
  const DRAWN_FOR = ["deploy.status", "step", "gate", "look", "app", "reset"];
  const EVERY_MS = 30_000;
  const LONG_AGO_MS = 12 * 3_600_000;

  const events = document.getElementById("events");
  const refresh = document.getElementById("refresh");
  const connection = document.getElementById("connection");
  const said = document.getElementById("said");
  let lostAt = null;

  function drawAnew() {
    htmx.trigger(refresh, "changed");
  }

  function dataOf(event) {
    try {
      return JSON.parse(event.detail.data);
    } catch {
      return {};
    }
  }

  for (const name of DRAWN_FOR) {
    events.addEventListener(name, drawAnew);
  }

  // One sentence for each end, for a screen reader; an element that is drawn anew would be read as a whole.
  events.addEventListener("deploy.status", (event) => {
    const { app, number, status } = dataOf(event);
    if (app && status) said.textContent = `${app}/${number}: ${status.replaceAll("_", " ")}`;
  });

  function lost() {
    if (lostAt !== null || document.hidden) return;
    lostAt = new Date();
    events.dataset.state = "lost";
    connection.textContent = `No connection to deployd since ${lostAt.toISOString().slice(11, 19)} UTC. Trying again; what stands here may be old.`;
  }

  function found() {
    if (lostAt !== null) drawAnew();
    lostAt = null;
    events.dataset.state = "open";
    connection.textContent = "";
  }

  function loggedOut(status) {
    if (status === 401) location.reload();
  }

  events.addEventListener("htmx:sse:after:connection", found);
  events.addEventListener("htmx:sse:error", (event) => {
    loggedOut(event.detail.status);
    lost();
  });
  // htmx does not repeat the first request of a stream, such as one that was refused since too many are open.
  events.addEventListener("htmx:sse:close", () => setTimeout(() => htmx.trigger(events, "connect"), 5000));
  for (const element of [events, refresh]) {
    element.addEventListener("htmx:after:request", (event) => {
      const status = event.detail.ctx?.response?.status;
      loggedOut(status);
      if (element === events && status >= 400) {
        lost();
        setTimeout(() => htmx.trigger(events, "connect"), 5000);
      }
    });
    element.addEventListener("htmx:error", () => {
      lost();
      if (element === events) setTimeout(() => htmx.trigger(events, "connect"), 5000);
    });
  }

  // As words.since says it.
  function since(moment, now) {
    const passed = now - moment;
    if (passed >= LONG_AGO_MS) return null;
    const minutes = Math.floor(passed / 60_000);
    if (minutes < 1) return "just now";
    return minutes < 60 ? `${minutes} min ago` : `${Math.floor(minutes / 60)} h ago`;
  }

  function tellTimes() {
    const now = new Date();
    for (const element of document.querySelectorAll("time[datetime]")) {
      const text = since(new Date(element.dateTime), now);
      if (text !== null && text !== element.textContent) element.textContent = text;
    }
  }

  setInterval(() => {
    if (document.hidden) return;
    tellTimes();
    drawAnew(); // what no event tells: how a release is, and what the gateway counts
  }, EVERY_MS);

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) drawAnew();
  });

  // Browsers that do not know `command="show-modal"` yet.
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button[commandfor]");
    if (!button || "commandForElement" in HTMLButtonElement.prototype) return;
    const dialog = document.getElementById(button.getAttribute("commandfor"));
    if (button.getAttribute("command") === "show-modal") dialog.showModal();
    else dialog.close();
  });

  // One dialog for many rows: the button says what it is about.
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button[data-asks]");
    if (!button) return;
    const dialog = document.getElementById(button.dataset.asks);
    dialog.querySelector("form").action = button.dataset.action;
    dialog.showModal();
  });
})();
