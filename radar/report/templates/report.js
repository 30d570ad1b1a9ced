// Tables sort by a click on a column's head. A link to a part that is folded unfolds it, and so does printing.
(function () {
  function number(cell) {
    var found = cell.textContent.trim().replace("−", "-").match(/^[+-]?\d*\.?\d+/);
    return found ? parseFloat(found[0]) : NaN;
  }
  function sort(table, heads, column) {
    var before = heads[column].getAttribute("aria-sort"), rows = Array.from(table.tBodies[0].rows);
    var direction = before ? (before === "ascending" ? -1 : 1) : column === 0 ? 1 : -1;
    rows.sort(function (a, b) {
      var x = number(a.cells[column]), y = number(b.cells[column]);
      if (isNaN(x) && isNaN(y)) return a.cells[column].textContent.localeCompare(b.cells[column].textContent) * direction;
      if (isNaN(x)) return 1;  // what is no number stays below
      if (isNaN(y)) return -1;
      return (x - y) * direction;
    });
    rows.forEach(function (row) { table.tBodies[0].appendChild(row); });
    heads.forEach(function (head) { head.removeAttribute("aria-sort"); });
    heads[column].setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
  }
  function follow() {
    var target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (var one = target; one; one = one.parentElement) if (one.tagName === "DETAILS") one.open = true;
    if (target) target.scrollIntoView();
  }
  document.documentElement.classList.add("scripted");
  document.querySelectorAll("table").forEach(function (table) {
    var heads = Array.from(table.tHead.rows[table.tHead.rows.length - 1].cells);
    heads.forEach(function (head, column) {
      var button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", function () { sort(table, heads, column); });
    });
  });
  window.addEventListener("hashchange", follow);
  window.addEventListener("beforeprint", function () {
    document.querySelectorAll("details").forEach(function (one) { one.open = true; });
    document.querySelectorAll("img").forEach(function (one) { one.loading = "eager"; });
  });
  follow();
})();
