// Follows a submission that has not ended, and loads the page once more when it has. Without it there is a link.
(() => {
  "use strict";
  const place = document.querySelector("[data-events]");
  if (!place || !window.EventSource) return;
  const words = place.querySelector("[data-words]");
  const bar = place.querySelector("progress");
  const source = new EventSource(place.dataset.events);

  source.addEventListener("progress", (event) => {
    const told = JSON.parse(event.data);
    if (told.ended) {
      source.close();
      location.reload();
      return;
    }
    // Said aloud by a screen reader whenever it changes, and not otherwise.
    if (words.textContent !== told.words) words.textContent = told.words;
    bar.hidden = told.total === null;
    if (told.total !== null) {
      bar.max = told.total;
      bar.value = told.done ?? 0;
    }
  });
  // An error that passes needs nothing: the browser comes again by itself. Where it may not, the link is still there.
  addEventListener("pagehide", () => source.close());
})();
