// Draws the widgets of a built page. A notebook's output holds each widget's state as JSON; the
// model below stands in for the one that a Jupyter front end would supply.
(function () {
  "use strict";
  const modules = {};

  /* WIDGETS */

  class PageModel {
    constructor(state) {
      this.state = state;
      this.listeners = new Map();
    }

    get(name) {
      return this.state[name];
    }

    set(name, value) {
      if (this.state[name] === value) return;
      this.state[name] = value;
      for (const callback of this.listeners.get(`change:${name}`) ?? []) callback();
      for (const callback of this.listeners.get("change") ?? []) callback();
    }

    on(event, callback) {
      if (!this.listeners.has(event)) this.listeners.set(event, new Set());
      this.listeners.get(event).add(callback);
    }

    off(event, callback) {
      this.listeners.get(event)?.delete(callback);
    }

    save_changes() {}
  }

  for (const output of document.querySelectorAll("div.lmcourse-widget")) {
    const state = JSON.parse(output.querySelector("script").textContent);
    const el = document.createElement("div");
    output.replaceChildren(el);
    modules[output.dataset.kind].render({ model: new PageModel(state), el });
  }
})();
