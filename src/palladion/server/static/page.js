// What pages are nicer with: times in the reader's zone, how long until them, and buttons that copy. Nothing needs it.
(() => {
  "use strict";
  const own = document.currentScript.dataset;

  const zoned = new Intl.DateTimeFormat(undefined, {
    year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", timeZoneName: "short",
  });
  const inUtc = new Date().getTimezoneOffset() === 0;
  for (const time of document.querySelectorAll("time[datetime]")) {
    let at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    // Of what is to come the minute that it is over in, as the server tells it.
    if (at > Date.now()) at = new Date(Math.ceil(at / 60000) * 60000);
    if (inUtc) { time.title = zoned.format(at); continue; }
    // The reader's own first; UTC, which everybody shares, stays beside it.
    const utc = document.createElement("span");
    utc.className = "aside";
    utc.textContent = ` (${time.textContent})`;
    time.textContent = zoned.format(at);
    time.append(utc);
  }

  const relative = new Intl.RelativeTimeFormat(document.documentElement.lang, { numeric: "always", style: "short" });
  const units = [["day", 86400], ["hour", 3600], ["minute", 60]];
  const tell = () => {
    for (const place of document.querySelectorAll("[data-until]")) {
      const seconds = (new Date(place.dataset.until) - Date.now()) / 1000;
      const [unit, length] = units.find(([, size]) => Math.abs(seconds) >= 2 * size) ?? ["minute", 60];
      place.textContent = relative.format(Math.trunc(seconds / length), unit);
    }
  };
  // What the server wrote is exact when the page comes; it only has to be kept so.
  if (document.querySelector("[data-until]")) setInterval(tell, 60000);

  if (navigator.clipboard) {
    for (const block of document.querySelectorAll("pre.command")) {
      const holder = document.createElement("div");
      const button = document.createElement("button");
      holder.className = "copying";
      button.type = "button";
      button.textContent = own.copy;
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(block.textContent.trim());
        button.textContent = own.copied;
        setTimeout(() => { button.textContent = own.copy; }, 2000);
      });
      block.replaceWith(holder);
      holder.append(block, button);
    }
  }
})();
