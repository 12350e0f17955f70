// Makes the columns of tables sortable: a button in each head. Without this script tables keep their order.
"use strict";

// Numbers before text, by the first number in a cell; cells without a value last.
function key(row, column) {
  const text = (row.cells[column]?.textContent ?? "").trim();
  const number = /^[−+-]?(\d[\d,]*\.?\d*|\.\d+)([eE][+-]?\d+)?/.exec(text);
  if (text === "" || text === "–") return { rank: 2 };
  return number ? { rank: 0, value: parseFloat(number[0].replace(/,/g, "").replace("−", "-")) } : { rank: 1, value: text };
}

function compare(a, b, sign) {
  if (a.rank !== b.rank) return a.rank - b.rank;
  if (a.rank === 2) return 0;
  return sign * (a.rank === 0 ? a.value - b.value : a.value.localeCompare(b.value, "en", { numeric: true }));
}

function sort(table, head) {
  const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
  for (const body of table.tBodies) {
    const rows = [...body.rows].filter((row) => !row.classList.contains("heading"));
    const keyed = rows.map((row) => ({ row, key: key(row, head.cellIndex) }));
    keyed.sort((a, b) => compare(a.key, b.key, sign));
    body.append(...keyed.map((entry) => entry.row));
  }
}

for (const table of document.querySelectorAll("table:not(.confusion)")) {
  for (const head of table.tHead?.rows[0]?.cells ?? []) {
    const button = document.createElement("button");
    button.type = "button";
    button.title = "Sort by this column";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(table, head));
    head.append(button);
  }
}

// Paper has no folds.
addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details")) fold.open = true;
});
