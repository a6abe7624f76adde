// Receives the values of the page and passes each to the part that shows it.

import { byId, el, reconcile, setText, timeOfDay } from "./format.js";
import { Correction, undo } from "./actions.js";
import { showFigures } from "./figures.js";
import { PeopleView } from "./people.js";
import { SourceView } from "./pictures.js";
import { StrangersView } from "./strangers.js";

const page = {
  visits: new Map(),
  sources: new Map(),
  run: {},
  cloud: { failure: null },
  connected: null,
  groupOf: (visit) => strangers.groupOf(visit),
  correct: (visit) => correction.open(visit),
  canGoTo(visit) {
    const source = page.sources.get(visit.source)?.source;
    return source !== undefined && source.duration !== null && source.run === visit.run;
  },
  goTo(visit) {
    const view = page.sources.get(visit.source);
    if (!page.canGoTo(visit)) return;
    view.goTo(visit.first);
    view.element.scrollIntoView({ block: "nearest" });
  },
};
const people = new PeopleView(page);
const strangers = new StrangersView(page);
const correction = new Correction(page);

const receivers = {
  run(value) {
    page.run = value;
    const place = value.target === "local" ? "the local cloud" : "AWS";
    setText(byId("deployment"), `${value.deployment} on ${place}`);
    people.draw();
    showNotices();
  },
  cloud(value) {
    page.cloud = value;
    for (const view of page.sources.values()) view.setCloud(value.failure !== null);
    showNotices();
  },
  figures(value) {
    showFigures(value);
    value.rates.forEach((rate, number) => page.sources.get(number)?.setRate(rate));
  },
  strangers(value) {
    strangers.update(value);
    people.draw();
  },
  source(value, number) {
    sourceView(number).update(value);
    people.draw();
    document.body.dataset.sources = page.sources.size;
  },
  frame(value, number) {
    sourceView(number).frame(value);
  },
  visit(value, id) {
    if (value === null) page.visits.delete(id);
    else page.visits.set(id, value);
    people.draw();
    const view = value && page.sources.get(value.source);
    if (view) view.drawTimeline();
  },
};

function sourceView(text) {
  const number = Number(text);
  if (!page.sources.has(number)) {
    const view = new SourceView(number, page.visits);
    view.setCloud(page.cloud.failure !== null);
    page.sources.set(number, view);
    byId("sources").append(view.element);
  }
  return page.sources.get(number);
}

function receive(values) {
  for (const [key, value] of Object.entries(values)) {
    const slash = key.indexOf("/");
    const kind = slash < 0 ? key : key.slice(0, slash);
    receivers[kind]?.(value, key.slice(slash + 1));
  }
}

function showNotices() {
  const notices = [];
  if (page.run.synthetic) {
    notices.push({
      key: "synthetic",
      kind: "warn",
      title: "Synthetic weights.",
      text: "The model is untrained, so its names mean nothing.",
    });
  }
  if (page.cloud.failure !== null) {
    notices.push({
      key: "cloud",
      kind: "bad",
      title: "The cloud does not answer.",
      text: `Since ${timeOfDay(page.cloud.since)}; frames wait and are sent again: ${page.cloud.failure}.`,
    });
  }
  if (page.connected === false) {
    notices.push({
      key: "connection",
      kind: "bad",
      title: "facectl watch does not answer.",
      text: "It has ended, or this computer can't reach it. The page tries again.",
    });
  }
  reconcile(
    byId("notices"),
    notices,
    (notice) => notice.key,
    (notice) => el("p", { className: `notice ${notice.kind}` }, el("b"), " ", el("span")),
    (element, notice) => {
      setText(element.firstElementChild, notice.title);
      setText(element.lastElementChild, notice.text);
    },
  );
}

function connection(connected) {
  page.connected = connected;
  const badge = byId("connection");
  setText(badge, connected ? "Connected" : "No connection");
  badge.dataset.kind = connected ? "good" : "bad";
  showNotices();
}

function connect() {
  const events = new EventSource("/events");
  events.addEventListener("open", () => {
    // What was there before may have ended meanwhile.
    page.visits.clear();
    connection(true);
  });
  events.addEventListener("message", (event) => receive(JSON.parse(event.data)));
  events.addEventListener("error", () => {
    connection(false);
    // The browser does not try again after an answer such as 401.
    if (events.readyState === EventSource.CLOSED) setTimeout(connect, 2000);
  });
}

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, dialog *");
  const changed = event.ctrlKey || event.metaKey || event.altKey;
  if (event.key.toLowerCase() === "u" && !typing && !changed && event.target.closest("#strangers")) {
    event.preventDefault();
    undo();
  }
});

connect();
