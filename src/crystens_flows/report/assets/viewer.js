// Draws the structures of the cards; without WebGL the places for them stay hidden.
"use strict";
(() => {
  const scenes = JSON.parse(document.getElementById("scenes").textContent);
  const LINE = "#8a8f99";
  const LABEL = matchMedia("(prefers-color-scheme: dark)").matches ? "#c8ced8" : "#4a5160";
  const TURN = 10;
  const ZOOM = 1.55;
  const LABEL_GAP = 0.9;

  function hasWebGL() {
    const canvas = document.createElement("canvas");
    return Boolean(canvas.getContext("webgl2") || canvas.getContext("webgl"));
  }

  function corner(cell, i, j, k) {
    const along = (axis) =>
      (i - 0.5) * cell[0][axis] + (j - 0.5) * cell[1][axis] + (k - 0.5) * cell[2][axis];
    return { x: along(0), y: along(1), z: along(2) };
  }

  function drawCell(viewer, cell) {
    const ends = [0, 1];
    const edge = (start, end) =>
      viewer.addCylinder({ start, end, radius: 0.035, color: LINE, fromCap: 1, toCap: 1 });
    for (const i of ends) {
      for (const j of ends) {
        edge(corner(cell, 0, i, j), corner(cell, 1, i, j));
        edge(corner(cell, i, 0, j), corner(cell, i, 1, j));
        edge(corner(cell, i, j, 0), corner(cell, i, j, 1));
      }
    }
    const beyond = cell.map((vector) => 1 + LABEL_GAP / Math.hypot(...vector));
    const names = {
      a: corner(cell, beyond[0], 0, 0), b: corner(cell, 0, beyond[1], 0), c: corner(cell, 0, 0, beyond[2]),
    };
    for (const [name, position] of Object.entries(names)) {
      viewer.addLabel(name, {
        position, alignment: "center", showBackground: false, fontColor: LABEL, fontSize: 16, bold: true,
      });
    }
  }

  function drawAtoms(viewer, atoms) {
    const lines = atoms.map((atom) => atom.join(" "));
    viewer.addModel([atoms.length, "", ...lines].join("\n"), "xyz");
    viewer.setStyle({}, {
      sphere: { scale: 0.28, colorscheme: "Jmol" },
      stick: { radius: 0.09, colorscheme: "Jmol" },
    });
  }

  function writeLegend(place, atoms) {
    for (const element of new Set(atoms.map((atom) => atom[0]))) {
      const colour = $3Dmol.elementColors.Jmol[element] ?? 0xff1493;
      const swatch = document.createElement("i");
      swatch.style.background = `#${colour.toString(16).padStart(6, "0")}`;
      const item = document.createElement("span");
      item.append(swatch, element);
      place.append(item);
    }
  }

  function look(viewer, scene, name) {
    viewer.zoomTo();
    viewer.setView([...viewer.getView().slice(0, 4), ...scene.views[name]]);
    viewer.zoom(ZOOM);
  }

  function listen(place, stage, viewer, scene) {
    place.querySelector(".views").addEventListener("click", (event) => {
      const name = event.target.dataset.view;
      if (name) look(viewer, scene, name);
    });
    stage.addEventListener("keydown", (event) => {
      const turns = {
        ArrowLeft: [-TURN, "vy"], ArrowRight: [TURN, "vy"], ArrowUp: [-TURN, "vx"], ArrowDown: [TURN, "vx"],
      };
      const zooms = { "+": 1.15, "=": 1.15, "-": 1 / 1.15 };
      if (turns[event.key]) viewer.rotate(...turns[event.key]);
      else if (zooms[event.key]) viewer.zoom(zooms[event.key]);
      else if (event.key === "0") look(viewer, scene, "start");
      else return;
      event.preventDefault();
    });
    // the wheel scrolls the page, until one has clicked into the viewer
    stage.addEventListener("wheel", (event) => {
      if (document.activeElement !== stage) event.stopPropagation();
    }, { capture: true });
    stage.addEventListener("pointerdown", () => stage.focus({ preventScroll: true }));
  }

  function show(place) {
    const scene = scenes[place.id];
    const stage = place.querySelector(".stage");
    const viewer = $3Dmol.createViewer(stage, { backgroundAlpha: 0, orthographic: true });
    if (!viewer) {
      place.hidden = true;
      return;
    }
    const canvas = stage.querySelector("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", place.dataset.label);
    drawAtoms(viewer, scene.atoms);
    drawCell(viewer, scene.cell);
    writeLegend(place.querySelector(".legend"), scene.atoms);
    viewer.render();
    look(viewer, scene, "start");
    listen(place, stage, viewer, scene);
    place.dataset.drawn = "true";
  }

  if (!hasWebGL()) return;
  document.getElementById("viewer-note").textContent =
    "Drag a structure or use the arrow keys to turn it; plus, minus, or the wheel after a click, zoom.";
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      show(entry.target);
    }
  }, { rootMargin: "300px" });
  for (const place of document.querySelectorAll(".viewer")) {
    place.hidden = false;
    const stage = place.querySelector(".stage");
    stage.tabIndex = 0;
    stage.setAttribute("role", "group");
    stage.setAttribute("aria-label", `${place.dataset.label}. Arrow keys turn it, plus and minus zoom, 0 resets.`);
    seen.observe(place);
  }
})();
