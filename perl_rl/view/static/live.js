"use strict";
// While the run goes on: fetch this page again and put in what has changed. What is read stays where it is in the
// window, and a part that is in use (focus, selected text, values under the pointer) stays until it is not.
{
  const live = document.getElementById("live");
  const parts = (root) => [...root.querySelectorAll("section[id]")];
  const seen = new Map(parts(document).map((part) => [part.id, part.outerHTML]));

  const inUse = (part) => {
    const selected = getSelection();
    return (
      part.contains(document.activeElement) ||
      part.querySelector(".tip") !== null ||
      (!selected.isCollapsed && selected.containsNode(part, true))
    );
  };

  // The first chart or part that reaches into the window: the place where somebody reads.
  const read = () => [...live.querySelectorAll("figure[id], section[id]")]
    .filter((one) => one.querySelector("figure[id]") === null)
    .find((one) => one.getBoundingClientRect().bottom > 40);

  const keepingPlace = (change) => {
    const id = scrollY > 0 ? read()?.id : undefined;
    const before = id && document.getElementById(id).getBoundingClientRect().top;
    change();
    const after = id && document.getElementById(id);
    if (after) scrollBy({ top: after.getBoundingClientRect().top - before, behavior: "instant" });
  };

  const update = async () => {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (!answer.ok || answer.redirected) return true;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of parts(fresh)) {
      const here = document.getElementById(part.id);
      const text = part.outerHTML;
      if (!here) {
        location.reload();
        return false;
      }
      if (text === seen.get(part.id) || inUse(here)) continue;
      seen.set(part.id, text);
      keepingPlace(() => here.replaceWith(document.adoptNode(part)));
    }
    return fresh.getElementById("live").dataset.every !== undefined;
  };

  const every = Number(live.dataset.every) * 1000;
  const again = async () => {
    let goesOn = true;
    const began = performance.now();
    if (!document.hidden) {
      try {
        goesOn = await update();
      } catch {
        // The viewer does not answer: perhaps it is being started again.
      }
    }
    // A page that takes long is asked less often: it is made beside the run.
    if (goesOn) setTimeout(again, Math.max(every, 10 * (performance.now() - began)));
  };
  if (every) setTimeout(again, every);
}
