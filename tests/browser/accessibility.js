// What keeps somebody from reading or using a page: a list of sentences, empty where nothing does.
//
// After the success criteria of WCAG 2.2, level AA, as far as a program can judge them: names and roles (4.1.2), headings
// (1.3.1), tables (1.3.1), labels (3.3.2), language (3.1.1), titles (2.4.2), contrast of text (1.4.3) and of what one
// operates (1.4.11), size of targets (2.5.8), reflow (1.4.10).
() => {
  const faults = [];
  const told = new Set();
  const fault = (rule, element, words) => {
    const where = element ? describe(element) : "page";
    const line = `${rule}: ${where}: ${words}`;
    if (!told.has(line)) { told.add(line); faults.push(line); }
  };
  const describe = (element) => {
    const id = element.id ? `#${element.id}` : "";
    const classes = [...element.classList].map((name) => `.${name}`).join("");
    const text = (element.textContent || "").trim().replace(/\s+/g, " ").slice(0, 40);
    return `<${element.localName}${id}${classes}> ${JSON.stringify(text)}`;
  };
  const visible = (element) => {
    if (!element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true })) return false;
    const box = element.getBoundingClientRect();
    return box.width > 1 && box.height > 1;
  };
  const hidden = (element) => element.closest('[aria-hidden="true"], [hidden], template') !== null;

  // --- Names ---------------------------------------------------------------------------------------------------------
  const textOf = (element) => {
    let text = "";
    for (const node of element.childNodes) {
      if (node.nodeType === Node.TEXT_NODE) text += node.nodeValue;
      else if (node.nodeType === Node.ELEMENT_NODE && !hidden(node)) text += ` ${nameOf(node, true)} `;
    }
    return text.trim();
  };
  const nameOf = (element, inside = false) => {
    // What names another element is taken by its text alone: it may stand within that element.
    const by = inside ? null : element.getAttribute("aria-labelledby");
    if (by) {
      return by.split(/\s+/).map((id) => document.getElementById(id)).filter(Boolean).map((other) => textOf(other)).join(" ").trim();
    }
    const label = element.getAttribute("aria-label");
    if (label && label.trim()) return label.trim();
    if (element.localName === "img") return (element.getAttribute("alt") || "").trim();
    if (element.localName === "svg") return (element.querySelector(":scope > title")?.textContent || "").trim();
    if (element.localName === "input" && ["submit", "button", "reset"].includes(element.type)) return element.value.trim();
    if (inside && ["input", "select", "textarea"].includes(element.localName)) return "";
    if (element.labels && element.labels.length) return [...element.labels].map((other) => textOf(other)).join(" ").trim();
    const text = ["input", "select", "textarea"].includes(element.localName) ? "" : textOf(element);
    return text || (inside ? "" : (element.getAttribute("title") || "").trim());
  };
  for (const element of document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, [role=button], [role=link], [tabindex]")) {
    if (hidden(element) || !visible(element)) continue;
    if (!nameOf(element)) fault("name", element, "has no name that could be read out");
    if (Number(element.getAttribute("tabindex")) > 0) fault("tabindex", element, "takes itself out of the order of the page");
  }
  for (const element of document.querySelectorAll("img, svg")) {
    if (hidden(element)) continue;
    if (element.localName === "img" && !element.hasAttribute("alt")) fault("alt", element, "has no alt");
    if (element.localName === "svg" && element.getAttribute("role") !== "img") fault("svg", element, "is neither hidden nor an image");
    if (element.localName === "svg" && element.getAttribute("role") === "img" && !nameOf(element)) fault("svg", element, "has no name");
  }

  // --- Structure -----------------------------------------------------------------------------------------------------
  if (!document.documentElement.lang) fault("language", null, "has no lang");
  if (!document.title.trim()) fault("title", null, "has no title");
  for (const [selector, name] of [["main", "main"], ["h1", "h1"]]) {
    const found = document.querySelectorAll(selector).length;
    if (found !== 1) fault("structure", null, `has ${found} <${name}>, not one`);
  }
  const first = document.querySelector("body a[href]");
  if (!first || !(first.getAttribute("href") || "").startsWith("#")) fault("skip", first, "the first link does not lead to the content");
  else if (!document.querySelector(first.getAttribute("href"))) fault("skip", first, "leads nowhere");
  let level = 0;
  for (const heading of document.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
    if (!visible(heading) && !heading.classList.contains("visually-hidden")) continue;
    const own = Number(heading.localName[1]);
    if (own > level + 1) fault("headings", heading, `comes after a heading of level ${level}`);
    level = own;
  }
  const ids = new Map();
  for (const element of document.querySelectorAll("[id]")) ids.set(element.id, (ids.get(element.id) || 0) + 1);
  for (const [id, count] of ids) if (count > 1) fault("id", null, `${id} is there ${count} times`);
  for (const element of document.querySelectorAll("[aria-labelledby], [aria-describedby], [aria-controls]")) {
    for (const name of ["aria-labelledby", "aria-describedby", "aria-controls"]) {
      for (const id of (element.getAttribute(name) || "").split(/\s+/).filter(Boolean)) {
        if (!document.getElementById(id)) fault("reference", element, `${name} names ${id}, which is not there`);
      }
    }
  }
  const roles = new Set("alert banner button cell columnheader complementary contentinfo dialog figure form group heading img link list listitem log main meter navigation none note presentation progressbar region row rowgroup rowheader search separator status tab table tablist tabpanel timer tooltip".split(" "));
  for (const element of document.querySelectorAll("[role]")) {
    for (const role of element.getAttribute("role").split(/\s+/)) if (!roles.has(role)) fault("role", element, `has the role ${role}`);
  }
  for (const table of document.querySelectorAll("table")) {
    if (hidden(table)) continue;
    if (!table.caption && !table.getAttribute("aria-label") && !table.getAttribute("aria-labelledby")) fault("table", table, "has no caption");
    if (!table.querySelector("th")) fault("table", table, "has no header cells");
    for (const cell of table.querySelectorAll("th")) if (!cell.scope) fault("table", cell, "has no scope");
  }
  for (const sorted of document.querySelectorAll("[aria-sort]")) {
    if (!["ascending", "descending", "none", "other"].includes(sorted.getAttribute("aria-sort"))) fault("sort", sorted, "has another aria-sort than there are");
  }

  // --- Contrast ------------------------------------------------------------------------------------------------------
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const pencil = canvas.getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const colour = (text) => {
    if (!known.has(text)) {
      pencil.clearRect(0, 0, 1, 1);
      pencil.fillStyle = text;
      pencil.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = pencil.getImageData(0, 0, 1, 1).data;
      known.set(text, [r, g, b, a / 255]);
    }
    return known.get(text);
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((value) => value / 255).map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const contrast = (one, other) => {
    const [a, b] = [light(one), light(other)].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  };
  const paper = getComputedStyle(document.documentElement).colorScheme.includes("dark") && matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18, 1] : [255, 255, 255, 1];
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      const layer = colour(getComputedStyle(at).backgroundColor);
      if (layer[3] > 0) layers.push(layer);
      if (layer[3] === 1) break;
    }
    return layers.reverse().reduce((below, top) => over(top, below), paper);
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.nodeValue.trim() || !element || !visible(element) || element.closest("svg, script, style, noscript, .visually-hidden, option")) continue;
    if (element.closest("[disabled], [aria-disabled=true]")) continue;
    const style = getComputedStyle(element);
    const ground = behind(element);
    const ratio = contrast(over(colour(style.color), ground), ground);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5) - 0.005) fault("contrast", element, `its text has a contrast of ${ratio.toFixed(2)}`);
  }
  for (const element of document.querySelectorAll("input:not([type=hidden]):not([type=checkbox]):not([type=radio]), select, textarea, button")) {
    if (hidden(element) || !visible(element) || element.disabled) continue;
    const style = getComputedStyle(element);
    const around = behind(element.parentElement);
    const own = over(colour(style.backgroundColor), around);
    const border = parseFloat(style.borderTopWidth) > 0 || parseFloat(style.borderBottomWidth) > 0 ? over(colour(style.borderBottomColor), around) : around;
    const ratio = Math.max(contrast(own, around), contrast(border, around));
    if (ratio < 2.995 && element.localName !== "button") fault("contrast", element, `its border has a contrast of ${ratio.toFixed(2)}`);
  }

  // --- Targets and width ---------------------------------------------------------------------------------------------
  for (const element of document.querySelectorAll("button, input:not([type=hidden]), select, summary")) {
    if (hidden(element) || !visible(element)) continue;
    const box = element.getBoundingClientRect();
    if (box.height < 24 && !["checkbox", "radio"].includes(element.type)) fault("target", element, `is ${box.height.toFixed(0)} pixels high`);
  }
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  if (wide > 1) fault("width", null, `is ${wide} pixels wider than the screen`);
  for (const element of document.querySelectorAll("*")) {
    const style = getComputedStyle(element);
    if (["auto", "scroll"].includes(style.overflowX) && element.scrollWidth > element.clientWidth + 1 && visible(element)) {
      const reachable = element.tabIndex >= 0 || element.querySelector("a[href], button, input, select, textarea, [tabindex]");
      if (!reachable) fault("scroll", element, "scrolls, and cannot be reached by keyboard");
    }
  }
  return faults;
}
