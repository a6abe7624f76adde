// The strip of figures.

import { byId, el, duration, money, reconcile, setText } from "./format.js";

export function showFigures(figures) {
  setText(byId("rate"), figures.rate.toFixed(1));
  setText(byId("p50"), duration(figures.p50));
  setText(byId("p99"), duration(figures.p99));
  setText(byId("in-flight"), String(figures.in_flight));
  const dead = figures.dead_letters;
  setText(byId("dead-letters"), dead === null ? "–" : String(dead));
  byId("dead-letters-tile").classList.toggle("bad", dead > 0);
  showStages(figures.stages);
  showMonth(figures.month);
}

function showStages(stages) {
  const total = stages.reduce((sum, stage) => sum + stage.seconds, 0);
  const shown = stages.filter((stage) => stage.seconds > 0.0005);
  reconcile(
    byId("bar"),
    shown,
    (stage) => stage.name,
    () => el("span"),
    (element, stage) => {
      element.style.flexGrow = stage.seconds / total;
    },
  );
  reconcile(
    byId("stages"),
    shown,
    (stage) => stage.name,
    (stage) => el("li", {}, el("span", { className: "swatch" }), el("span", {}, stage.name), el("b")),
    (element, stage) => setText(element.lastElementChild, duration(stage.seconds)),
  );
}

function showMonth(month) {
  if (month === null) return;
  setText(byId("month"), money(month.month, month.currency));
  setText(
    byId("month-note"),
    `A month is ${month.rate.toFixed(1)} frames/s, day and night for 30 days, with ${month.basis} and ` +
      `the prices of ${month.region} of ${month.prices}; ${month.excluded}. ` +
      `1,000 frames: ${(100 * month.thousand).toFixed(1)} cents.`,
  );
}
