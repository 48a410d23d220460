// Draws the figures of a page with plotly, in the colours of the page. Their tables are there without it.
(() => {
  "use strict";
  const places = [...document.querySelectorAll("[data-drawing]")];
  if (!places.length || !window.Plotly) return;

  const colours = () => {
    const page = getComputedStyle(document.documentElement);
    const of = (name) => page.getPropertyValue(name).trim();
    return { ink: of("--ink"), muted: of("--muted"), line: of("--line"), edge: of("--edge"), raised: of("--raised") };
  };

  // What a drawing says of its figure stays; words, grid and borders are the page's.
  const dressed = (layout) => {
    const now = colours();
    const made = structuredClone(layout);
    made.font = { ...made.font, color: now.ink, family: getComputedStyle(document.body).fontFamily };
    made.hoverlabel = { bgcolor: now.raised, bordercolor: now.edge, font: { color: now.ink } };
    made.modebar = { bgcolor: "rgba(0,0,0,0)", color: now.muted, activecolor: now.ink };
    for (const [name, axis] of Object.entries(made)) {
      if (/^[xy]axis\d*$/.test(name)) Object.assign(axis, { gridcolor: now.line, linecolor: now.edge, tickcolor: now.edge });
    }
    if (matchMedia("(max-width: 40rem)").matches) {
      made.margin = { ...made.margin, l: 50, r: 8 };
      made.font.size = 12;
      // What is written beside lines is said above the figure as well.
      made.annotations = [];
    }
    return made;
  };

  const options = {
    responsive: true,
    displaylogo: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d"],
    toImageButtonOptions: { format: "svg" },
  };
  const drawn = new Map();

  const draw = (place) => {
    const told = JSON.parse(document.getElementById(place.dataset.drawing).textContent);
    place.hidden = false;
    drawn.set(place, told);
    const named = { ...options.toImageButtonOptions, filename: place.closest("figure")?.id || "figure" };
    window.Plotly.newPlot(place, told.data, dressed(told.layout), { ...options, toImageButtonOptions: named }).then(quiet);
  };

  // Numbers of axes read out one after the other tell nothing: who listens has the name of the drawing and its table.
  const quiet = () => {
    for (const sign of document.querySelectorAll(".drawing svg, #js-plotly-tester")) sign.setAttribute("aria-hidden", "true");
    for (const bar of document.querySelectorAll(".drawing .modebar")) {
      // Plotly calls it a toolbar, which is moved in with arrows; it is a group of buttons.
      bar.setAttribute("role", "group");
      bar.setAttribute("aria-label", bar.closest(".drawing").getAttribute("aria-label"));
    }
  };

  // Only what comes near the window is drawn: a page has many figures, and a phone is slow. A place that is hidden is
  // never near, so its figure is watched.
  const watcher = new IntersectionObserver((seen) => {
    for (const { isIntersecting, target } of seen) {
      if (!isIntersecting) continue;
      watcher.unobserve(target);
      for (const place of target.querySelectorAll("[data-drawing]")) draw(place);
    }
  }, { rootMargin: "600px" });
  for (const figure of new Set(places.map((place) => place.closest("figure")))) watcher.observe(figure);

  const dress = () => {
    for (const [place, told] of drawn) window.Plotly.relayout(place, dressed(told.layout)).then(quiet);
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", dress);
  // Paper has all of it.
  addEventListener("beforeprint", () => {
    for (const place of places) if (!drawn.has(place)) draw(place);
  });
})();
