"use strict";
// What reading does not need: tables sorted by a heading and filtered by a word, values under the pointer.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
  const value = (row, i) => {
    const text = row.cells[i].textContent.replace("\u2212", "-").replace(/,/g, "").replace("< ", "");
    return /^[-+.\d]/.test(text) ? parseFloat(text) : text;
  };
  heads.forEach((head, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const order = (a, b) => (typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1);
      rows.sort((a, b) => (up ? 1 : -1) * order(value(a, i), value(b, i)));
      body.append(...rows);
    });
  });
  const filter = document.createElement("input");
  filter.type = "search";
  filter.className = "filter";
  filter.placeholder = "Only settings with these words";
  filter.setAttribute("aria-label", filter.placeholder);
  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const text = row.cells[0].textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  });
  if (rows.length > 5) table.closest(".scroll").before(filter);
}
for (const plot of document.querySelectorAll("svg[data-x]")) {
  const link = plot.nextElementSibling?.querySelector("a[download]");
  if (!link) continue;
  const [x0, x1, left, right] = plot.dataset.x.split(" ").map(Number);
  const [y0, y1, bottom, top] = plot.dataset.y.split(" ").map(Number);
  let points = null;
  const read = (line) => {
    const [, name, x, y] = line.match(/^"(.*)",([^,]*),([^,]*)$/);
    const across = left + ((x - x0) / (x1 - x0)) * (right - left);
    return { name, x: Number(x), y: Number(y), across, down: bottom - ((y - y0) / (y1 - y0)) * (bottom - top) };
  };
  const tip = document.createElement("div");
  tip.className = "tip";
  plot.addEventListener("pointermove", (event) => {
    points ??= decodeURIComponent(link.href.split(",").slice(1).join(",")).trim().split("\n").slice(1).map(read);
    const box = plot.getBoundingClientRect(), scale = plot.viewBox.baseVal.width / box.width;
    const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
    let best = null, least = 40 ** 2;
    for (const point of points) {
      const far = (point.across - x) ** 2 + (point.down - y) ** 2;
      if (far < least) [best, least] = [point, far];
    }
    if (!best) return tip.remove();
    tip.textContent = `${best.name}: ${Number(best.x.toPrecision(4))}, ${Number(best.y.toPrecision(6))}`;
    document.body.append(tip);
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 6)}px`;
    tip.style.top = `${event.clientY + 16}px`;
  });
  plot.addEventListener("pointerleave", () => tip.remove());
}
