"use strict";
// Keys follow the links of the page that name them: <a data-key="j" href="...">.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select, textarea, [contenteditable]")) return;
  const keys = { ArrowRight: "j", ArrowLeft: "k" };
  const key = keys[event.key] || event.key;
  const field = key === "/" && document.querySelector("[data-focus='/']");
  if (field) {
    event.preventDefault();
    field.focus();
    return;
  }
  const link = document.querySelector(`[data-key="${CSS.escape(key)}"]`);
  if (!link) return;
  event.preventDefault();
  link.click();
});
