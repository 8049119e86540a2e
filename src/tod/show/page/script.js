"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const tip = document.getElementById("tip");

  // One cursor for all curves of an axis: pointing at a step in one reads it in all.
  const charts = [...document.querySelectorAll("figure[data-plot]")].map((figure) => {
    const outputs = [...figure.querySelectorAll("output[data-series]")];
    return {
      svg: figure.querySelector("svg"),
      cursor: figure.querySelector(".cursor"),
      at: figure.querySelector("[data-at]"),
      where: figure.querySelector("[data-at]").textContent,
      outputs,
      resting: outputs.map((output) => output.textContent),
      plot: data.plots[figure.dataset.plot],
    };
  });

  const nearest = (values, wanted) => {
    let best = 0;
    values.forEach((value, i) => {
      if (Math.abs(value - wanted) < Math.abs(values[best] - wanted)) best = i;
    });
    return best;
  };

  const short = (value) => (Number.isInteger(value) ? value : +value.toPrecision(3));

  const read = (axis, step) => {
    for (const chart of charts) {
      if (chart.plot.axis !== axis) continue;
      const i = nearest(chart.plot.steps, step);
      const x = chart.plot.pixels[i];
      chart.cursor.setAttribute("x1", x);
      chart.cursor.setAttribute("x2", x);
      chart.cursor.classList.add("on");
      chart.at.textContent = axis + " " + short(chart.plot.steps[i]);
      chart.outputs.forEach((output, s) => {
        output.textContent = chart.plot.values[s][i] || "–";
      });
    }
  };

  const rest = () => {
    for (const chart of charts) {
      chart.cursor.classList.remove("on");
      chart.at.textContent = chart.where;
      chart.outputs.forEach((output, s) => { output.textContent = chart.resting[s]; });
    }
  };

  for (const chart of charts) {
    chart.svg.addEventListener("pointermove", (event) => {
      const box = chart.svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * chart.plot.width;
      read(chart.plot.axis, chart.plot.steps[nearest(chart.plot.pixels, x)]);
    });
    chart.svg.addEventListener("pointerleave", rest);
  }

  // Contexts of the phase diagram: pointer, or focus and arrow keys.
  const phase = document.querySelector("[data-phase]");
  if (!phase) return;
  const dots = [...phase.querySelectorAll("circle[data-point]")];
  let chosen = -1;

  const element = (name, text, kind) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };

  const show = (dot) => {
    const point = data.points[dot.dataset.run][dot.dataset.point];
    const facts = element("dl");
    for (const [name, value] of point.facts) facts.append(element("dt", name), element("dd", value));
    tip.replaceChildren(element("p", point.head, "muted"), facts, element("pre", point.prompt));
    tip.hidden = false;
    const box = dot.getBoundingClientRect();
    const left = Math.min(box.right + 12, document.documentElement.clientWidth - tip.offsetWidth - 12);
    const below = box.bottom + 12 + tip.offsetHeight < window.innerHeight;
    tip.style.left = window.scrollX + Math.max(12, left) + "px";
    tip.style.top = window.scrollY + (below ? box.bottom + 12 : box.top - tip.offsetHeight - 12) + "px";
    dots.forEach((other) => other.classList.toggle("on", other === dot));
  };

  const hide = () => {
    tip.hidden = true;
    dots.forEach((dot) => dot.classList.remove("on"));
  };

  phase.addEventListener("pointerover", (event) => {
    if (event.target.matches("circle[data-point]")) show(event.target);
  });
  phase.addEventListener("pointerout", hide);
  phase.addEventListener("blur", hide);
  phase.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const end = { Home: 0, End: dots.length - 1 }[event.key];
    if (event.key === "Escape") hide();
    if ((!move && end === undefined) || !dots.length) return;
    event.preventDefault();
    chosen = end ?? (Math.max(chosen, move > 0 ? -1 : 0) + move + dots.length) % dots.length;
    show(dots[chosen]);
  });
})();
