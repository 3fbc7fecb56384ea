"use strict";
// A click on a heading sorts its table; what has no number stays last either way.
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
      const text = (row) => row.cells[column].textContent;
      const compare = (one, other) => {
        if (!numbers) return sign * text(one).localeCompare(text(other), "en", { numeric: true });
        const a = key(one), b = key(other);
        if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
        return sign * (parseFloat(a) - parseFloat(b));
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}
// What is folded is printed too.
addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details")) folded.open = true;
});
