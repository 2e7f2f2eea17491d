// A first visit follows the system's light or dark setting, before anything is drawn.
(function (root) {
  root.dataset.mode ||= "auto";
  if (root.dataset.theme === "light" || root.dataset.theme === "dark") return;
  const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "dark" : "light";
})(document.documentElement);
