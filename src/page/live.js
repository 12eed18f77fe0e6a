"use strict";
const source = new EventSource("live");
source.onmessage = (event) => {
  document.body.classList.remove("is-away");
  for (const [place, part] of Object.entries(JSON.parse(event.data))) {
    const element = document.getElementById(place);
    if (element) element.innerHTML = part;
  }
};
// The browser tries again by itself.
source.onerror = () => document.body.classList.add("is-away");
