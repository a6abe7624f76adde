// One source: its newest answered frame with boxes and names, and the way back through a file.

import { clock, el, once, setText } from "./format.js";

const WORDS = {
  opening: "Opening",
  running: "Sending",
  away: "Away",
  ended: "Ended",
  stopped: "Stopped",
};

export class SourceView {
  constructor(number, visits) {
    this.number = number;
    this.visits = visits;
    this.source = {};
    this.newest = null;
    this.shown = null;
    // Seconds of the file that the user looks at; null for the newest frame.
    this.at = null;
    this.loading = false;
    this.cloudGone = false;
    this.canvas = el("canvas", { width: 640, height: 360 });
    this.canvas.setAttribute("role", "img");
    this.boxes = el("div", { className: "boxes" });
    this.boxes.setAttribute("aria-hidden", "true");
    this.empty = el("p", { className: "empty" }, "Waiting for the first answer");
    this.picture = el("div", { className: "picture" }, this.canvas, this.boxes, this.empty);
    this.name = el("span", { className: "name" });
    this.badge = el("span", { className: "badge" });
    this.rate = el("span", { className: "rate" });
    this.sentence = el("span", { className: "sentence" });
    this.timeline = this.makeTimeline();
    this.element = el(
      "figure",
      { className: "source" },
      this.picture,
      el("figcaption", {}, this.name, this.badge, this.rate, this.sentence),
      this.timeline,
    );
    this.drawTimeline = once(() => this.renderTimeline());
  }

  makeTimeline() {
    this.lanes = el("div", { className: "lanes" });
    this.lanes.setAttribute("aria-hidden", "true");
    this.slider = el("input", { type: "range", min: 0, step: 0.1, value: 0 });
    this.time = el("output", {}, "0:00");
    this.newestButton = el("button", { type: "button", className: "small" }, "Newest");
    this.slider.addEventListener("input", () => this.goTo(Number(this.slider.value)));
    this.newestButton.addEventListener("click", () => this.goToNewest());
    return el(
      "div",
      { className: "timeline", hidden: true },
      el("div", { className: "track" }, this.lanes, this.slider),
      this.time,
      this.newestButton,
    );
  }

  /** What the source is and does. */
  update(source) {
    const began = this.source.status !== "running" && source.status === "running";
    if (began) this.newest = null;
    this.source = source;
    setText(this.name, source.name);
    this.slider.setAttribute("aria-label", `Time in ${source.name}`);
    this.slider.setAttribute("aria-valuetext", clock(0));
    this.timeline.hidden = source.duration === null;
    if (source.duration !== null) this.slider.max = source.duration.toFixed(1);
    setText(this.sentence, source.sentence);
    this.updateBadge();
    this.drawTimeline();
  }

  setCloud(gone) {
    this.cloudGone = gone;
    this.updateBadge();
  }

  updateBadge() {
    const waits = this.cloudGone && this.source.status === "running";
    const live = this.source.status === "running" && this.source.live;
    setText(this.badge, waits ? "Waits" : live ? "Live" : (WORDS[this.source.status] ?? ""));
    const kind = { running: "good", away: "warn", stopped: "warn" }[this.source.status] ?? "quiet";
    this.badge.dataset.kind = waits ? "warn" : kind;
    this.picture.classList.toggle("stale", waits || this.source.status === "away");
  }

  setRate(rate) {
    setText(this.rate, this.source.status === "running" ? `${rate.toFixed(1)} frames/s` : "");
  }

  /** The newest answered frame. */
  frame(frame) {
    this.newest = frame;
    if (this.at === null) this.load();
  }

  /** The second of the newest answered frame. */
  lastSecond() {
    return this.newest?.at ?? 0;
  }

  goToNewest() {
    this.at = null;
    this.load();
    this.drawTimeline();
  }

  /** Show the frame at a second of the file. */
  goTo(seconds) {
    this.at = seconds;
    this.wanted = seconds;
    this.load();
    this.drawTimeline();
  }

  /** Load the wanted picture, one at a time: those that come while one loads are passed over. */
  async load() {
    if (this.loading) return;
    this.loading = true;
    try {
      let done = null;
      while (this.wantedKey() !== done) {
        done = this.wantedKey();
        await this.loadOne();
      }
    } finally {
      this.loading = false;
    }
  }

  wantedKey() {
    return this.at === null ? `newest ${this.newest?.index} ${this.newest?.at}` : `at ${this.at}`;
  }

  async loadOne() {
    let frame = this.newest;
    if (this.at !== null) {
      const answer = await fetch(`/frame/${this.number}?at=${this.at}`);
      frame = answer.ok ? await answer.json() : null;
    }
    if (frame === null) return;
    const image = new Image();
    image.src = `/picture/${this.number}/${frame.index}?at=${frame.at}`;
    try {
      await image.decode();
    } catch {
      // It is no longer kept: the next one is.
      return;
    }
    this.draw(frame, image);
  }

  draw(frame, image) {
    const [width, height] = [image.naturalWidth, image.naturalHeight];
    if (this.canvas.width !== width) this.canvas.width = width;
    if (this.canvas.height !== height) this.canvas.height = height;
    this.canvas.getContext("2d").drawImage(image, 0, 0);
    this.empty.hidden = true;
    this.shown = frame;
    this.drawBoxes(frame, frame.size ?? [width, height]);
    const names = frame.faces.map((face) => face.name ?? "Unknown");
    const who = frame.error ? "this frame failed" : names.join(", ") || "nobody";
    this.canvas.setAttribute("aria-label", `${this.source.name}: ${who}`);
    this.element.dataset.frame = frame.index;
    this.drawTimeline();
  }

  drawBoxes(frame, [width, height]) {
    this.boxes.replaceChildren(
      ...frame.faces.map(({ box: [x0, y0, x1, y1], name }) => {
        const box = el("div", { className: name === null ? "box unknown" : "box" });
        box.style.left = `${(100 * x0) / width}%`;
        box.style.top = `${(100 * y0) / height}%`;
        box.style.width = `${(100 * (x1 - x0)) / width}%`;
        box.style.height = `${(100 * (y1 - y0)) / height}%`;
        // Below the box where there is no room above it.
        const label = el("span", { className: y0 / height < 0.12 ? "under" : "" });
        label.textContent = name ?? "Unknown";
        if ((x0 + x1) / 2 / width > 0.7) label.classList.add("right");
        box.append(label);
        return box;
      }),
    );
  }

  renderTimeline() {
    const { duration } = this.source;
    if (duration === null || duration === undefined) return;
    const at = this.at ?? this.shown?.at ?? 0;
    if (document.activeElement !== this.slider || this.at === null) this.slider.value = at;
    this.slider.setAttribute("aria-valuetext", clock(at));
    setText(this.time, `${clock(at)} / ${clock(duration)}`);
    this.newestButton.hidden = this.at === null;
    const people = new Map();
    for (const visit of this.visits.values()) {
      if (visit.source !== this.number || visit.run !== this.source.run) continue;
      const lane = visit.person ?? visit.id;
      people.set(lane, [...(people.get(lane) ?? []), visit]);
    }
    const lanes = [...people.values()].slice(0, 8).map((visits) => {
      const bars = visits.map((visit) => {
        const bar = el("span", { className: visit.person === null ? "unknown" : "" });
        bar.style.left = `${(100 * visit.first) / duration}%`;
        bar.style.width = `${Math.max(0.8, (100 * (visit.last - visit.first)) / duration)}%`;
        return bar;
      });
      return el("div", { className: "lane", title: visits[0].person ?? "Unknown" }, ...bars);
    });
    this.lanes.replaceChildren(...lanes);
    this.lanes.style.setProperty("--at", `${(100 * at) / duration}%`);
  }
}
