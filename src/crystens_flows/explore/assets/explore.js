// Filters as they are changed, sliders beside numbers, what is chosen over pages, live progress.
"use strict";
(() => {
  const EVERY = 5000;
  const STEPS = 200;
  const form = document.getElementById("filters");
  let asking = null;

  async function fetchPage(address) {
    asking?.abort();
    asking = new AbortController();
    const answer = await fetch(address, { signal: asking.signal });
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  }

  async function show(address, link) {
    const results = document.getElementById("results");
    results.setAttribute("aria-busy", "true");
    try {
      const page = await fetchPage(address);
      const found = page.getElementById("results");
      if (!found) { location.assign(address); return; }
      results.replaceWith(found);
      // this node stays, for only changes within it are read out
      document.getElementById("count").replaceChildren(...page.getElementById("count").childNodes);
      document.getElementById("notices").replaceWith(page.getElementById("notices"));
      mark(page);
      history.replaceState(null, "", address);
      restore();
      if (!link) return;
      document.getElementById("count").scrollIntoView({ block: "nearest" });
      (found.querySelector(`a[data-page="${link}"]`) ?? found).focus({ preventScroll: true });
    } catch (problem) {
      if (problem.name !== "AbortError") location.assign(address);
    }
  }

  // what is wrong in a field is said beside it, the field itself stays as it was typed
  function mark(page) {
    for (const old of form.querySelectorAll("p.wrong")) old.remove();
    for (const input of form.querySelectorAll("input[name]")) {
      const now = input.id && page.getElementById(input.id);
      if (!now) continue;
      for (const name of ["aria-invalid", "aria-describedby"]) {
        if (now.hasAttribute(name)) input.setAttribute(name, now.getAttribute(name));
        else input.removeAttribute(name);
      }
    }
    for (const said of page.querySelectorAll("#filters p.wrong")) {
      const input = form.querySelector(`[aria-describedby="${said.id}"]`);
      (input?.closest(".field, fieldset") ?? form).append(said);
    }
  }

  function address() {
    const asked = new URLSearchParams();
    for (const [name, value] of new FormData(form)) if (value !== "") asked.append(name, value);
    return `${form.getAttribute("action")}?${asked}`;
  }

  function addSliders(place) {
    const low = Number(place.dataset.low), high = Number(place.dataset.high);
    if (!(high > low)) return;  // nor where no candidate has a value yet
    const whole = place.dataset.whole === "1";
    const legend = place.querySelector("legend").textContent;
    for (const input of place.querySelectorAll(".bounds input")) {
      const lower = input.name.startsWith("min_"), end = lower ? low : high;
      const slider = document.createElement("input");
      Object.assign(slider, { type: "range", min: 0, max: STEPS, step: 1 });
      slider.setAttribute("aria-label", `${legend}, ${lower ? "lowest" : "highest"}`);
      const value = () => low + (high - low) * Number(slider.value) / STEPS;
      const text = () => {
        if (Number(slider.value) === (lower ? 0 : STEPS)) return "";
        return whole ? String(Math.round(value())) : value().toFixed(3);
      };
      const follow = () => {
        const typed = input.value === "" ? end : Number(input.value);
        slider.value = Number.isFinite(typed) ? Math.round(STEPS * (typed - low) / (high - low)) : slider.value;
        slider.setAttribute("aria-valuetext", input.value === "" ? "no bound" : input.value);
      };
      slider.addEventListener("input", () => { input.value = text(); slider.setAttribute("aria-valuetext", input.value || "no bound"); });
      input.addEventListener("input", follow);
      follow();
      place.append(slider);
    }
  }

  const KEY = "crystens-chosen";
  const chosen = new Set(JSON.parse(sessionStorage.getItem(KEY) ?? "[]"));

  function restore() {
    const table = document.getElementById("chosen");
    if (!table) return;
    for (const box of table.querySelectorAll('input[name="id"]')) box.checked = chosen.has(box.value);
    count(table);
  }

  function count(table) {
    sessionStorage.setItem(KEY, JSON.stringify([...chosen]));
    table.querySelector("#n-chosen").textContent = chosen.size ? `${chosen.size} chosen:` : "Tick candidates to";
    table.querySelector("#none").hidden = chosen.size === 0;
    for (const old of table.querySelectorAll("input[type=hidden]")) old.remove();
    const here = new Set([...table.querySelectorAll('input[type="checkbox"]')].map((box) => box.value));
    for (const id of chosen) {
      if (here.has(id)) continue;
      const hidden = document.createElement("input");
      Object.assign(hidden, { type: "hidden", name: "id", value: id });
      table.append(hidden);
    }
  }

  function listenToTable() {
    document.addEventListener("change", (event) => {
      if (event.target.name !== "id") return;
      chosen[event.target.checked ? "add" : "delete"](event.target.value);
      count(document.getElementById("chosen"));
    });
    document.addEventListener("click", (event) => {
      if (event.target.id === "none") { chosen.clear(); restore(); return; }
      const link = event.target.closest("a[data-page]");
      if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
      event.preventDefault();
      const asked = new URL(link.href).searchParams;
      for (const name of ["sort", "descending"]) {
        form.querySelector(`input[type=hidden][name=${name}]`)?.remove();
        if (!asked.has(name)) continue;
        const hidden = document.createElement("input");
        Object.assign(hidden, { type: "hidden", name, value: asked.get(name) });
        form.append(hidden);
      }
      // all else is of the form, where something may just have been typed
      const page = asked.get("page");
      show(page ? `${address()}&page=${page}` : address(), link.dataset.page);
    });
  }

  if (form) {
    // where the filters would hide what was found, they wait to be opened
    if (matchMedia("(max-width: 52rem)").matches) document.getElementById("find").open = false;
    for (const place of form.querySelectorAll(".range")) addSliders(place);
    form.addEventListener("change", () => show(address()));
    form.addEventListener("submit", (event) => { event.preventDefault(); show(address()); });
    listenToTable();
    restore();
  }

  const live = document.getElementById("live");
  if (live) {
    const look = async () => {
      if (!document.hidden && !live.contains(document.activeElement)) {
        try {
          const page = await fetchPage(location.href);
          const now = page.getElementById("live");
          if (now && now.innerHTML !== live.innerHTML) live.innerHTML = now.innerHTML;
        } catch { /* the next time */ }
      }
      setTimeout(look, EVERY);
    };
    setTimeout(look, EVERY);
  }
})();
