// The comparison sorts by any column: ascending, descending, back to the order of the config.
(() => {
  "use strict";

  const table = document.querySelector("#comparison table");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const headings = [...table.querySelectorAll("th[data-sort]")];

  /** The exact figure of a cell, the name in the column of names; null where there is none. */
  function key(row, column) {
    const cell = row.cells[column];
    if (column === 0) return cell.dataset.value;
    return cell.dataset.value === "" ? null : Number(cell.dataset.value);
  }

  function compare(a, b, direction) {
    if (a === null || b === null) return (a === null) - (b === null);  // last in both directions
    return a < b ? -direction : a > b ? direction : 0;
  }

  function sort(heading) {
    const before = heading.getAttribute("aria-sort");
    const order = before === null ? "ascending" : before === "ascending" ? "descending" : null;
    for (const other of headings) other.removeAttribute("aria-sort");
    const sorted = [...rows];
    if (order !== null) {
      heading.setAttribute("aria-sort", order);
      const column = headings.indexOf(heading);
      const direction = order === "ascending" ? 1 : -1;
      sorted.sort((a, b) => compare(key(a, column), key(b, column), direction));
    }
    body.append(...sorted);
  }

  for (const heading of headings) {
    const button = attnlab.element("button", { type: "button" }, ...heading.childNodes);
    button.addEventListener("click", () => sort(heading));
    heading.append(button);
  }
})();
