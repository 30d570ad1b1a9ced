// Tables sort by a click on a column's head; the address keeps it (#sort=table:column:down), so that it can be shared.
// A link to a part that is folded unfolds it, and so does printing.
(function () {
  function headsOf(table) {
    return Array.from(table.tHead.rows[table.tHead.rows.length - 1].cells);
  }
  function number(cell) {
    var found = cell.textContent.trim().replace("−", "-").match(/^[+-]?\d*\.?\d+/);
    return found ? parseFloat(found[0]) : NaN;
  }
  function sort(table, column, direction) {
    var rows = Array.from(table.tBodies[0].rows), heads = headsOf(table);
    if (!heads[column]) return;
    rows.sort(function (a, b) {
      var x = number(a.cells[column]), y = number(b.cells[column]);
      if (isNaN(x) && isNaN(y)) return a.cells[column].textContent.localeCompare(b.cells[column].textContent) * direction;
      if (isNaN(x)) return 1;
      if (isNaN(y)) return -1;
      return (x - y) * direction;
    });
    rows.forEach(function (row) { table.tBodies[0].appendChild(row); });
    heads.forEach(function (head, i) {
      if (i === column) head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
  }
  function unfold(element) {
    for (; element; element = element.parentElement) if (element.tagName === "DETAILS") element.open = true;
  }
  function follow() {
    var hash = decodeURIComponent(location.hash), wanted = hash.match(/^#sort=([a-z0-9-]+):(\d+):(up|down)$/);
    var target = document.getElementById(wanted ? wanted[1] : hash.slice(1));
    if (!target) return;
    if (wanted && target.tagName === "TABLE") sort(target, parseInt(wanted[2], 10), wanted[3] === "up" ? 1 : -1);
    unfold(target);
    target.scrollIntoView();
  }
  document.documentElement.classList.add("scripted");
  document.querySelectorAll("table").forEach(function (table) {
    headsOf(table).forEach(function (head, column) {
      var button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", function () {
        var first = column === 0 ? 1 : -1, before = head.getAttribute("aria-sort");
        var direction = before === null ? first : before === "ascending" ? -1 : 1;
        sort(table, column, direction);
        history.replaceState(null, "", "#sort=" + table.id + ":" + column + ":" + (direction > 0 ? "up" : "down"));
      });
    });
  });
  window.addEventListener("hashchange", follow);
  window.addEventListener("beforeprint", function () {
    document.querySelectorAll("details").forEach(function (one) { one.open = true; });
    document.querySelectorAll("img").forEach(function (one) { one.loading = "eager"; });
  });
  follow();
})();
