// What makes the console better where scripts run: parts of the page that stay fresh, and a button that copies.
// Everything on the page works without it.
"use strict";

const body = document.body;
const pulse = document.getElementById("pulse");

/* Live parts. The server draws them; here they only take the place of what stood there before. */

const busy = (element) => element.contains(document.activeElement) && document.activeElement !== body;
const selecting = (element) => {
  const selection = getSelection();
  return !!selection && !selection.isCollapsed && element.contains(selection.anchorNode);
};

function takeOver(fresh) {
  for (const part of fresh.querySelectorAll("[data-live]")) {
    const old = document.getElementById(part.id);
    if (!old || old.outerHTML === part.outerHTML || busy(old) || selecting(old)) continue;
    old.replaceWith(document.importNode(part, true));
  }
  if (!fresh.body.hasAttribute("data-from") && fresh.title) delete body.dataset.from;
}

function follow(from, every) {
  let paused = false, failures = 0;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  const say = (text) => { if (state.textContent !== text) state.textContent = text; };
  const state = document.createElement("span");
  const show = () => { button.textContent = paused ? "Resume" : "Pause"; say(paused ? "paused" : `live, every ${every} s`); };
  button.addEventListener("click", () => { paused = !paused; show(); if (!paused) refresh(); });
  pulse.replaceChildren(state, button);
  show();

  async function refresh() {
    if (paused || document.hidden || !body.dataset.from) return;
    try {
      const answer = await fetch(from, { cache: "no-store", redirect: "error", signal: AbortSignal.timeout(15000) });
      if (!answer.ok) throw new Error(String(answer.status));
      takeOver(new DOMParser().parseFromString(await answer.text(), "text/html"));
      failures = 0;
      body.classList.remove("stale");
      say(body.dataset.from ? `live, every ${every} s` : "finished");
    } catch {
      failures += 1;
      if (failures >= 2) { body.classList.add("stale"); say("hookbro does not answer: this page is out of date"); }
    }
  }

  const again = () => setTimeout(async () => { await refresh(); again(); }, every * 1000);
  again();
  document.addEventListener("visibilitychange", refresh);
}

if (body.dataset.from) follow(body.dataset.from, Number(body.dataset.every));
else pulse?.replaceChildren();

/* A button beside text that is made to be passed on. */

for (const box of document.querySelectorAll("[data-copy]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    const text = document.getElementById(box.dataset.copy);
    try {
      await navigator.clipboard.writeText(text.textContent);
    } catch {
      // Without HTTPS there is no clipboard to write to: select, and copy as a person would.
      getSelection().selectAllChildren(text);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  box.prepend(button);
}

/* A box that selects all that are shown. */

for (const form of document.querySelectorAll("form[data-select]")) {
  const boxes = [...form.querySelectorAll("input[name=id]")];
  const bar = form.querySelector(".bar");
  if (boxes.length < 2) continue;
  const label = document.createElement("label");
  const all = document.createElement("input");
  label.className = "check";
  all.type = "checkbox";
  label.append(all, `All ${boxes.length} shown`);
  all.addEventListener("change", () => { for (const box of boxes) box.checked = all.checked; });
  form.addEventListener("change", () => {
    const chosen = boxes.filter((box) => box.checked).length;
    all.checked = chosen === boxes.length;
    all.indeterminate = chosen > 0 && chosen < boxes.length;
  });
  bar.prepend(label);
}

/* "/" goes to the search box, as elsewhere. */

document.addEventListener("keydown", (event) => {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName ?? "");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const box = document.getElementById("q");
  if (box) { event.preventDefault(); box.focus(); box.select(); }
});
