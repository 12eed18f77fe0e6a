"use strict";
// Makes `old` what `fresh` is and leaves alone what is the same, so that focus, selection and scroll stay.
const morph = (old, fresh) => {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
    old.replaceWith(fresh);
  } else if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
  } else {
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    const [has, gets] = [[...old.childNodes], [...fresh.childNodes]];
    gets.forEach((node, index) => (has[index] ? morph(has[index], node) : old.append(node)));
    has.slice(gets.length).forEach((node) => node.remove());
  }
};
const source = new EventSource("live" + location.search);
source.onmessage = (event) => {
  for (const [place, part] of Object.entries(JSON.parse(event.data))) {
    const old = document.getElementById(place);
    if (!old) continue;
    const fresh = old.cloneNode(false);
    fresh.innerHTML = part;
    morph(old, fresh);
  }
};
source.onopen = () => document.body.classList.remove("is-away");
// The browser tries again by itself.
source.onerror = () => document.body.classList.add("is-away");
