// Equations wider than the page scroll inside their own box; give those boxes a place in the tab
// order, so that the keyboard can scroll them too.
(function () {
  function markWideEquations() {
    for (const box of document.querySelectorAll("div.math")) {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  }

  window.addEventListener("load", async () => {
    await window.MathJax?.startup?.promise;
    markWideEquations();
    window.addEventListener("resize", markWideEquations);
  });
})();
