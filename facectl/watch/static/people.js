// Who is here, and who came: visits by person.

import { byId, clock, el, once, plural, reconcile, setText, timeOfDay } from "./format.js";

const UNKNOWN = "Unknown";

export class PeopleView {
  /** `page` has visits, sources and groups by key, and goes to a visit or corrects it. */
  constructor(page) {
    this.page = page;
    this.announced = new Set();
    this.draw = once(() => this.render());
  }

  render() {
    const visits = [...this.page.visits.values()].filter((visit) => this.isToday(visit));
    const here = visits.filter((visit) => visit.open && this.isRunning(visit));
    here.sort((a, b) => this.order(a) - this.order(b));
    this.renderHere(here);
    this.renderCame(visits);
    this.announce(here);
  }

  isRunning(visit) {
    return ["running", "away"].includes(this.page.sources.get(visit.source)?.source.status);
  }

  isToday(visit) {
    return visit.began === null || visit.seen * 1000 >= new Date().setHours(0, 0, 0, 0);
  }

  order(visit) {
    return visit.began ?? visit.first;
  }

  /** The name of a visit's person: strangers have that of their group. */
  nameOf(visit) {
    return visit.person ?? this.page.groupOf(visit.id)?.label ?? UNKNOWN;
  }

  time(visit, which) {
    const [seconds, epoch] = which === "first" ? [visit.first, visit.began] : [visit.last, visit.seen];
    return epoch === null ? clock(seconds) : timeOfDay(epoch);
  }

  where(visit) {
    const several = this.page.sources.size > 1;
    return several ? `, ${this.page.sources.get(visit.source)?.source.name ?? ""}` : "";
  }

  crop(visit) {
    return visit.crop ? `/crop/${encodeURIComponent(visit.id)}?${visit.crop}` : "";
  }

  /** One card for each person, also where two cameras show the same. */
  renderHere(visits) {
    const people = this.byPerson(visits);
    byId("here-empty").hidden = people.length > 0;
    setText(byId("here-count"), people.length ? String(people.length) : "");
    reconcile(
      byId("here"),
      people,
      (person) => person.key,
      () => this.makeCard(),
      (card, person) => this.updateCard(card, person.visits),
    );
  }

  updateCard(card, visits) {
    const newest = visits[visits.length - 1];
    const ends = visits.map((visit) => this.page.sources.get(visit.source).lastSecond() - visit.last);
    const seen = Math.min(...ends) > 1.5 ? `, last seen ${this.time(newest, "last")}` : "";
    const where = [...new Set(visits.map((visit) => this.where(visit)))].join("");
    const [image, text, button] = card.children;
    card.classList.toggle("unknown", newest.person === null);
    card.dataset.visit = newest.id;
    this.setImage(image, this.crop(visits[0]));
    setText(text.firstElementChild, this.nameOf(newest));
    setText(text.lastElementChild, `since ${this.time(visits[0], "first")}${seen}${where}`);
    button.setAttribute("aria-label", `Correct ${this.nameOf(newest)}`);
  }

  /** Visits by person, stranger or, of somebody unknown, alone; each in the order of time. */
  byPerson(visits) {
    const people = new Map();
    for (const visit of visits) {
      const key = visit.person ?? this.page.groupOf(visit.id)?.id ?? visit.id;
      people.set(key, [...(people.get(key) ?? []), visit]);
    }
    return [...people.entries()].map(([key, theirs]) => ({
      key,
      visits: theirs.sort((a, b) => this.order(a) - this.order(b)),
    }));
  }

  makeCard() {
    const card = el(
      "li",
      { className: "card" },
      el("img", { alt: "", width: 56, height: 56 }),
      el("div", {}, el("b"), el("span")),
      this.correctButton(() => card.dataset.visit),
    );
    return card;
  }

  correctButton(visit) {
    const button = el("button", { type: "button", className: "small" }, "Correct");
    button.addEventListener("click", () => this.page.correct(visit()));
    return button;
  }

  setImage(image, source) {
    image.hidden = !source;
    if (source && image.getAttribute("src") !== source) image.src = source;
  }

  renderCame(visits) {
    const rows = this.byPerson(visits).map((row) => ({
      ...row,
      last: Math.max(...row.visits.map((visit) => visit.seen ?? visit.last)),
    }));
    rows.sort((a, b) => b.last - a.last);
    byId("came-empty").hidden = rows.length > 0;
    this.explainBeginning();
    setText(byId("came-count"), rows.length ? String(rows.length) : "");
    reconcile(
      byId("came"),
      rows,
      (row) => row.key,
      () => this.makeRow(),
      (element, row) => this.updateRow(element, row),
    );
  }

  /** Why the list has nobody from before the command was started. */
  explainBeginning() {
    const { since, visits_file: kept } = this.page.run;
    const clocks = [...this.page.visits.values()].some((visit) => visit.began !== null);
    const live = [...this.page.sources.values()].some((view) => view.source.live);
    const note = byId("came-note");
    note.hidden = since === undefined || kept || !(clocks || live);
    if (note.hidden) return;
    setText(
      note,
      `This list begins at ${timeOfDay(since)}, when facectl watch was started: without --visits ` +
        "FILE, visits are kept in memory only.",
    );
  }

  makeRow() {
    const summary = el(
      "summary",
      {},
      el("img", { alt: "", width: 44, height: 44 }),
      el("div", {}, el("b"), el("span")),
    );
    return el("li", {}, el("details", {}, summary, el("ul", { className: "visits" })));
  }

  updateRow(element, { visits }) {
    const details = element.firstElementChild;
    const [summary, list] = details.children;
    const [image, text] = summary.children;
    const best = visits.reduce((a, b) => (b.frames > a.frames ? b : a));
    const newest = visits[visits.length - 1];
    element.classList.toggle("unknown", newest.person === null);
    this.setImage(image, this.crop(best));
    setText(text.firstElementChild, this.nameOf(newest));
    setText(
      text.lastElementChild,
      `${this.time(visits[0], "first")} to ${this.time(newest, "last")}, ${plural(visits.length, "visit")}`,
    );
    reconcile(
      list,
      visits,
      (visit) => visit.id,
      (visit) => this.makeVisit(visit),
      (row, visit) => this.updateVisit(row, visit),
    );
  }

  makeVisit(visit) {
    const go = el("button", { type: "button", className: "link" });
    go.addEventListener("click", () => this.page.goTo(this.page.visits.get(visit.id)));
    return el("li", {}, go, el("span"), this.correctButton(() => visit.id));
  }

  updateVisit(row, visit) {
    const [go, text, correct] = row.children;
    const range = `${this.time(visit, "first")} to ${this.time(visit, "last")}`;
    setText(go, range);
    go.disabled = !this.page.canGoTo(visit);
    go.title = go.disabled ? "" : "Show this time";
    const stated = visit.stated ? ", corrected" : "";
    setText(text, `${plural(visit.frames, "frame")}${stated}${this.where(visit)}`);
    correct.setAttribute("aria-label", `Correct ${this.nameOf(visit)}, ${range}`);
  }

  /** Tell screen readers who came. */
  announce(here) {
    const keyOf = (visit) => `${visit.id} ${this.nameOf(visit)}`;
    const arrived = here.filter((visit) => !this.announced.has(keyOf(visit)));
    this.announced = new Set(here.map(keyOf));
    if (!arrived.length) return;
    const names = arrived.map((visit) => this.nameOf(visit));
    const text = names.map((name) => (name === UNKNOWN ? "somebody unknown" : name)).join(", ");
    byId("arrivals").textContent = `Here now: ${text}`;
  }
}
