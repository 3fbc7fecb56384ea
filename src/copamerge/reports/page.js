"use strict";
// A click on a heading sorts its table; what has no number, or no text, stays last either way.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  table.tHead.querySelectorAll("th").forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      // Numbers are most often looked at from the top, names from the start.
      const now = head.getAttribute("aria-sort");
      const numbers = [...body.rows].some((row) => row.cells[column].dataset.sort !== undefined);
      const first = numbers ? "descending" : "ascending";
      const order = now === null ? first : now === "ascending" ? "descending" : "ascending";
      for (const other of table.tHead.querySelectorAll("th")) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const key = (row) => row.cells[column].dataset.sort;
      const text = (row) => row.cells[column].textContent.trim();
      const none = (row) => ["", "\u2013"].includes(text(row));
      const compare = (one, other) => {
        if (!numbers) {
          return none(one) - none(other)
            || sign * text(one).localeCompare(text(other), "en", { numeric: true });
        }
        const a = key(one), b = key(other);
        if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
        return sign * (parseFloat(a) - parseFloat(b));
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}
// Long tables get a box that leaves only the rows with all words that are typed into it.
for (const table of document.querySelectorAll("table.sortable")) {
  const rows = [...table.tBodies[0].rows];
  if (rows.length <= 25) continue;
  const label = document.createElement("label");
  label.className = "filter";
  label.append("Filter rows ");
  const box = document.createElement("input");
  box.type = "search";
  const count = document.createElement("output");
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const filter = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    for (const [row, text] of texts) {
      row.hidden = !words.every((word) => text.includes(word));
      left += !row.hidden;
    }
    count.textContent = `${left} of ${rows.length}`;
  };
  box.addEventListener("input", filter);
  label.append(box, " ", count);
  table.parentElement.before(label);
  filter();
}
// What is folded is printed too.
addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details")) folded.open = true;
});
